"""The table and the notes that `run` prints."""

from mergekit_finance.report import console as report
from mergekit_finance.study.schema import GainFile

SCORES = {"merged": 0.5, "gain": 0.1, "og": -0.05, "constituents": {"./a/x": 0.4, "./b/y": 0.55}}
RESULT = {
    "format": 2, "recipe": "", "method": "cpt_ties", "semantics": "paper", "stage": 2, "seed": None,
    "base": "./tiny/base", "models": {}, "results": {}, "limit": None, "source": "cache or Hub",
    "random_weights": ["./tiny/base"], "tasks": {"t": {**SCORES, "n": 7}}, "macro": SCORES,
}  # fmt: skip


def test_the_table_has_a_column_a_model_and_signed_differences():
    lines = report.gain_table(RESULT).splitlines()
    assert [c.strip() for c in lines[0].split("|")[1:-1]] == ["task", "n", "x", "y", "merged", "Gain", "OG"]
    assert [c.strip() for c in lines[2].split("|")[1:-1]] == [
        "t",
        "7",
        "0.400",
        "0.550",
        "0.500",
        "+0.100",
        "-0.050",
    ]
    assert len({len(line) for line in lines}) == 1


def test_flips_stand_beside_gain_and_og():
    flips = {"flips_gain": {"gained": 12, "lost": 30}, "flips_og": {"gained": 5, "lost": 6}}
    result = RESULT | {"tasks": {"t": {**SCORES, **flips, "n": 7}}}
    table = report.gain_table(result).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[-5:-1]] for line in (table[0], table[2], table[3])]
    assert cells[0] == ["Gain", "items (Gain)", "OG", "items (OG)"]
    assert cells[1] == ["+0.100", "+12 -30", "-0.050", "+5 -6"] and cells[2][1] == ""
    assert "items: the answers that became right" in report.notes(result)


def test_notes_mention_random_weights_and_small_samples():
    text = report.notes(RESULT)
    assert "random, untrained weights" in text and "base" in text and "7 independent items" in text
    assert "random, untrained weights" not in report.notes(RESULT | {"random_weights": []})


def test_notes_name_tasks_without_demonstrations():
    without = RESULT | {"tasks": {"t": {**SCORES, "n": 7, "is_zero_shot": True}, "u": {**SCORES, "n": 7}}}
    assert "(0-shot), because there are no train rows: t." in report.notes(without)
    assert "0-shot" not in report.notes(RESULT)


def test_run_prints_the_sections_of_plugins():
    assert report.run_text(GainFile.model_validate(RESULT)).startswith("Gain and Outperform Gap")


def test_gain_json_is_read_as_it_was_written():
    """Nulls and fields that were left out included."""
    assert GainFile.model_validate(RESULT).as_json() == RESULT
