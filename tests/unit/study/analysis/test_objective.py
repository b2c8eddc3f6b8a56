"""A study's own objective: weights over tasks and groups, and bounds that are decided with their uncertainty."""

import json

import numpy as np
import pytest
from helpers import study as helpers
from helpers.synthetic import RETENTION, lines

from mergekit_finance.errors import DataError, RecipeError
from mergekit_finance.report.tables import objective_table
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.study import task_checks, task_info
from mergekit_finance.study.analysis.objective import judged, widened
from mergekit_finance.study.analysis.objective_wording import front, objective_sentences
from mergekit_finance.study.analysis.summary import chosen_points, summary
from mergekit_finance.study.config import parse_study
from mergekit_finance.study.results import load_results
from mergekit_finance.study.study_evaluator import study_evaluator

# The larger λ, the better the first task and the worse the second and retention; shares of right answers.
LAMBDAS = (0.2, 0.5, 0.8)
SKILL = {0.2: 0.5, 0.5: 0.6, 0.8: 0.7}
OTHER = {0.2: 0.7, 0.5: 0.6, 0.8: 0.4}
KEPT = {0.2: 0.80, 0.5: 0.79, 0.8: 0.4}
ITEMS = 1000


def share(value):
    return np.arange(ITEMS) % 100 < round(100 * value)


def build(folder, select, **changes):
    """A study of one expert with three λ, on three tasks."""
    study = helpers.content(
        ".", experts=("finance",), stages=[1], tasks=["skill", "other"], retention=["kept"], limit=None,
        operators={"task_arithmetic": {"lambda": list(LAMBDAS)}}, select=select, **changes,
    )  # fmt: skip
    points = {f"stage1-finance-ta-lambda{value}": value for value in LAMBDAS}
    singles = {"base": (0.4, 0.4, 0.8), "finance": (0.65, 0.3, 0.3)}
    tables = {
        task: {name: share(of[k]) for name, of in singles.items()} | {name: share(values[x]) for name, x in points.items()}
        for k, (task, values) in enumerate((("skill", SKILL), ("other", OTHER), ("kept", KEPT)))
    }  # fmt: skip
    tasks = {
        "skill": {"selected_by": ["group", "skill"]},
        "other": {"selected_by": ["group", "other"]},
        "kept": RETENTION,
    }
    helpers.synthetic(folder, study, tables, tasks)
    return load_results(folder, finished=False)


def chosen(folder, select):
    (name,) = chosen_points(build(folder, select)).values()
    return float(name.rpartition("lambda")[2])


@pytest.mark.parametrize(
    ("maximize", "value"),
    [
        ({"other": 1}, 0.2),
        ({"skill": 1}, 0.8),
        ({"group": 1, "skill": 2}, 0.8),  # 2/3 skill + 1/6 skill + 1/6 other
        ({"group": 9, "skill": 1}, 0.5),  # 0.55 skill + 0.45 other: 0.59, 0.6, 0.565
    ],
)
def test_the_objective_is_a_weighted_mean_over_tasks_and_groups(tmp_path, maximize, value):
    assert chosen(tmp_path, {"maximize": maximize}) == value


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        (-50.0, 0.8),  # every λ keeps it
        (-5.0, 0.5),
        (-1.2, 0.2),  # λ 0.5 loses one point: not surely, and λ 0.2 surely keeps it
        (-0.5, 0.5),  # no answer of λ 0.2 differs, on 300 items: it perhaps keeps it, as λ 0.5 does
        (30.0, 0.2),  # nothing keeps it: the closest
    ],
)
def test_the_best_setting_that_surely_keeps_the_bounds_is_chosen_or_the_closest(tmp_path, bound, value):
    assert chosen(tmp_path, {"maximize": {"skill": 1}, "subject_to": {"retention": bound}}) == value


def test_a_bound_compares_with_an_expert_and_the_kinds_and_names_are_those_of_the_file(tmp_path):
    select = {"maximize": {"skill": 1}, "subject_to": {"none": {"points": 20, "against": "finance"}}}
    results = build(tmp_path, select)
    with pytest.raises(DataError, match="no task of 'none', which `select` names"):
        judged(results)
    select["subject_to"] = {"group": {"points": 9, "against": "finance"}}
    by_objective = judged(build(tmp_path / "2", select))
    gaps = {name: of["group"].value for name, of in by_objective.differences.items()}
    expected = {0.2: 0.6 - 0.475, 0.5: 0.6 - 0.475, 0.8: 0.55 - 0.475}
    assert {x: pytest.approx(gaps[f"stage1-finance-ta-lambda{x}"], abs=0.03) for x in expected} == expected


def test_the_summary_the_sentences_and_the_table_say_who_keeps_the_bounds(tmp_path):
    select = {"maximize": {"group": 1, "skill": 2}, "subject_to": {"retention": -1.2}}
    build(tmp_path, select)
    answer = summary(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(answer.as_json()))
    results = load_results(tmp_path)
    keeps = {float(name[-3:]): answer.objective.models[name].keeps for name in answer.points}
    assert keeps == {0.2: "surely", 0.5: "perhaps", 0.8: "not"}
    assert answer.objective.models["base"].keeps == "surely"  # it is compared with itself
    assert answer.objective.weights == {
        "skill": pytest.approx(5 / 6, abs=1e-6),
        "other": pytest.approx(1 / 6, abs=1e-6),
    }
    assert answer.objective.models["base"].value.value == pytest.approx(0.4, abs=0.03)
    assert answer.ship.best_merge.endswith("lambda0.2") and answer.selection.optimism is None
    assert "in the objective" in lines(answer, "ship")[0]
    assert lines(answer, "objective") == [
        "Selection maximizes the mean of group (weight 1), skill (weight 2).",
        "Bounds, in points: retention at least -1.2 vs base. Merges that keep all bounds on the selection items: surely 1, "
        "perhaps 1, not 1.",
    ]  # fmt: skip
    answer.objective.models[answer.ship.best_merge].keeps = "not"  # where nothing keeps the bounds
    (_, _, (_, line)) = objective_sentences(answer)
    assert line.startswith(
        "base + finance: no setting surely keeps the bounds. None is likely to, so the closest is selected"
    )
    assert "stage1-finance-ta-lambda0.2: retention " in line
    assert list(objective_sentences(answer, "finance")) == list(objective_sentences(answer))
    assert len([*objective_sentences(answer, "math")]) == 2  # a card says nothing of other combinations
    assert front(answer) == frozenset(answer.points)  # each is better in one of the two
    table = objective_table(results)
    assert [row[2].text for row in table.rows] == [
        "surely",
        "perhaps",
        "not",
    ] and "retention vs base" in table.columns


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ({"maximize": {}}, "maximize: "),
        ({"maximise": {"a": 1}}, "Did you mean 'maximize'"),
        ({"maximize": {"a": -1}}, "greater than 0"),
        ({"subject_to": {"retention": "much"}}, "points"),
        ({"subject_to": {"retention": {"points": 1, "agains": "base"}}}, "Did you mean 'against'"),
        ({"subject_to": {"retention": {"points": 1, "against": "finanse"}}}, "Did you mean 'finance'"),
    ],
)  # fmt: skip
def test_an_objective_without_a_meaning_is_refused(select, message):
    with pytest.raises(RecipeError, match=message):
        parse_study(helpers.content(".", select=select), "study.yml")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"finance_bench_fm": 1}, None),
        ({"finance_bench_docmath_ss": 1, "tasks": 1}, None),
        (
            {"finance_bench_docmat_ss": 1},
            "no task or group of this study. Did you mean 'finance_bench_docmath_ss'",
        ),
        ({"retention": 1}, "this study has no such tasks. Add `retention:`"),
        (
            {"finance_bench_fpb": 1},
            "study.yml: select.maximize: finance_bench_fpb: no task or group of this study",
        ),
    ],
)
def test_names_are_tasks_and_groups_of_the_study(tiny, names, message):
    study = parse_study(
        helpers.content(tiny, tasks=["finance_bench_fm"], select={"maximize": names}), "study.yml"
    )
    evaluator = study_evaluator(study, "cpu", quiet=True)
    if message:
        with pytest.raises(RecipeError, match=message):
            task_checks.check_objective(evaluator, study, "study.yml")
        return
    task_checks.check_objective(evaluator, study, "study.yml")
    described = task_info.describe(evaluator, study)
    assert set(names) == {name for task in described.values() for name in task.selected_by or ()}


def test_a_bound_on_what_the_study_does_not_evaluate_is_named_with_its_key(tiny):
    select = {"subject_to": {"finance_bench_fp": -1.0}}
    study = parse_study(helpers.content(tiny, select=select), "study.yml")
    with pytest.raises(RecipeError, match="study.yml: select.subject_to: finance_bench_fp: no task or group"):
        task_checks.check_objective(study_evaluator(study, "cpu", quiet=True), study, "study.yml")


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.0, 0.0), (-0.1, 0.1)),  # no item differs
        ((0.0, 0.5), (-0.1, 0.5)),  # few are better, and none is worse
        ((-0.5, 0.0), (-0.5, 0.1)),  # few are worse, and none is better
        ((0.1, 0.5), (0.1, 0.5)),
        ((-0.2, 0.3), (-0.2, 0.3)),
    ],
)
def test_an_end_of_an_interval_beyond_which_no_item_lies_is_moved_out(ends, expected):
    assert widened(Estimate(0.0, *ends), 0.1) == expected


def test_a_study_runs_by_its_objective(tiny, tmp_path):
    select = {"maximize": {"finance_bench_docmath_ss": 1}, "subject_to": {"tasks": -100.0}}
    changes = {"tasks": ["finance_bench_docmath_ss"], "stages": [1], "select": select}
    answer, _ = helpers.go(tiny, tmp_path / "out", experts=("finance",), **changes)
    assert {row["keeps"] for row in answer["objective"]["models"].values()} == {"surely"}
    assert set(answer["objective"]["models"]) == {"base", "finance", *answer["points"]}
