"""The lab's findings follow the design in FINDINGS.md: Holm in the first seed, the same direction in the others."""

import pytest
from helpers.lab_training import findings


@pytest.mark.parametrize(
    ("stage", "difference", "p", "seeds", "word"),
    [
        (2, [0.1, 0.05, 0.15], 0.01, [0.1, 0.1, 0.1, -0.1], "complement"),
        (3, [0.1, 0.05, 0.15], 0.01, [0.1, 0.1, 0.1, 0.1], "emerged"),
        (2, [0.1, 0.05, 0.15], 0.01, [0.1, 0.1, -0.1, -0.1], "did not appear"),  # two of four
        (2, [0.1, 0.05, 0.15], 0.06, [0.1, 0.1, 0.1, 0.1], "did not appear"),
        (1, [-0.1, -0.15, -0.05], 1.0, [-0.1, -0.1, -0.1, 0.1], "interfered"),
        (1, [-0.1, -0.15, 0.01], 1.0, [-0.1, -0.1, -0.1, -0.1], "did not appear"),
    ],
)
def test_the_word_for_a_result_follows_the_design(stage, difference, p, seeds, word):
    assert findings.word(stage, difference, p, seeds) == word


def _study(p, over_best, over_base):
    """A summary with what findings reads: one pair, and one expert that never differs from its constituents."""

    def row(p, gap, base):
        named = {
            "tasks": ["t"], "score": [0.5, 0.4, 0.6], "best_parent": "a", "parents": {"a": [0.4, 0.3, 0.5]},
            "base": [0.3, 0.2, 0.4], "over_base": [base, base - 0.1, base + 0.1], "gain": [0.1, 0.0, 0.2],
            "over_best_parent": [gap, gap - 0.04, gap + 0.04], "p_over_all_parents": p,
        }  # fmt: skip
        return {"sets": {"named": named}}

    return {
        "combinations": {"a": {"stage": 1, "selected": "stage1-a-ta-lambda0.5"},
                         "a+b": {"stage": 2, "selected": "stage2-a-b-ta-lambda0.5"}},
        "selected": {"stage1-a-ta-lambda0.5": row(0.9, 0.0, 0.0), "stage2-a-b-ta-lambda0.5": row(p, over_best, over_base)},
    }  # fmt: skip


def test_a_finding_has_holms_p_and_the_difference_in_every_seed():
    studies = [
        _study(0.02, 0.1, 0.2),
        _study(0.9, 0.05, -0.03),
        _study(0.9, 0.03, 0.0001),
        _study(1.0, -0.1, 0.1),
    ]
    rows = findings.findings(studies)
    assert [row.combination for row in rows] == ["a", "a+b"]
    assert rows[1].p_holm == pytest.approx(0.04) and rows[1].word == "complement"
    assert rows[1].difference_by_seed == [0.1, 0.05, 0.03, -0.1]
    table = findings.findings_table(studies)
    line = next(line for line in table.splitlines() if line.startswith("| a + b"))
    assert "+10.0 [+6.0, +14.0]" in line and "+5.0, +3.0, -10.0" in line
    assert line.endswith("| +20.0 [+10.0, +30.0] | -3.0, +0.0, +10.0 |")
    assert len(set(len(line.split("|")) for line in table.splitlines())) == 1
