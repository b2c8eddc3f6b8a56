"""A grid of hyperparameters: its best, its spread, and the share of it near the best, with intervals.

With s_ci the macro score of cell i of the grid in combination c, C combinations and K cells,

    best   = mean_c max_i s_ci
    spread = mean_c (max_i s_ci - min_i s_ci)
    near   = mean_c share of i with max_j s_cj - s_ci <= 0.01

These kink or jump where cells tie, so no bootstrap of them is valid: replicates of a maximum lie above it,
and that bias does not average out over combinations (in simulations, percentiles of `near` over seven flat
grids never covered). The scores themselves are smooth.

best and spread are maxima, of cells and of pairs of cells. With e the error of an estimate and q the true
maximum,

    e_cq  <=  max_i s_ci(observed) - max_i s_ci(true)  <=  max over N_c of e_ci

as for Macro-OG (`outperform`), N_c the cells within sqrt(log n) standard errors of the observed maximum.
So with centered replicates, and w the cell of N_c with the largest error,

    low  = observed - quantile_{1-a/2} of mean_c max over N_c of e*_ci
    high = observed - quantile_{a/2}   of mean_c e*_cw

and a difference of two operators takes the replicates of both from the same draws: it is paired.

near jumps, so its interval is a projection: a band that holds for all differences of cells at once,
|observed - true| <= q se with q the 95 % quantile over replicates of the largest |e*| / se (sup-t: Montiel
Olea and Plagborg-Moller 2019, Journal of Applied Econometrics 34:1), and the range of `near` within it
(Dufour 1990, Econometrica 58:475). Where cells are alike it is wide: the data do not say which is the best.

Simulated over four combinations, flat grids to steep ones: best 98 to 99 %, spread 95 to 100 %, near always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mergekit_finance.statistics.intervals import LEVEL, Estimate, percentile_interval, quantiles

NEAR = 0.01  # "within one point of the best"


@dataclass(frozen=True)
class Grid:
    """Macro scores of the cells of an operator's grid in every combination."""

    observed: np.ndarray  # (C, K)
    draws: np.ndarray  # (C, K, B) replicates
    clusters: int  # that the scores are of


@dataclass(frozen=True)
class Maximum:
    """Mean over combinations of a maximum, and (B,) replicates of the largest and least error it may have."""

    value: float
    largest: np.ndarray
    smallest: np.ndarray

    def estimate(self, level: float = LEVEL) -> Estimate:
        return _estimate(self.value, self.largest, self.smallest, level)

    def less(self, other: Maximum, level: float = LEVEL) -> Estimate:
        """Return this one less another of the same draws."""
        largest, smallest = self.largest - other.smallest, self.smallest - other.largest
        return _estimate(self.value - other.value, largest, smallest, level)


def best(grid: Grid) -> Maximum:
    """Return the mean over combinations of the best cell's score."""
    return _maximum(grid, lambda cells: cells)


def spread(grid: Grid) -> Maximum:
    """Return the mean over combinations of the best cell's score less the worst's."""
    return _maximum(grid, _differences)


def near(grid: Grid, level: float = LEVEL) -> Estimate:
    """Return the mean over combinations of the share of cells within `NEAR` of the best one."""
    wide = _simultaneous(grid, level)
    shares = [_share(seen, drawn, wide) for seen, drawn in _pairs(grid)]
    value, low, high = np.mean(shares, axis=0)
    return Estimate(float(value), float(low), float(high))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return one less other; both intervals must hold together at the level (Bonferroni: `halved`)."""
    return Estimate(one.value - other.value, one.low - other.high, one.high - other.low)


def halved(level: float = LEVEL) -> float:
    """Return the level that each of two intervals needs to hold together at `level`."""
    return 1 - (1 - level) / 2


def _maximum(grid: Grid, contrasts: Callable[[np.ndarray], np.ndarray]) -> Maximum:
    """Return the mean over combinations of the maximum of `contrasts`: cells (K, ...) -> (A, ...)."""
    rows = [
        _one(contrasts(seen), contrasts(drawn), grid.clusters)
        for seen, drawn in zip(grid.observed, grid.draws, strict=True)
    ]
    value = float(np.mean([row[0] for row in rows]))
    largest, smallest = np.mean([row[1] for row in rows], axis=0), np.mean([row[2] for row in rows], axis=0)
    return Maximum(value, largest, smallest)


def _one(seen: np.ndarray, drawn: np.ndarray, clusters: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the observed maximum (of A), and (B,) the largest and w's errors of the near-best."""
    top = int(np.argmax(seen))
    apart = (drawn[top] - drawn).std(axis=-1)
    errors = (drawn - seen[:, None])[seen[top] - seen <= np.sqrt(np.log(max(clusters, 2))) * apart]
    return float(seen[top]), errors.max(axis=0), errors[np.argmax(errors.var(axis=1))]


def _estimate(value: float, largest: np.ndarray, smallest: np.ndarray, level: float) -> Estimate:
    tail = (1 - level) / 2
    high = percentile_interval(value, value - smallest, tail, 1 - tail)
    low = percentile_interval(value, value - largest, tail, 1 - tail)
    return Estimate(value, low.low, high.high, low.low_range, high.high_range)


def _differences(cells: np.ndarray) -> np.ndarray:
    """Return every cell less every other: (K, ...) -> (K * K, ...)."""
    return (cells[:, None] - cells[None]).reshape(-1, *cells.shape[1:])


def _pairs(grid: Grid) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the differences of each combination's cells, one at a time to save memory (K * K * B)."""
    for seen, drawn in zip(grid.observed, grid.draws, strict=True):
        yield _differences(seen), _differences(drawn)


def _simultaneous(grid: Grid, level: float) -> float:
    """Return how many standard errors hold for all differences at once."""
    largest = np.zeros(grid.draws.shape[-1])
    for seen, drawn in _pairs(grid):
        se, off = drawn.std(axis=-1)[:, None], np.abs(drawn - seen[:, None])
        scaled = np.divide(off, se, out=np.zeros_like(off), where=se > 0)
        largest = np.maximum(largest, scaled.max(axis=0))
    return float(quantiles(largest[None], [level])[0][0])


def _share(seen: np.ndarray, drawn: np.ndarray, wide: float) -> tuple[float, float, float]:
    """Return the share of cells near the best: observed, at least and at most; some cell is the best."""
    cells, se = round(len(seen) ** 0.5), drawn.std(axis=-1)
    gaps = [(seen + sign * wide * se).reshape(cells, cells).max(axis=0) for sign in (0, 1, -1)]
    value, low, high = (float((gap <= NEAR).mean()) for gap in gaps)
    return value, max(low, 1 / cells), high
