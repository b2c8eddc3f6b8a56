"""The shipped weights are those of the committed profile: on fixed rows they score within its intervals."""

import itertools
import json

import pytest
from helpers.lab_training import profile

from mergekit_finance.lab import ROLES
from mergekit_finance.lab.copy_models import WEIGHTS

STORED = json.loads((WEIGHTS / "profile.json").read_text(encoding="utf-8"))


def test_every_expert_gained_its_skill_and_kept_retention():
    table = STORED["tasks"]
    assert len(table) == 23 and all(set(cells) == set(ROLES) for cells in table.values())
    changes = profile.changes_against_base(table)
    for role, change in changes.items():
        assert change["skill"] >= 0.2, role
        assert abs(change["retention"]) <= 0.02, role  # experts that are used lose some; these do not
    assert STORED["verdicts"] == changes


def test_the_base_is_neither_perfect_nor_at_chance():
    shares = [cells["base"]["above_chance"] for cells in STORED["tasks"].values()]
    assert max(shares) < 0.9 and 0.1 < sum(shares) / len(shares) < 0.6


# Choices and written answers, each skill, and retention; chains of thought would take minutes.
TASKS = ("fpb", "fin_ner", "probe_m", "probe_j", "retention_arc")


@pytest.mark.slow
def test_the_shipped_weights_reproduce_the_profile():
    """The same rows: another machine's arithmetic may flip an item, not leave the interval.

    float32, which contains the stored bfloat16 numbers, takes half the time on a CPU.
    """
    measured = profile.profile(WEIGHTS, STORED["limit"], tasks=TASKS, dtype="float32")
    for task, cells in measured.items():
        for role, cell in cells.items():
            stored = STORED["tasks"][task][role]
            assert stored["low"] - 1e-4 <= cell["above_chance"] <= stored["high"] + 1e-4, (task, role)


def test_the_experts_profiles_differ_enough_to_tell_their_weights_apart():
    """With another model in the place of an expert, the test above would fail."""
    for role, other in itertools.permutations(ROLES, 2):
        cells = [STORED["tasks"][task] for task in TASKS]
        assert any(not c[role]["low"] <= c[other]["above_chance"] <= c[role]["high"] for c in cells), (
            role,
            other,
        )
