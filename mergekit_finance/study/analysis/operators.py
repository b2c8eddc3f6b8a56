"""The paper's claim about operators, tested: is Task Arithmetic strong but sensitive, TIES robust?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.grids import Grid, best, difference, halved, near, spread
from mergekit_finance.study.analysis.effects import shown
from mergekit_finance.study.analysis.select import grids, seeds_of
from mergekit_finance.study.results import Loaded


def claim(loaded: Loaded, found: Replicates) -> dict[str, Any]:
    """Per operator, mean over combinations: best macro, spread (best less worst of the grid), share of the
    grid within one point of the best; and the paired differences between operators. Intervals:
    `statistics.grids`."""
    operators = list(loaded.study.operators.present())
    made = {o: _grid(loaded, found, o) for o in operators}
    return {
        "operators": {o: _row(made[o]) | _size(loaded, o) for o in operators},
        "differences": {
            f"{a} - {b}": _against(made[a], made[b])
            for i, a in enumerate(operators)
            for b in operators[i + 1 :]
        },
    }


def _row(grid: Grid) -> dict[str, list[float]]:
    return {
        "best": shown(best(grid).estimate()),
        "spread": shown([max(0.0, end) for end in spread(grid).estimate()]),  # never below 0
        "near": shown(near(grid)),
    }


def _against(grid: Grid, other: Grid) -> dict[str, list[float]]:
    """One operator less another, on the same items."""
    return {
        "best": shown(best(grid).less(best(other))),
        "spread": shown(spread(grid).less(spread(other))),
        "near": shown(difference(near(grid, halved()), near(other, halved()))),
    }


def _grids(loaded: Loaded, operator: str) -> list[list[str]]:
    return [names for (_, own), names in grids(loaded.points).items() if own == operator]


def _cells(loaded: Loaded, operator: str) -> list[list[list[str]]]:
    """Per combination the cells of the grid, each with the points of its seeds: seeds are no grid."""
    return [
        [*map(list, dict.fromkeys(tuple(seeds_of(name, loaded.points)) for name in names))]
        for names in _grids(loaded, operator)
    ]


def _size(loaded: Loaded, operator: str) -> dict[str, Any]:
    """How many points there are, and whether there is a grid to be sensitive on."""
    swept = any(len(cells) > 1 for cells in _cells(loaded, operator))
    return {"points": sum(len(names) for names in _grids(loaded, operator)), "swept": swept}


def _grid(loaded: Loaded, found: Replicates, operator: str) -> Grid:
    """Every combination's cells. A cell's score is the mean over its seeds."""
    cells = _cells(loaded, operator)
    seen = [[_mean(found.observed, loaded.macro, cell) for cell in row] for row in cells]
    draws = [[_mean(found.scores, loaded.macro, cell) for cell in row] for row in cells]
    strata = {found.strata[task]: found.clusters[task] for task in loaded.macro}
    return Grid(np.array(seen), np.array(draws), sum(strata.values()))


def _mean(scores: Mapping[str, Mapping[str, Any]], tasks: Sequence[str], cell: Sequence[str]) -> Any:
    return np.mean([scores[task][name] for task in tasks for name in cell], axis=0)


def scores(found: Replicates, tasks: Mapping[str, Any], model: str) -> dict[str, float]:
    """A model's score on every task."""
    return {task: round(found.observed[task][model], 6) for task in tasks}
