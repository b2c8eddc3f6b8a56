"""Test the paper's claim that Task Arithmetic is strong but sensitive, and TIES robust."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.grids import Grid, best, difference_of_grids, halved, near, spread
from mergekit_finance.study.analysis.effects import ranges_of
from mergekit_finance.study.analysis.selection import grids, seeds_of
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import OperatorComparison, OperatorDifference, OperatorScores, rounded

PointGrid = dict[str, list[list[str]]]  # combination -> for each cell of the grid: the points of its seeds


def compare_operators(results: StudyResults, replicates: Replicates) -> OperatorComparison:
    """Return a comparison of the operators over their grids, each as a mean over combinations.

    Per operator: the best macro, the spread (best minus worst of the grid) and the share of the grid within
    one point of the best; and the paired differences between operators, over the combinations that both
    have. Intervals: `statistics.grids`.
    """
    cells = {key: rows for key in results.study.operators.present() if (rows := _cells(results, key))}
    keys = list(cells)
    differences = {}
    for a, b in combinations(keys, 2):
        if shared := [name for name in cells[a] if name in cells[b]]:
            one, other = (_grid(results, replicates, cells[key], shared) for key in (a, b))
            differences[f"{a} - {b}"] = _difference(one, other)
    return OperatorComparison(
        operators={
            key: _scores(_grid(results, replicates, rows, list(rows)), rows) for key, rows in cells.items()
        },
        differences=differences,
    )


def _scores(grid: Grid, cells: PointGrid) -> OperatorScores:
    return OperatorScores(
        best=rounded(best(grid).estimate()),
        spread=rounded([max(0.0, end) for end in spread(grid).estimate()]),  # never below 0
        near=rounded(near(grid)),
        points=sum(len(names) for row in cells.values() for names in row),
        swept=any(len(row) > 1 for row in cells.values()),
    )


def _difference(grid: Grid, other: Grid) -> OperatorDifference:
    """Return the difference of two operators on the same items."""
    estimates = {
        "best": best(grid).less(best(other)),
        "spread": spread(grid).less(spread(other)),
    }
    return OperatorDifference(
        best=rounded(estimates["best"]),
        spread=rounded(estimates["spread"]),
        ranges=ranges_of(estimates),
        near=rounded(difference_of_grids(near(grid, halved()), near(other, halved()))),
    )


def _cells(results: StudyResults, operator: str) -> PointGrid:
    """Return the cells of an operator's grid in every combination; mask seeds are repeats of one cell."""
    return {
        combination: [*map(list, dict.fromkeys(tuple(seeds_of(name, results.points)) for name in names))]
        for (combination, key), names in grids(results.points).items()
        if key == operator
    }


def _grid(results: StudyResults, replicates: Replicates, cells: PointGrid, names: Sequence[str]) -> Grid:
    """Return the macro of every cell, observed and in each replicate: the mean over its seeds."""
    weights = dict(zip(results.macro, replicates.weights(results.macro), strict=True))
    rows = [cells[name] for name in names]
    observed = [np.array([_mean(replicates.observed, weights, cell) for cell in row]) for row in rows]
    draws = [np.array([_mean(replicates.scores, weights, cell) for cell in row]) for row in rows]
    strata = {replicates.strata[task]: replicates.clusters[task] for task in results.macro}
    return Grid(observed, draws, sum(strata.values()))


def _mean(
    scores: Mapping[str, Mapping[str, float]] | Mapping[str, Mapping[str, np.ndarray]],
    weights: Mapping[str, float],
    cell: Sequence[str],
) -> np.ndarray:
    rows = np.array([scores[task][name] for task in weights for name in cell])
    return np.asarray(np.average(rows, axis=0, weights=np.repeat([*weights.values()], len(cell))))
