"""Selection: one cell of the grid per combination and operator, then one point per combination."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mergekit_finance.files import Json
from mergekit_finance.operators import operator_rank, value_order
from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Optimism

SPLITS = 20  # random splits that optimism is measured on
Macro = Callable[[str], float]  # model -> macro average


class GridPoint(Protocol):
    """The fields of a point that selection reads; `schema.PointEntry` and `schema.PointResult` have them."""

    @property
    def combination(self) -> list[str]: ...
    @property
    def operator(self) -> str: ...
    @property
    def values(self) -> Mapping[str, Json]: ...


@dataclass(frozen=True)
class SelectedPoints:
    """The selected points, by name."""

    by_operator: dict[tuple[str, str], str]  # (combination, operator) -> point
    by_combination: dict[str, str]  # combination -> point


@dataclass(frozen=True)
class Ranking:
    """What points are selected by.

    Attributes:
        value: what is maximized: the macro average, or the study's objective.
        standings: by model, how well it keeps the bounds of the objective: (2 surely, 1 perhaps, 0 not; by
            how much it misses them, 0 or less). Empty without bounds.
    """

    value: Macro
    standings: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def of(self, name: str, points: Mapping[str, GridPoint]) -> tuple[int, float, float]:
        """Return the rank of a model or of a point's cell; larger is better.

        Those that surely keep the bounds come first, then those that perhaps keep them. Of the others the one
        that misses them least comes first.
        """
        level, missing = self.standings.get(name, (0, 0.0))
        value = mean_over_seeds(name, points, self.value) if name in points else self.value(name)
        return level, 0.0 if level else missing, value


def macro_on(
    tasks: Mapping[str, TaskScores], names: Sequence[str], weights_of: Mapping[str, float] | None = None
) -> Macro:
    """Return a function from a model to its weighted mean score over the tasks `names` on these items.

    Args:
        tasks: the scores.
        names: the tasks of the mean.
        weights_of: weights by task; None: those of the tasks.
    """
    cache: dict[str, float] = {}
    weights = [weights_of[t] if weights_of else tasks[t].weight for t in names]

    def macro(model: str) -> float:
        if model not in cache:
            cache[model] = float(np.average([tasks[t].score(model) for t in names], weights=weights))
        return cache[model]

    return macro


def grids(points: Mapping[str, GridPoint]) -> dict[tuple[str, str], list[str]]:
    """Return point names by combination and operator, in the order of the grid."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, point in points.items():
        groups.setdefault(("+".join(point.combination), point.operator), []).append(name)
    return groups


def select_points(points: Mapping[str, GridPoint], ranking: Ranking) -> SelectedPoints:
    """Return the best points by `ranking` on the selection items.

    A cell's score is the mean over its mask seeds. Ties go to the smaller values, then to the simpler
    operator.
    """
    chosen = {group: best_of(names, points, ranking) for group, names in grids(points).items()}
    ranked: dict[str, list[tuple[tuple[float, ...], tuple[int, str], str]]] = {}
    for (combination, operator), name in chosen.items():
        least_first = tuple(-part for part in ranking.of(name, points))
        ranked.setdefault(combination, []).append((least_first, operator_rank(operator), name))
    return SelectedPoints(chosen, {combination: min(ranks)[2] for combination, ranks in ranked.items()})


def best_of(names: Sequence[str], points: Mapping[str, GridPoint], ranking: Ranking) -> str:
    """Return the first seed's point of the best cell."""
    ranks = {name: ranking.of(name, points) for name in names}
    best = max(ranks.values())
    tied = [name for name, rank in ranks.items() if rank == best]
    return min(
        tied, key=lambda name: [value_order(value) for _, value in sorted(points[name].values.items())]
    )


def mean_over_seeds(name: str, points: Mapping[str, GridPoint], macro: Macro) -> float:
    """Return the score of a point's cell: the mean over its mask seeds."""
    return float(np.mean([macro(same) for same in seeds_of(name, points)]))


def seeds_of(name: str, points: Mapping[str, GridPoint]) -> list[str]:
    """Return the points that differ from this one in their mask seed alone, this one included."""
    point = points[name]
    if "seed" not in point.values:
        return [name]
    same = cell(point)
    group = (point.combination, point.operator)
    return [n for n, p in points.items() if (p.combination, p.operator) == group and cell(p) == same]


def cell(point: GridPoint) -> tuple[tuple[str, ...], str, tuple[tuple[str, tuple[int, float, str]], ...]]:
    """Return what identifies a cell of the grid: combination, operator, and the values without the seed."""
    values = tuple((key, value_order(value)) for key, value in point.values.items() if key != "seed")
    return tuple(point.combination), point.operator, values


def optimism(
    results: StudyResults, weights: Mapping[str, float] | None = None, splits: int = SPLITS
) -> Optimism:
    """Return how much better the selected points score on the items that selected them than on other items.

    Over seeded random splits of the clusters in halves: the selected point's macro on the half that
    selected it, minus its macro on the other half; mean over combinations, operators and
    splits. Each split is used both ways round, so that a half that happens to be easier cancels.

    Args:
        results: the study.
        weights: of the tasks in what is maximized; None: those of the macro average.
        splits: the number of splits.
    """
    gaps = [_gap(results, weights, seed, flip) for seed in range(splits) for flip in (False, True)]
    return Optimism(mean=round(float(np.mean(gaps)), 6), splits=splits)


def _gap(results: StudyResults, weights: Mapping[str, float] | None, seed: int, flip: bool) -> float:
    selecting, other = {}, {}
    names = list(weights or results.macro)
    for task in names:
        scores = results.full[task]
        first = _half(seed, scores.names)[scores.clusters] != flip
        selecting[task], other[task] = scores.take(first), scores.take(~first)
    selecting_macro, other_macro = (macro_on(half, names, weights) for half in (selecting, other))
    chosen = select_points(results.points, Ranking(selecting_macro)).by_operator.values()
    return float(np.mean([selecting_macro(name) - other_macro(name) for name in chosen]))


def _half(seed: int, clusters: Sequence[str]) -> np.ndarray:
    """Return which clusters are in the first half; the same for tasks that have the same clusters."""
    ranks = [hashlib.sha256(f"optimism {seed} {cluster}".encode()).digest() for cluster in clusters]
    return np.argsort(np.argsort(ranks)) < len(ranks) / 2
