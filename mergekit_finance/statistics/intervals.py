"""Percentile intervals that allow for the number of clusters.

The plain percentile interval of a mean of n is too narrow by sqrt((n - 1) / n) and by the step from t to the
normal. Hesterberg (2015), The American Statistician 69(4):371 ("expanded percentile") widens it by taking the
quantiles at tail area

    a' = Phi(sqrt(n / (n - 1)) t_{a, n - 1})        (2.3 % for a = 2.5 % and n = 100)

which is all that our simulations ask for: from 100 clusters on it covers what it should.
A sum over independent strata has no single n: Welch and Satterthwaite's degrees of freedom stand in for
n - 1. Where two models answer every item alike the interval is [0, 0]; it knows nothing of other items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Estimate(NamedTuple):
    """A number with its interval, in score units (0.01 is a point); nan where one cluster is all there is."""

    value: float
    low: float
    high: float


def tail_area(level: float, freedom: float) -> float:
    """The area to cut off on each side for `level`, from degrees of freedom (clusters - 1)."""
    from scipy.special import ndtr, stdtrit

    if freedom <= 0:
        return float("nan")
    return float(ndtr(stdtrit(freedom, (1 - level) / 2) * np.sqrt((freedom + 1) / freedom)))


def freedom(parts: np.ndarray, clusters: Sequence[int]) -> float:
    """Welch-Satterthwaite: (sum v_s)^2 / sum v_s^2 / (n_s - 1), v_s the variance of part s (S, B)."""
    variances, spare = parts.var(axis=1), np.asarray(clusters, dtype=float) - 1
    if spare.min() <= 0 or not variances.any():
        return float(spare.min())
    return float(variances.sum() ** 2 / (variances**2 / spare).sum())


def quantiles(draws: np.ndarray, areas: Sequence[float]) -> np.ndarray:
    """Quantiles of replicates (..., B), first axis one per area; nan for an area that is nan."""
    if np.isnan(areas).any():
        return np.full((len(areas), *draws.shape[:-1]), np.nan)
    return np.quantile(draws, areas, axis=-1, method="weibull")
