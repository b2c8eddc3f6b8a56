"""Percentile intervals corrected for the number of clusters, and the Monte Carlo error of their ends.

The plain percentile interval of a mean of n is too narrow by sqrt((n - 1) / n) and by the step from t to the
normal. Hesterberg (2015), The American Statistician 69(4):371 ("expanded percentile") widens it by taking the
quantiles at tail area

    a' = Phi(sqrt(n / (n - 1)) t_{a, n - 1})        (2.3 % for a = 2.5 % and n = 100)

In our simulations coverage is nominal from 100 clusters on. A sum over independent strata has no single n:
Welch and Satterthwaite's degrees of freedom replace n - 1. If two models answer every item alike, the
interval of their difference is [0, 0], which does not mean that they would agree on other items.

An end of the interval is a quantile of B random replicates, so another seed gives another end. The number of
replicates below the exact quantile (B infinite) at area a is binomial (B, a), whatever their distribution.
So the exact quantile lies between the order statistics at the areas

    a -+ MONTE_CARLO_FACTOR sqrt(a (1 - a) / B)

with a probability of 99.994 % for a factor of 4 (David and Nagaraja 2003, Order Statistics, section 7.1). The
ends of two seeds differ with sqrt(2) times the standard error of one, so an end that is 4 standard errors
from 0 has the other sign under another seed in fewer than 3 of 1000 cases (Phi(-4 / sqrt(2)) = 0.23 %).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
MONTE_CARLO_FACTOR = 4.0  # standard errors
Range = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval, in score units (0.01 is a point); the ends are nan for one cluster.

    Attributes:
        value, low, high: the estimate and the ends of its interval; unpacking gives these three.
        low_range, high_range: ranges in which the ends may lie under other seeds; None if not computed.
    """

    value: float
    low: float
    high: float
    low_range: Range | None = None
    high_range: Range | None = None

    def __iter__(self) -> Iterator[float]:
        return iter((self.value, self.low, self.high))


def tail_area(level: float, freedom: float) -> float:
    """Return the area to cut off on each side for `level`, from degrees of freedom (clusters - 1)."""
    # Imported here to keep --help fast: scipy takes 0.3 s to load.
    from scipy.special import ndtr, stdtrit

    if freedom <= 0:
        return float("nan")
    return float(ndtr(stdtrit(freedom, (1 - level) / 2) * np.sqrt((freedom + 1) / freedom)))


def freedom(parts: np.ndarray, clusters: Sequence[int]) -> float:
    """Return Welch and Satterthwaite's degrees of freedom.

    (sum v_s)^2 / sum v_s^2 / (n_s - 1), with v_s the variance of part s.

    Args:
        parts: (S, B) replicates of each stratum's share of a sum.
        clusters: n_s, clusters of each stratum.
    """
    variances, degrees = parts.var(axis=1), np.asarray(clusters, dtype=float) - 1
    if degrees.min() <= 0 or not variances.any():
        return float(degrees.min())
    return float(variances.sum() ** 2 / (variances**2 / degrees).sum())


def quantiles(draws: np.ndarray, areas: Sequence[float]) -> np.ndarray:
    """Return quantiles of replicates (..., B), one per area along the first axis; nan if an area is nan."""
    if np.isnan(areas).any():
        return np.full((len(areas), *draws.shape[:-1]), np.nan)
    return np.quantile(draws, areas, axis=-1, method="weibull")


def quantile_with_range(draws: np.ndarray, area: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a quantile of replicates (..., B), and its smallest and largest value under other seeds."""
    value, low, high = quantiles(draws, _areas(area, draws.shape[-1]))
    return value, low, high


def _areas(area: float, draws: int) -> list[float]:
    """Return an area, and the ends of the range in which it may lie under other seeds."""
    error = MONTE_CARLO_FACTOR * np.sqrt(area * (1 - area) / draws)
    return [area, *np.clip([area - error, area + error], 0.0, 1.0)]


def percentile_interval(value: float, draws: np.ndarray, low_area: float, high_area: float) -> Estimate:
    """Return `value` with the quantiles of its replicates (B,) at the two areas."""
    areas = [*_areas(low_area, len(draws)), *_areas(high_area, len(draws))]
    low, low_least, low_most, high, high_least, high_most = map(float, quantiles(draws, areas))
    return Estimate(value, low, high, (low_least, low_most), (high_least, high_most))


def least(estimates: Sequence[Estimate], highs: Sequence[Estimate]) -> Estimate:
    """Return the interval of a minimum: least value and low end in `estimates`, least high end in `highs`."""
    return Estimate(
        min(e.value for e in estimates),
        min(e.low for e in estimates),
        min(e.high for e in highs),
        _least_range([e.low_range for e in estimates]),
        _least_range([e.high_range for e in highs]),
    )


def _least_range(ranges: Sequence[Range | None]) -> Range | None:
    complete = [r for r in ranges if r is not None]
    if len(complete) < len(ranges):
        return None
    return min(r[0] for r in complete), min(r[1] for r in complete)
