"""Best, spread and the share near the best of a grid: by hand, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy.special import ndtri

from mergekit_finance.statistics import grids
from mergekit_finance.statistics.grids import Grid

CELLS, CLUSTERS, COMBINATIONS = 8, 150, 4
STEPS = np.linspace(0, 1, CELLS)
CURVES = {
    "flat": np.full(CELLS, 0.5),
    "gentle": 0.5 - 0.05 * (2 * STEPS - 0.8) ** 2,
    "peak": 0.5 - 0.3 * (STEPS - 0.4) ** 2,
    "slope": 0.5 - 0.2 * STEPS,
}


def simulated(rng, curves):
    """Answers of every cell to the same items, which agree more than by chance; 12 items a cluster."""
    draws = rng.multinomial(CLUSTERS, np.full(CLUSTERS, 1 / CLUSTERS), size=300).T / CLUSTERS
    observed, drawn = [], []
    for curve in curves:
        shared = rng.standard_normal((1, CLUSTERS, 12), dtype=np.float32)
        noise = rng.standard_normal((CELLS, CLUSTERS, 12), dtype=np.float32)
        right = np.sqrt(0.8) * shared + np.sqrt(0.2) * noise < ndtri(curve)[:, None, None]
        means = right.mean(axis=2)
        observed.append(means.mean(axis=1))
        drawn.append(means @ draws)
    return Grid(np.array(observed), np.array(drawn), CLUSTERS)


def truths(curve):
    return {
        "best": curve.max(),
        "spread": curve.max() - curve.min(),
        "near": (curve.max() - curve <= grids.NEAR).mean(),
    }


MEASURES = {
    "best": lambda grid: grids.best(grid).estimate(),
    "spread": lambda grid: grids.spread(grid).estimate(),
    "near": grids.near,
}


def coverage(curve, measures, sims=120):
    rng, truth = np.random.default_rng(3), truths(curve)
    covered = dict.fromkeys(measures, 0)
    for _ in range(sims):
        grid = simulated(rng, [curve] * COMBINATIONS)
        for name, measure in measures.items():
            _, low, high = measure(grid)
            covered[name] += low - 1e-9 <= truth[name] <= high + 1e-9
    return {name: count / sims for name, count in covered.items()}


@pytest.mark.parametrize("name", CURVES)
def test_a_grids_measures_are_covered(name):
    """Monte-Carlo error 2 points."""
    rates = coverage(CURVES[name], MEASURES)
    assert min(rates.values()) >= 0.93 - 0.02, rates


def test_percentiles_of_the_measures_would_cover_too_seldom():
    """Where cells tie, all replicates lie to one side of the truth."""

    def percentiles(measure):
        def interval(grid):
            value = measure(grid.observed)
            return value, *np.quantile(measure(grid.draws), [0.025, 0.975], axis=-1)

        return interval

    plain = {
        "best": percentiles(lambda s: s.max(axis=1).mean(axis=0)),
        "spread": percentiles(lambda s: (s.max(axis=1) - s.min(axis=1)).mean(axis=0)),
        "near": percentiles(
            lambda s: (s.max(axis=1, keepdims=True) - s <= grids.NEAR).mean(axis=1).mean(axis=0)
        ),
    }
    rates = coverage(CURVES["flat"], plain, sims=60)
    assert rates["best"] < 0.8 and rates["spread"] < 0.1 and rates["near"] < 0.1, rates


def test_a_difference_of_operators_is_paired_and_covered():
    """Two operators answer the same items: the interval of their difference is narrower than either's."""
    rng, covered, widths = np.random.default_rng(5), 0, []
    for _ in range(100):
        both = simulated(rng, [CURVES["gentle"]] * 2 + [CURVES["gentle"] - 0.03] * 2)
        one, other = (Grid(both.observed[k : k + 2], both.draws[k : k + 2], CLUSTERS) for k in (0, 2))
        _, low, high = grids.best(one).less(grids.best(other))
        covered += low <= 0.03 <= high
        widths.append(high - low)
    assert covered >= 91
    alone = grids.best(one).estimate()
    assert np.mean(widths) < 2 * (alone.high - alone.low)


def test_best_spread_and_near_by_hand():
    """Two combinations of three cells and no noise: the measures are what they are, with no interval."""
    observed = np.array([[0.5, 0.495, 0.3], [0.2, 0.6, 0.1]])
    grid = Grid(observed, np.repeat(observed[..., None], 50, axis=-1), 100)
    assert tuple(grids.best(grid).estimate()) == pytest.approx((0.55, 0.55, 0.55))
    assert tuple(grids.spread(grid).estimate()) == pytest.approx((0.35, 0.35, 0.35))
    assert tuple(grids.near(grid)) == pytest.approx((0.5, 0.5, 0.5))
    other = Grid(observed - 0.1, np.repeat(observed[..., None] - 0.1, 50, axis=-1), 100)
    assert tuple(grids.best(grid).less(grids.best(other))) == pytest.approx((0.1, 0.1, 0.1))
    assert tuple(grids.difference_of_grids(grids.near(grid), grids.near(other))) == pytest.approx((0, 0, 0))


def test_a_grid_of_one_cell_has_no_spread():
    grid = Grid(np.array([[0.4]]), np.array([[[0.3, 0.4, 0.5] * 100]]), 100)
    assert tuple(grids.near(grid)) == (1, 1, 1) and tuple(grids.spread(grid).estimate()) == (0, 0, 0)
    assert tuple(grids.best(grid).estimate()) == pytest.approx((0.4, 0.3, 0.5))
