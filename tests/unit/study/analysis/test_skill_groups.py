"""Mean scores by group of skills in summary.json: their intervals against computations made by hand."""

import json

import numpy as np
import pytest
from helpers.synthetic import PAIR, POINTS, RETENTION, SAME, build, shares
from scipy.stats import binom, norm, t

from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.schema import Summary

DRAWS = 10_000
RIGHT = {"base": 40, "finance": 110, "math": 70, "pair": 120}
NAMES = {"base": "base", "finance": "finance", "math": "math", "pair": PAIR}


def groups_of(answer, name):
    return (answer.points[name] if name in answer.points else answer.models[name]).groups


def tail_area(freedom):
    """The area of Hesterberg's expanded percentile interval, cut off at each end of 95 %."""
    return norm.cdf(t.ppf(0.025, freedom) * np.sqrt((freedom + 1) / freedom))


@pytest.mark.parametrize("name", RIGHT)
def test_the_interval_of_one_task_of_independent_items_is_binomial(tmp_path, name):
    """A resampled mean of n right-or-wrong items is a binomial count of them, divided by n."""
    items = 200
    tables = {"t": shares(items, **RIGHT), "other": shares(items, base=100, pair=90)}
    tasks = {"t": {"skills": ["finance", "math"]}, "other": {"skills": ["math"]}}
    answer = summary(build(tmp_path, tables, tasks, selection=SAME, resamples=DRAWS).folder)
    stored = groups_of(answer, NAMES[name])["finance+math"]
    share, area = RIGHT[name] / items, tail_area(items - 1)
    error = 4 * np.sqrt(area * (1 - area) / DRAWS)  # an end may lie there under any seed
    assert stored.value == pytest.approx(share)
    for end, center in ((stored.low, area), (stored.high, 1 - area)):
        least, most = (binom.ppf(center + sign * error, items, share) / items for sign in (-1, 1))
        assert least - 1e-6 <= end <= most + 1e-6


def test_weights_and_clusters_count_as_in_a_bootstrap_by_hand(tmp_path):
    """Two tasks of 300 items in 100 clusters of three equal answers, weighted 3 to 1."""
    generator = np.random.default_rng(7)
    right = {task: {m: generator.random(100) < p for m, p in ps.items()} for task, ps in (
        ("a", {"base": 0.3, "finance": 0.6, "math": 0.5, **dict.fromkeys(POINTS, 0.7)}),
        ("b", {"base": 0.2, "finance": 0.3, "math": 0.6, **dict.fromkeys(POINTS, 0.5)}),
    )}  # fmt: skip
    tables = {task: {m: np.repeat(row, 3) for m, row in of.items()} for task, of in right.items()}
    common = {"clusters": [str(k) for k in np.repeat(np.arange(100), 3)]}
    tasks = {"a": {**common, "weight": 3.0}, "b": common}
    answer = summary(build(tmp_path, tables, tasks, selection=SAME, resamples=DRAWS).folder)
    resampling = np.random.default_rng(8)
    drawn = {task: resampling.integers(100, size=(20_000, 100)) for task in right}
    for name in ("base", "finance", PAIR):
        parts = [3 / 4 * right["a"][name][drawn["a"]].mean(1), 1 / 4 * right["b"][name][drawn["b"]].mean(1)]
        variances = np.var(parts, axis=1)
        area = tail_area(variances.sum() ** 2 / (variances**2 / 99).sum())  # Welch and Satterthwaite
        ends = np.quantile(sum(parts), [area, 1 - area])
        stored = groups_of(answer, name)["finance"]
        assert stored.value == pytest.approx(3 / 4 * right["a"][name].mean() + right["b"][name].mean() / 4)
        # Over 4 standard errors of the difference of two such ends. Without clusters it would be 0.8.
        assert stored[1:] == pytest.approx(ends, abs=0.15 * np.sqrt(variances.sum()))


def test_groups_are_of_the_macro_average_and_of_base_experts_and_selected_points(tmp_path):
    tables = {"f": shares(150, pair=75), "n": shares(150, pair=30), "r": shares(150, base=90)}
    tasks = {"n": {"skills": []}, "r": RETENTION}
    grid = {"task_arithmetic": {"lambda": [0.5, 0.7]}}
    more = {name.replace("0.5", "0.7"): 0 for name in POINTS}
    tables = {task: of | dict.fromkeys(more, np.zeros(150)) for task, of in tables.items()}
    answer = summary(build(tmp_path, tables, tasks, selection=SAME, operators=grid).folder)
    with_groups = {n for n, model in {**answer.models, **answer.points}.items() if model.groups is not None}
    assert with_groups == {*answer.models, *answer.selected} and answer.points.keys() - with_groups
    assert all({*groups_of(answer, name)} == {"finance", "no skill"} for name in with_groups)
    sets = answer.selected[PAIR].sets
    assert groups_of(answer, PAIR)["finance"] == sets["skills: finance"].score
    assert groups_of(answer, "base")["finance"] == sets["skills: finance"].base


def test_a_single_group_is_the_macro_average(tmp_path):
    answer = summary(build(tmp_path, {"a": shares(150, **RIGHT), "b": shares(150, **RIGHT)}).folder)
    for name in ("base", "finance", PAIR):
        model = answer.points[name] if name in answer.points else answer.models[name]
        assert model.groups == {"finance": model.macro}


def test_a_summary_without_groups_is_read_and_written_as_it_was(tmp_path):
    content = json.loads(json.dumps(summary(build(tmp_path, {"t": shares(150, **RIGHT)}).folder).as_json()))
    for model in (*content["models"].values(), *content["points"].values()):
        model.pop("groups", None)
    assert Summary.model_validate(content).as_json() == content
