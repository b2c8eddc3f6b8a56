"""What the demo prints at its end: the numbers of its table and sentences, and its size on a terminal."""

from pathlib import Path

import pytest
from helpers.synthetic import MODELS, RETENTION, SAME, build, shares

from mergekit_finance.report.demo_text import WIDTH, demo_text
from mergekit_finance.study.analysis.advice_wording import short_advice
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.schema import Summary

TASKS = {"fm": {"skills": ["math", "finance"]}, "r": RETENTION}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """A study of two experts whose pair is the best model on both tasks."""
    tables = {
        "f": shares(200, base=40, finance=100, math=30, s1f=80, s1m=40, pair=110),
        "fm": shares(200, base=20, finance=30, math=60, s1f=30, s1m=50, pair=90),
        "r": shares(200, base=180, finance=120, math=100, s1f=170, s1m=180, pair=150),
    }
    return summary(build(tmp_path_factory.mktemp("lab"), tables, TASKS, selection=SAME).folder)


def test_the_table_has_every_model_and_merge(lab: Summary) -> None:
    table = demo_text(lab).split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == [
        *MODELS,
        "base + finance",
        "base + math",
        "finance + math",
    ]
    assert table[0].split() == ["macro", "F", "F+M", "retention", "Gain", "OG"]
    assert table[2].split() == ["finance", "32.5", "50", "15", "60.0"]
    # Gain: 50 minus the mean of 32.5 and 22.5; OG: 50 minus the mean of 50 and 30
    assert table[6].split()[-6:] == ["50.0", "55", "45", "75.0", "+22.5", "+10.0"]
    assert len(table[6]) == len(table[0]), "columns are aligned"


def test_the_sentences_compare_what_the_table_shows(lab: Summary) -> None:
    text = " ".join(demo_text(lab).split())
    assert "2 experts (finance and math)" in text and "plus 0.5 times" in text
    assert "by -30.0 (finance) and -40.0 (math) against the base; after" in text
    assert "the differences are -5.0 and 0.0." in text
    assert "1 of 1 merges of two or three experts have a higher macro" in text
    assert "The best of all merges is finance + math." in text
    assert "2 of 3 merges have an OG below 0" in text
    assert f"Ship a merge? {short_advice(lab)}" in text


def test_a_merge_below_the_base_is_not_counted_as_better(tmp_path: Path) -> None:
    tables = {"f": shares(200, base=120, finance=100, math=30, pair=110)}
    text = " ".join(demo_text(summary(build(tmp_path, tables, selection=SAME).folder)).split())
    assert "0 of 1 merges of two or three experts have a higher macro" in text
    assert "Forgetting" not in text, "there is no retention task"


def test_the_text_fits_a_terminal(lab: Summary) -> None:
    lines = demo_text(lab).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= 27, "with five rows more for a third expert, and the lines around it, at most 40"
