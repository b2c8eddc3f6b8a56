"""The lab's findings: Holm's p in the first study, and the effect as a study decides it, over training seeds."""

import json
from types import SimpleNamespace

import pytest
from helpers import report
from helpers.lab_training import findings

from mergekit_finance.study.schema import CombinationResult, Effects, Interval, Summary, TaskSet


def _study(p, over_best, over_base, holm=0.01):
    """A summary with the fields that findings reads: one pair, and one expert that never differs from its constituents."""

    def effects(p, gap, base):
        named_set = TaskSet(
            tasks=["t"], score=Interval(0.5, 0.4, 0.6), constituents={"a": Interval(0.4, 0.3, 0.5)},
            best_constituent="a", over_best_constituent=Interval(gap, gap - 0.04, gap + 0.04),
            base=Interval(0.3, 0.2, 0.4), over_base=Interval(base, base - 0.1, base + 0.1),
            gain=Interval(0.1, 0.0, 0.2), og=Interval(0.1, 0.0, 0.2), p_over_all_constituents=p,
            over_best_raw=Interval(gap, gap - 0.04, gap + 0.04), holm_over_all_models=holm, clusters=200,
        )  # fmt: skip
        return Effects(constituents=["a"], sets={"named": named_set}, tasks={})

    points = {"a": "stage1-a-ta-lambda0.5", "a+b": "stage2-a-b-ta-lambda0.5"}
    return Summary.model_construct(
        study=SimpleNamespace(named={"a+b": ["t"]}),
        combinations={
            name: CombinationResult(stage=1 + name.count("+"), selected=point, by_operator={})
            for name, point in points.items()
        },
        selected={points["a"]: effects(0.9, 0.0, 0.0), points["a+b"]: effects(p, over_best, over_base)},
    )


def test_a_finding_has_holms_p_and_the_difference_in_every_seed():
    studies = [
        _study(0.02, 0.1, 0.2),
        _study(0.9, 0.05, -0.03),
        _study(0.9, 0.03, 0.0001),
        _study(1.0, -0.1, 0.1),
    ]
    rows = findings.findings(studies)
    assert [row.combination for row in rows] == ["a", "a+b"]
    assert rows[1].p_holm == pytest.approx(0.04) and rows[1].word == "complementarity"
    assert rows[1].difference_by_seed == [0.1, 0.05, 0.03, -0.1]
    table = findings.findings_table(studies)
    line = next(line for line in table.splitlines() if line.startswith("| a + b"))
    assert "+10.0 [+6.0, +14.0]" in line and "+5.0, +3.0, -10.0" in line
    assert line.endswith("| +20.0 [+10.0, +30.0] | -3.0, +0.0, +10.0 |")
    assert len(set(len(line.split("|")) for line in table.splitlines())) == 1


@pytest.mark.parametrize(
    ("p", "over_best", "word"),
    [
        (0.02, [0.1, 0.1, 0.1, -0.1], "complement"),
        (0.03, [0.1, 0.1, 0.1, 0.1], "did not appear"),  # 0.06 after Holm's correction over two combinations
        (0.02, [0.1, 0.1, -0.1, -0.1], "did not appear"),
        (0.9, [-0.1, -0.01, -0.01, 0.0], "interfered"),
        (0.9, [-0.1, -0.01, 0.0, 0.0], "did not appear"),
        (0.9, [-0.03, -0.1, -0.1, -0.1], "did not appear"),  # the first study's interval has zero in it
    ],
)
def test_the_designs_word_needs_the_first_study_and_three_of_four_seeds(p, over_best, word):
    studies = [_study(p, gap, 0.2) for gap in over_best]
    assert findings.findings(studies)[1].design_word == word


@pytest.mark.parametrize(
    ("over_best", "over_base", "holm", "word"),
    [
        ([0.1, 0.1, 0.1, -0.1], 0.2, 0.01, "complementarity"),
        ([0.1, 0.1, -0.1, -0.1], 0.2, 0.01, "not repeated (complementarity in the first study only)"),
        ([0.1, 0.1, 0.1, 0.1], 0.0, 0.01, "above constituents, not above base"),
        ([0.1, 0.1, 0.1, 0.1], 0.2, 0.06, "above all models before correction only"),
        ([-0.1, -0.1, -0.1, 0.1], 0.2, 1.0, "below best constituent"),
        ([0.01, 0.01, 0.01, 0.01], 0.2, 1.0, "no clear effect"),
    ],
)
def test_the_effect_is_the_first_studys_if_three_of_four_seeds_agree(over_best, over_base, holm, word):
    studies = [_study(0.01, gap, over_base, holm) for gap in over_best]
    assert findings.findings(studies)[1].word == word


def test_the_command_prints_the_tables_of_finished_studies(tmp_path, capsys):
    for seed in "01":
        path = report.study(tmp_path / seed) / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        for effects in summary["selected"].values():
            effects["sets"]["named"] |= {"p_over_all_constituents": 0.5}
            effects["sets"]["named"] |= {"base": [0.3, 0.2, 0.4], "over_base": [0.1, 0.0, 0.2]}
        scores = {"best": [0.5, 0.4, 0.6], "spread": [0.1, 0.0, 0.2], "near": [0.2, 0.1, 0.3]}
        summary["operators"] = {"operators": {"ties": scores}}
        path.write_text(json.dumps(summary), encoding="utf-8")
    findings.main([str(tmp_path / seed) for seed in "01"])
    blocks = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    [[counts]] = [block for block in blocks if not block[0].startswith("|")]
    assert counts == (
        "Effects in single studies: none 8. Single tasks, minus the best constituent of each: 24 differences, "
        "0 with an interval above zero, 0 below."
    )
    tables = [block for block in blocks if block[0].startswith("|")]
    # merges, settings, tasks that need all skills, models, operators, predictors; then, with intervals for
    # other items: effects, λ, skills, tasks that need all skills, retention, operators
    assert [len(table) - 2 for table in tables] == [4, 8, 2, 8, 2, 6, 4, 3, 5, 3, 11, 2]


def test_a_study_without_p_values_is_reported_in_one_line():
    study = _study(None, 0.1, 0.1)
    with pytest.raises(SystemExit, match="Error: a study is of an older version"):
        findings.findings([study])
