"""How much each operator depends on its hyperparameters: the grids of the representatives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.statistics.grids import Grid, best, near, spread
from mergekit_finance.statistics.influence import count_clusters
from mergekit_finance.statistics.intervals import Estimate

from ..data import Model, Scores
from ..points import KINDS, Setting, representative
from ..settings import named_tasks
from .effects import DRAWS


@dataclass(frozen=True)
class Sensitivity:
    """One operator over the kinds whose representative has all its cells.

    Attributes:
        cells: settings without the seed, that all these kinds have.
        kinds: how many.
        best, spread, near: of `statistics.grids`.
        by_seed: the standard deviation of the score over mask seeds, mean over kinds; nan without seeds.
    """

    operator: str
    cells: int
    kinds: int
    best: Estimate
    spread: Estimate
    near: Estimate
    by_seed: float


@dataclass(frozen=True)
class GridPoint:
    """The mean score of one cell on the reported items, over mask seeds; `chance` is that of its tasks."""

    kind: str
    cell: Setting
    score: float
    seeds: int
    chance: float


def sensitivities(scores: Scores) -> list[Sensitivity]:
    """Return the sensitivity of every operator with at least two cells in common."""
    operators = dict.fromkeys(m.operator for m in scores.models.values() if m.is_merge)
    found = [_sensitivity(scores, operator) for operator in sorted(operators)]
    return [one for one in found if one is not None]


def grid_points(scores: Scores) -> list[GridPoint]:
    """Return the scores of all cells of the representatives."""
    rows = []
    for kind in KINDS:
        cells = _cells(scores, kind)
        names = [model.name for models in cells.values() for model in models]
        tasks = scores.complete(named_tasks(scores, kind), names) if names else []
        if not tasks:
            continue
        tables = [scores.table(task, names) for task in tasks]
        mean = {name: float(np.mean([table.score(name) for table in tables])) for name in names}
        chance = float(np.mean([scores.chance(task) for task in tasks]))
        for cell, models in sorted(cells.items()):
            score = float(np.mean([mean[m.name] for m in models]))
            rows.append(GridPoint(kind, cell, score, len(models), chance))
    return rows


def _cells(scores: Scores, kind: str, operator: str | None = None) -> dict[Setting, list[Model]]:
    """Return the representative's merges by cell; those with a λ for each expert are left out."""
    cells: dict[Setting, list[Model]] = {}
    for model in scores.models.values():
        shared = not any("." in key for key in model.values)
        if model.combination == representative(kind) and operator in (None, model.operator) and shared:
            cells.setdefault(model.cell, []).append(model)
    return cells


def _sensitivity(scores: Scores, operator: str) -> Sensitivity | None:
    by_kind = {kind: cells for kind in KINDS if (cells := _cells(scores, kind, operator))}
    shared = set.intersection(*(set(cells) for cells in by_kind.values())) if by_kind else set()
    if len(shared) < 2:
        return None
    cells = sorted(shared)
    observed, draws, clusters, deviations = [], [], [], []
    for kind, models in by_kind.items():
        scored = _scored(scores, kind, [models[cell] for cell in cells])
        if scored is None:
            return None
        observed.append(scored[0])
        draws.append(scored[1])
        clusters.append(scored[2])
        deviations += scored[3]
    grid = Grid(np.stack(observed), np.stack(draws), min(clusters))
    by_seed = float(np.mean(deviations)) if deviations else float("nan")
    return Sensitivity(
        operator,
        len(cells),
        len(by_kind),
        best(grid).estimate(),
        spread(grid).estimate(),
        near(grid),
        by_seed,
    )


def _scored(
    scores: Scores, kind: str, cells: Sequence[Sequence[Model]]
) -> tuple[np.ndarray, np.ndarray, int, list[float]] | None:
    """Return the cells' mean scores (K,), replicates (K, B), clusters, and deviations over mask seeds."""
    names = [model.name for models in cells for model in models]
    tasks = scores.complete(named_tasks(scores, kind), names)
    if not tasks:
        return None
    tables = list(scores.tables(tasks, names).values())
    replicates = bootstrap(tables, DRAWS)
    value = {n: float(np.mean([replicates.observed[t][n] for t in tasks])) for n in names}
    drawn = {n: np.mean([replicates.scores[t][n] for t in tasks], axis=0) for n in names}
    observed = np.array([np.mean([value[m.name] for m in models]) for models in cells])
    draws = np.stack([np.mean([drawn[m.name] for m in models], axis=0) for models in cells])
    several = [[value[m.name] for m in models] for models in cells if len(models) > 1]
    return observed, draws, count_clusters(tables), [float(np.std(values, ddof=1)) for values in several]
