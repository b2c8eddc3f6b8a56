"""The study's own objective: what selection maximizes, and which models keep its bounds.

The value of the objective is sum_g w_g m_g / sum_g w_g, with m_g the mean score over the tasks of the name g
in `maximize`, weighted as every mean over tasks. A bound is about the difference of a mean score from that of
another model on the selection items. With its 95 % interval (paired bootstrap), a model keeps a bound surely
(the interval is above it), perhaps (the interval holds it), or not (the interval is below it). Where no item
differs the interval has no width, although the next item might differ: then it is 3 / n to both sides, with n
clusters (the rule of three: the share of items that differ is below it with 95 % probability).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from mergekit_finance.errors import DataError
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.contrasts import added, contrast
from mergekit_finance.statistics.influence import half_width_without_difference
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.study.analysis.selection import Ranking, macro_on, seeds_of
from mergekit_finance.study.objective_tasks import objective_weights, tasks_named
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import (
    BoundResult,
    Interval,
    Keeps,
    ObjectiveModel,
    ObjectiveResult,
    TaskInfo,
    rounded,
)

LEVELS: Mapping[Keeps, int] = {"surely": 2, "perhaps": 1, "not": 0}


class Judged(NamedTuple):
    """How the models of a study do by its objective on the selection items.

    Attributes:
        ranking: what points are selected by.
        weights: of the tasks in the objective; None: those of the macro average.
        differences: model -> by bound, the difference from the model that it compares with.
    """

    ranking: Ranking
    weights: dict[str, float] | None
    differences: dict[str, dict[str, Estimate]]


def judged(results: StudyResults) -> Judged:
    """Return how models do on the selection items: by the macro average, or by the study's objective."""
    if results.study.select is None:
        return Judged(Ranking(macro_on(results.selection, results.macro)), None, {})
    weights = weights_of(results)
    differences = _differences(results, _bootstrapped(results))
    standings = {name: _standing(results, name, of_model) for name, of_model in differences.items()}
    return Judged(
        Ranking(macro_on(results.selection, list(weights), weights), standings), weights, differences
    )


def weights_of(results: StudyResults) -> dict[str, float]:
    """Return the weight of each task in the objective; they add up to 1."""
    assert results.study.select is not None
    for name in results.study.select.maximize:
        tasks_of(results, name)  # there is one at least
    return objective_weights(results.study.select, results.tasks)


def tasks_of(results: StudyResults, name: str) -> dict[str, TaskInfo]:
    """Return the tasks that a name in `select` is about.

    Raises:
        DataError: tasks.json lists none, so it is damaged.
    """
    tasks = tasks_named(name, results.tasks)
    if not tasks:
        raise DataError(
            f"{results.folder / 'tasks.json'}: no task of {name!r}, which `select` names. Run the study "
            "again."
        )
    return tasks


def weighted(replicates: Replicates, weights: Mapping[str, float] | None) -> Replicates:
    """Return replicates whose means over tasks have the weights of the objective."""
    return replicates if weights is None else replace(replicates, task_weights=weights)


def objective_result(
    results: StudyResults, of_selection: Judged, replicates: Replicates
) -> ObjectiveResult | None:
    """Return what summary.json has about the objective; None without one.

    Args:
        results: the study.
        of_selection: what `judged` returns.
        replicates: of the report items.
    """
    select, weights = results.study.select, of_selection.weights
    if select is None or weights is None:
        return None
    reported = _differences(results, replicates)
    by_objective = weighted(replicates, weights)
    bounds = {
        name: BoundResult(points=bound.points, against=bound.against, tasks=list(tasks_of(results, name)))
        for name, bound in select.subject_to.items()
    }
    models = {
        name: ObjectiveModel(
            on_selection=round(of_selection.ranking.of(name, results.points)[2], 6),
            value=rounded(contrast(by_objective, list(weights), {name: 1.0})),
            keeps=_keeps(results, name, of_selection.differences[name]),
            differences={b: _interval(e) for b, e in of_selection.differences[name].items()},
            reported={b: _interval(e) for b, e in reported[name].items()},
        )
        for name in (*results.models, *results.points)
    }
    rounded_weights = {task: round(weight, 6) for task, weight in weights.items()}
    return ObjectiveResult(weights=rounded_weights, bounds=bounds, models=models)


def _bootstrapped(results: StudyResults) -> Replicates:
    """Return replicates of the tasks that bounds are about, on the selection items."""
    assert results.study.select is not None
    names = {task for bound in results.study.select.subject_to for task in tasks_of(results, bound)}
    tasks = [scores for task, scores in results.selection.items() if task in names]
    return bootstrap(tasks, results.study.resamples, results.study.seed)


def _differences(results: StudyResults, replicates: Replicates) -> dict[str, dict[str, Estimate]]:
    """Return by model and bound the difference that the bound is about; of a cell the mean over its seeds."""
    assert results.study.select is not None
    differences: dict[str, dict[str, Estimate]] = {}
    for model in (*results.models, *results.points):
        same = seeds_of(model, results.points) if model in results.points else [model]
        parts = [(name, 1 / len(same)) for name in same]
        differences[model] = {
            name: contrast(replicates, list(tasks_of(results, name)), added([*parts, (bound.against, -1.0)]))
            for name, bound in results.study.select.subject_to.items()
        }
    return differences


def _standing(results: StudyResults, model: str, differences: Mapping[str, Estimate]) -> tuple[int, float]:
    """Return the level of a model, and the sum of its shortfalls from the bounds (0 or less)."""
    assert results.study.select is not None
    bounds = results.study.select.subject_to
    missing = sum(min(0.0, one.value - bounds[name].points / 100) for name, one in differences.items())
    return LEVELS[_keeps(results, model, differences)], missing


def _keeps(results: StudyResults, model: str, differences: Mapping[str, Estimate]) -> Keeps:
    """Return how surely a model keeps all bounds."""
    assert results.study.select is not None
    levels: list[Keeps] = ["surely"]
    for name, estimate in differences.items():
        bound_of = results.study.select.subject_to[name]
        bound, is_itself = round(bound_of.points / 100, 9), bound_of.against == model
        margin = 0.0 if is_itself else _margin(results, name)
        low, high = widened(estimate, margin)  # nan with one cluster
        levels.append("surely" if low >= bound else "not" if high < bound else "perhaps")
    return min(levels, key=LEVELS.__getitem__)


def widened(estimate: Estimate, margin: float) -> tuple[float, float]:
    """Return the ends of an interval, moved out by `margin` where no item of the sample lies beyond them.

    If no cluster is worse, the lower end is 0 or more, and 0 if few are better: the next cluster might be
    worse. The same holds for the upper end if none is better. An interval without width has both.
    """
    is_flat = estimate.low == estimate.high
    low = estimate.low - margin if is_flat or estimate.low == 0 else estimate.low
    high = estimate.high + margin if is_flat or estimate.high == 0 else estimate.high
    return round(low, 9), round(high, 9)


def _margin(results: StudyResults, name: str) -> float:
    """Return how far beyond 0 a difference may be on a side on which no item of a bound's tasks differs."""
    return half_width_without_difference([results.selection[task] for task in tasks_of(results, name)])


def _interval(estimate: Estimate) -> Interval | None:
    """Return a difference with its interval; None where one cluster has none."""
    numbers = (estimate.value, estimate.low, estimate.high)
    return rounded(numbers) if all(map(math.isfinite, numbers)) else None
