"""Choosing: one hyperparameter per combination and operator, one point per combination, and what to ship."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mergekit_finance.statistics.data import TaskScores
from mergekit_finance.study.config import SHORT
from mergekit_finance.study.results import Loaded

SPLITS = 20  # random splits that optimism is measured on
Macro = Callable[[str], float]  # model -> macro score


@dataclass(frozen=True)
class Choice:
    """The points that were selected, by name."""

    by_operator: dict[tuple[str, str], str]  # (combination, operator) -> point
    by_combination: dict[str, str]  # combination -> point


def macro_on(tasks: Mapping[str, TaskScores], names: Sequence[str]) -> Macro:
    """Mean over tasks of a model's score on these items."""
    known: dict[str, float] = {}

    def macro(model: str) -> float:
        if model not in known:
            known[model] = float(np.mean([tasks[t].score(model) for t in names]))
        return known[model]

    return macro


def grids(points: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Point names by combination and operator, in the order of the grid."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, point in points.items():
        found.setdefault(("+".join(point["combination"]), point["operator"]), []).append(name)
    return found


def choose(points: Mapping[str, Mapping[str, Any]], macro: Macro) -> Choice:
    """The best by `macro`, which the selection split gives; ties go to the smaller value, then to TA."""
    chosen = {group: best_of(names, points, macro) for group, names in grids(points).items()}
    order = list(SHORT)
    combinations: dict[str, list[tuple[float, int, str]]] = {}
    for (combination, operator), name in chosen.items():
        rank = (-mean_over_seeds(name, points, macro), order.index(operator), name)
        combinations.setdefault(combination, []).append(rank)
    return Choice(chosen, {c: min(found)[2] for c, found in combinations.items()})


def best_of(names: Sequence[str], points: Mapping[str, Mapping[str, Any]], macro: Macro) -> str:
    """The first seed's point of the best cell. A cell's score is the mean over its seeds."""
    best = max(mean_over_seeds(name, points, macro) for name in names)
    tied = [n for n in names if mean_over_seeds(n, points, macro) == best]
    return min(tied, key=lambda name: tuple(points[name]["values"].values()))


def mean_over_seeds(name: str, points: Mapping[str, Mapping[str, Any]], macro: Macro) -> float:
    return float(np.mean([macro(n) for n in seeds_of(name, points)]))


def seeds_of(name: str, points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The points that differ from this one in their seed alone, itself included."""
    if "seed" not in points[name]["values"]:
        return [name]
    group = grids_of(name, points)
    return [n for n in group if _cell(points[n]) == _cell(points[name])]


def grids_of(name: str, points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    own = points[name]
    return [
        n
        for n, p in points.items()
        if p["combination"] == own["combination"] and p["operator"] == own["operator"]
    ]


def _cell(point: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple((key, value) for key, value in point["values"].items() if key != "seed")


def optimism(loaded: Loaded, splits: int = SPLITS) -> dict[str, float]:
    """How much better a choice looks on the items that made it than on others.

    Over seeded random splits of the clusters in halves: the chosen point's macro on the half that chose it,
    less its macro on the other half; mean over combinations, operators and splits. Both ways round, so a
    half that happens to be easier cancels.
    """
    found = [_gap(loaded, seed, flip) for seed in range(splits) for flip in (False, True)]
    return {"mean": float(np.mean(found)), "splits": splits}


def _gap(loaded: Loaded, seed: int, flip: bool) -> float:
    mine, other = {}, {}
    for task in loaded.macro:
        scores = loaded.full[task]
        first = _half(seed, scores.names)[scores.clusters] != flip
        mine[task], other[task] = scores.take(first), scores.take(~first)
    here, there = macro_on(mine, loaded.macro), macro_on(other, loaded.macro)
    chosen = choose(loaded.points, here).by_operator.values()
    return float(np.mean([here(name) - there(name) for name in chosen]))


def _half(seed: int, clusters: Sequence[str]) -> np.ndarray:
    """Which clusters are in the first half; tasks of the same clusters agree about it."""
    ranks = [hashlib.sha256(f"optimism {seed} {cluster}".encode()).digest() for cluster in clusters]
    return np.argsort(np.argsort(ranks)) < len(ranks) / 2
