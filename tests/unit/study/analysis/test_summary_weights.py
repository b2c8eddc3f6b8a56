"""Weights of tasks in every mean over tasks: selection, Gain, OG, intervals, tests, and what is said of them."""

import numpy as np
import pytest
from helpers import study as helpers
from helpers.synthetic import PAIR, RETENTION, SAME, build, noisy, shares
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.errors import RecipeError
from mergekit_finance.recipe import load as recipes
from mergekit_finance.report.console import gain_table, notes
from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.statistics.contrasts import gain_weights, score
from mergekit_finance.statistics.influence import contributions
from mergekit_finance.statistics.outperform import gain, outperform_gap
from mergekit_finance.statistics.scores import aligned, task_scores
from mergekit_finance.study import config
from mergekit_finance.study.analysis.summary import summary

TABLES = {
    "a": shares(150, finance=75, math=30, pair=90),
    "b": shares(300, finance=60, math=90, pair=150),
    "kept": shares(150, base=150, pair=15),
    "lost": shares(150, base=150, pair=60),
}
KINDS = {"kept": RETENTION, "lost": RETENTION}


def test_weighted_macros_by_hand(tmp_path):
    tasks = {"a": {"weight": 3.0}, "kept": RETENTION | {"weight": 4.0}, "lost": RETENTION}
    answer = summary(build(tmp_path, TABLES, tasks, selection=SAME).folder)
    point, sets = answer.points[PAIR], answer.selected[PAIR].sets
    assert point.macro.value == pytest.approx((3 * 0.6 + 0.5) / 4)
    assert point.macro_on_selection == pytest.approx((3 * 0.6 + 0.5) / 4)
    assert point.retention.value == pytest.approx((4 * 0.1 + 0.4) / 5)
    gains, gaps = (0.6 - 0.35, 0.5 - 0.25), (0.6 - 0.5, 0.5 - 0.3)
    assert point.macro_gain == pytest.approx((3 * gains[0] + gains[1]) / 4, abs=1e-6)
    assert point.macro_og == pytest.approx((3 * gaps[0] + gaps[1]) / 4, abs=1e-6)
    assert sets["macro"].og.value == pytest.approx(point.macro_og)
    assert sets["macro"].gain.value == pytest.approx(point.macro_gain)
    # finance: (3 * 0.5 + 0.2) / 4 = 0.425, math: (3 * 0.2 + 0.3) / 4 = 0.225
    assert sets["macro"].best_constituent == "finance"
    assert sets["macro"].over_best_constituent.value == pytest.approx(0.575 - 0.425)
    assert answer.operators.operators["task_arithmetic"].best.value == pytest.approx(
        np.mean([answer.points[name].macro.value for name in answer.points]), abs=1e-6
    )
    assert answer.tasks["a"].weight == 3 and answer.tasks["b"].weight == 1


def test_weights_select_another_point(tmp_path):
    """Of two lambdas, one is better on the one task and the other on the other."""
    names = [f"stage1-finance-ta-lambda{value}" for value in (0.3, 0.6)]
    rising = dict(zip(("base", "finance", *names), (0, 0, 60, 100), strict=True))
    falling = dict(zip(("base", "finance", *names), (0, 0, 100, 70), strict=True))
    tables = {
        task: {name: np.arange(200) < count for name, count in counts.items()}
        for task, counts in (("a", rising), ("b", falling))
    }
    study = helpers.content(
        ".",
        experts=("finance",),
        stages=[1],
        tasks=["a", "b"],
        limit=None,
        selection=SAME,
        operators={"task_arithmetic": {"lambda": [0.3, 0.6]}},
    )
    for weights, selected in (((1.0, 1.0), names[1]), ((1.0, 2.0), names[0])):
        out = tmp_path / str(weights[1])
        helpers.synthetic(
            out, study, tables, {task: {"weight": w} for task, w in zip("ab", weights, strict=True)}
        )
        assert summary(out).combinations["finance"].selected == selected


def tasks_of(rng, weights):
    rows = {}
    for name, weight in weights.items():
        right = {model: (rng.random(40) < 0.5).astype(float) for model in "mpq"}
        ids = range(40) if name in "ab" else range(100, 140)  # a and b share their clusters
        rows[name] = task_scores(name, ids, right, "mean", right, weight)
    return aligned(rows)


@settings(max_examples=20, deadline=None)
@given(weight=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_equal_weights_are_no_weights(weight, seed):
    names = ["a", "b", "c"]
    plain, weighted = (tasks_of(np.random.default_rng(seed), dict.fromkeys(names, w)) for w in (1.0, weight))
    one, other = (bootstrap(list(tasks.values()), 200) for tasks in (plain, weighted))
    for estimate in (gain, outperform_gap):
        values = [tuple(estimate(r, names, "m", ["p", "q"])) for r in (one, other)]
        assert values[0] == pytest.approx(values[1], abs=1e-12)
    parts = [
        np.concatenate(contributions(list(t.values()), gain_weights("m", ["p", "q"])))
        for t in (plain, weighted)
    ]
    assert parts[0] == pytest.approx(parts[1], abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(weights=st.tuples(*[st.integers(1, 4)] * 3), seed=st.integers(0, 1000))
def test_a_whole_weight_is_that_many_copies_of_the_task(weights, seed):
    """Copies share their clusters with the original, so intervals and contributions agree too."""
    names = dict(zip("abc", map(float, weights), strict=True))
    tasks = tasks_of(np.random.default_rng(seed), names)
    replicates = bootstrap(list(tasks.values()), 200)
    listed = [name for name, weight in names.items() for _ in range(int(weight))]
    unweighted = bootstrap(
        list(tasks_of(np.random.default_rng(seed), dict.fromkeys("abc", 1.0)).values()), 200
    )
    for function, arguments in ((gain, ("m", ["p", "q"])), (outperform_gap, ("m", ["p", "q"])), (score, "m")):
        of_weights = tuple(function(replicates, ["a", "b", "c"], *arguments))
        assert of_weights == pytest.approx(tuple(function(unweighted, listed, *arguments)), abs=1e-9)
    total = sum(part.sum() for part in contributions(list(tasks.values()), {"m": 1.0}))
    assert total == pytest.approx(score(unweighted, listed, "m").value)


def test_the_verdict_says_that_means_are_weighted(tmp_path):
    def said(tasks):
        answer = summary(build(tmp_path / str(len(tasks)), TABLES, KINDS | tasks, selection=SAME).folder)
        return [line.text for line in answer.verdict if "weighted" in line.text]

    assert said({}) == []
    assert said({"a": {"weight": 2.5}}) == ["Means over tasks are weighted: a 2.5; all others 1."]


def gain_file(**weights):
    scores = {"merged": 0.5, "constituents": {"x": 0.25}, "gain": 0.25, "og": 0.25}
    tasks = {name: scores | {"n": 200, "clusters": 200, "weight": weight} for name, weight in weights.items()}
    return {
        "format": 2, "recipe": "", "method": "linear", "semantics": "mergekit", "stage": 1, "seed": None,
        "base": None, "models": {}, "results": {}, "limit": None, "source": "lab", "random_weights": [],
        "tasks": tasks, "macro": scores,
    }  # fmt: skip


def test_run_says_that_the_macro_is_weighted():
    content = gain_file(a=2.0, b=1.0)
    assert "macro (weighted)" in gain_table(content)
    assert "Means over tasks are weighted: a 2; b 1." in notes(content)
    assert "weighted" not in gain_table(gain_file(a=2.0, b=2.0)) + notes(gain_file(a=2.0, b=2.0))


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, "two", 1e9])
def test_a_weight_that_is_no_positive_number_is_refused_in_one_line(weight):
    entry = {"task": "my_contracts", "weight": weight}
    with pytest.raises(RecipeError, match="tasks.my_contracts.weight: ") as caught:
        config.parse_study(helpers.content(".", tasks=[entry]), "study.yml")
    assert "\n" not in str(caught.value)
    recipe = {"merge_method": "linear", "models": [{"model": "x"}], "finance": {"tasks": [entry]}}
    with pytest.raises(
        RecipeError, match="finance.tasks.my_contracts.weight: |not a finite number"
    ) as caught:
        recipes.check_mapping(recipe, "recipe.yml")
    assert "\n" not in str(caught.value)


def test_a_misspelled_key_of_a_task_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match=r"unknown key 'tasks.my_contracts.wieght'. .*weight"):
        config.parse_study(helpers.content(".", tasks=[{"task": "my_contracts", "wieght": 2}]), "study.yml")


def test_the_weight_of_a_study_is_read_back(tmp_path):
    study = config.parse_study(helpers.content(".", tasks=["a", {"task": "b", "weight": 2}]), "study.yml")
    assert study.task_settings["b"].weight == 2
    assert config.parse_study(config.dump(study), "study.json") == study
    assert noisy(tmp_path).tasks["a"].weight == 1  # tasks.json of an older version has none
