"""The selection split, the choice it makes, and how optimistic a choice on the same items is."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import study as helpers

from mergekit_finance.errors import DataError
from mergekit_finance.study.analysis import selection
from mergekit_finance.study.analysis import summary as analysis
from mergekit_finance.study.results import load_results
from mergekit_finance.study.split import selection_items


def rows(count, size=1, prefix="c"):
    return [f"{prefix}{k // size}" for k in range(count)]


# ---- the split


@pytest.mark.parametrize(
    ("clusters", "share", "expected"), [(100, 0.3, 30), (10, 0.3, 3), (2, 0.3, 1), (4, 0.01, 1), (4, 0.99, 3)]
)
def test_a_share_of_the_clusters_selects_and_both_sides_have_some(clusters, share, expected):
    chosen = selection_items({"t": rows(clusters * 3, 3)}, {"t": "d"}, share, 0)["t"]
    assert chosen.sum() == 3 * expected
    assert all(len(set(chosen[3 * k : 3 * k + 3])) == 1 for k in range(clusters))  # a cluster is on one side


def test_twins_share_their_selection_items():
    table = {"t": rows(50), "t_cot": rows(50)[::-1], "other": rows(50)}
    chosen = selection_items(table, {"t": "d", "t_cot": "d", "other": "e"}, 0.3, 0)
    assert (chosen["t"] == chosen["t_cot"][::-1]).all()
    assert (chosen["t"] != chosen["other"]).any()  # another dataset has its own


def test_the_split_is_seeded_and_does_not_depend_on_order():
    table, owner = {"t": rows(200)}, {"t": "d"}
    first = selection_items(table, owner, 0.3, 0)["t"]
    assert (first == selection_items(table, owner, 0.3, 0)["t"]).all() and (
        first != selection_items(table, owner, 0.3, 1)["t"]
    ).any()
    turned = selection_items({"t": table["t"][::-1]}, owner, 0.3, 0)["t"]
    assert (first == turned[::-1]).all()


def test_docmath_and_its_chain_of_thought_twin_are_of_one_dataset():
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.study.task_info import dataset_of

    names = ["finance_bench_docmath_ss", "finance_bench_docmath_ss_cot"]
    tasks = Evaluator(names, metadata={"source": "lab"}).tasks
    assert len({dataset_of(name, task) for name, task in tasks.items()}) == 1
    ids = [list(task.eval_docs["cluster_id"]) for task in tasks.values()]
    assert ids[0] == ids[1]


def test_limits_are_nested():
    """The first n rows of a task are among its first m > n, and cluster ids do not depend on either."""
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.study.task_info import clusters_of_items

    task = Evaluator(["finance_bench_fpb"], metadata={"source": "lab"}).tasks["finance_bench_fpb"]
    few, more = clusters_of_items(task, 8), clusters_of_items(task, 20)
    assert len(more) == 20 and more[:8] == few


# ---- the choice


def point(operator="task_arithmetic", combination=("a",), **values):
    return SimpleNamespace(combination=list(combination), operator=operator, values=values)


def chosen(points, scores):
    return selection.select_points(points, selection.Ranking(lambda name: scores[name]))


def test_ties_go_to_the_smaller_value_in_any_order():
    for order in (("b", "a"), ("a", "b")):
        points = {name: point(**{"lambda": {"a": 0.2, "b": 0.4}[name]}) for name in order}
        assert chosen(points, {"a": 0.5, "b": 0.5}).by_combination == {"a": "a"}
    assert chosen(points, {"a": 0.5, "b": 0.51}).by_combination == {"a": "b"}


def test_density_goes_before_lambda_and_task_arithmetic_before_ties():
    points = {
        "t1": point("ties", density=0.2, **{"lambda": 1.0}),
        "t2": point("ties", density=0.6, **{"lambda": 0.5}),
        "ta": point(**{"lambda": 0.9}),
    }
    choice = chosen(points, dict.fromkeys(points, 0.5))
    assert choice.by_operator == {("a", "ties"): "t1", ("a", "task_arithmetic"): "ta"}
    assert choice.by_combination == {"a": "ta"}


def test_dare_is_chosen_by_its_mean_over_seeds():
    """A cell is selected by its mean over seeds, not by its best seed; its first seed is reported."""
    values = {"x0": (0.2, 0), "x1": (0.2, 1), "y0": (0.4, 0), "y1": (0.4, 1)}
    points = {n: point("dare_ties", density=d, **{"lambda": 1.0}, seed=s) for n, (d, s) in values.items()}
    scores = {"x0": 0.9, "x1": 0.1, "y0": 0.5, "y1": 0.7}
    assert chosen(points, scores).by_operator == {("a", "dare_ties"): "y0"}


# ---- optimism


LAMBDAS = [k / 10 for k in range(1, 11)]


def folder(tmp_path, better=0.0, same_items=False, items=400, seed=0):
    """One expert, ten points: all equal in truth, or the third better by `better`."""
    rng = np.random.default_rng(seed)
    study = helpers.content(
        ".", ("finance",), stages=[1], operators={"task_arithmetic": {"lambda": LAMBDAS}}, tasks=["t"],
        selection={"same_items": same_items}, limit=None,
    )  # fmt: skip
    names = ["base", "finance", *(f"stage1-finance-ta-lambda{v}" for v in LAMBDAS)]
    chances = {name: 0.5 + better * name.endswith("lambda0.3") for name in names}
    helpers.synthetic(tmp_path, study, {"t": {n: rng.random(items) < p for n, p in chances.items()}})
    return load_results(tmp_path, finished=False)


def test_choosing_among_equals_is_optimistic(tmp_path):
    """Ten equal points on halves of 200 items: E[max of 10 normals] x the half's standard error."""
    expected = 1.54 * np.sqrt(0.25 / 200 + 0.25 / 200)
    means = [selection.optimism(folder(tmp_path / str(s), seed=s)).mean for s in range(6)]
    assert 0.3 * expected < np.mean(means) < 1.5 * expected
    assert min(means) > 0


def test_choosing_a_clearly_best_point_is_not_optimistic(tmp_path):
    assert abs(selection.optimism(folder(tmp_path, better=0.45)).mean) < 0.005


def test_optimism_is_finite_with_two_clusters(tmp_path):
    optimism = selection.optimism(folder(tmp_path, items=2))
    assert np.isfinite(optimism.mean)


def test_selection_on_the_reported_items_is_labeled_with_its_optimism(tmp_path):
    summary = analysis.summary(folder(tmp_path, same_items=True).folder)
    assert summary.selection.same_items and summary.selection.share is None
    assert summary.selection.optimism.mean > 0
    assert any(
        "Hyperparameters and the best model were selected and evaluated on the same items (optimistic)"
        in s.text
        for s in summary.verdict
    )
    assert summary.tasks["t"].report_items == summary.tasks["t"].items == 400


def test_selection_on_other_items_is_not_called_optimistic(tmp_path):
    loaded = folder(tmp_path)
    summary = analysis.summary(loaded.folder)
    assert not summary.selection.same_items and summary.selection.share == 0.3
    assert not any("(optimistic)" in s.text for s in summary.verdict)
    assert summary.tasks["t"].report_items == 280
    assert not set(loaded.selection["t"].names) & set(loaded.report["t"].names)


def test_results_of_different_rows_are_refused(tmp_path):
    import json

    out = folder(tmp_path, items=10).folder
    path = out / "points" / "finance" / "scores.json"
    columns = json.loads(path.read_text())
    columns["t"]["items"][0] = "another row"
    path.write_text(json.dumps(columns))
    with pytest.raises(
        DataError,
        match="results of finance are on other rows than those of the other models. Remove points/finance and run",
    ):
        analysis.summary(out)
