"""The shipped weights are those of the committed profile: on fixed rows they score within its intervals."""

import json

import pytest

from mergekit_finance.lab import ROLES
from mergekit_finance.lab.export import WEIGHTS
from mergekit_finance.lab.profile import profile, verdicts

STORED = json.loads((WEIGHTS / "profile.json").read_text(encoding="utf-8"))


def test_the_profile_shows_what_the_lab_needs():
    table = STORED["tasks"]
    assert len(table) == 23 and all(set(cells) == set(ROLES) for cells in table.values())
    for role, found in verdicts(table).items():
        assert found["skill"] >= 0.2, role
        assert found["retention"] <= -0.1, role
    assert STORED["verdicts"] == verdicts(table)


def test_the_base_is_moderate():
    """Neither perfect nor at chance over the tasks of each skill group."""
    shares = [cells["base"]["above_chance"] for cells in STORED["tasks"].values()]
    assert max(shares) < 0.9 and 0.1 < sum(shares) / len(shares) < 0.6


# Choices and written answers, each skill, and retention; chains of thought would take minutes.
TASKS = ("fpb", "fin_ner", "probe_m", "probe_j", "retention_arc")


@pytest.mark.slow
def test_the_shipped_weights_reproduce_the_profile():
    """The same rows: another machine's arithmetic may flip an item, not leave the interval."""
    for task, cells in profile(WEIGHTS, STORED["limit"], tasks=TASKS).items():
        for role, found in cells.items():
            known = STORED["tasks"][task][role]
            assert known["low"] - 1e-4 <= found["above_chance"] <= known["high"] + 1e-4, (task, role)


def test_other_weights_do_not(tmp_path):
    """The finance expert in the place of math misses the profile of math: the test above can fail."""
    shown = STORED["tasks"]
    gaps = [abs(c["finance"]["above_chance"] - c["math"]["above_chance"]) for c in shown.values()]
    assert max(gaps) > 0.5
