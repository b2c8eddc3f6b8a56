"""Spearman's rank correlation with a permutation p-value, for as few as seven combinations.

    rho = Pearson's r of the ranks (ties: mean rank)
    p   = share of the n! orders of y whose |rho| is at least the observed one, two-sided

p uses all orders up to n = 9 (362 880). For larger n it uses random orders: p = (1 + reached) / (1 + drawn).
Spearman (1904), American Journal of Psychology 15:72; Kendall and Gibbons (1990), Rank Correlation Methods.

scipy.stats.spearmanr computes p from the t distribution only. scipy.stats.permutation_test doubles the
smaller tail: it gives another p-value if ranks tie, and the same one without ties (tested).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np

EXACT_UP_TO = 9
DRAWS = 99_999
ROUNDING = 1e-9


class RankCorrelation(NamedTuple):
    """Spearman's rho, its two-sided p-value and the number of orders; nan if x or y is constant or n < 3."""

    rho: float
    p: float
    n: int
    orders: int
    exact: bool


def spearman(x: Sequence[float], y: Sequence[float], draws: int = DRAWS, seed: int = 0) -> RankCorrelation:
    """Return the rank correlation of two equally long sequences.

    Args:
        x, y: one value per combination.
        draws: number of random orders if n > 9.
        seed: seed of the random orders.
    """
    first, second = standardized_ranks(x), standardized_ranks(y)
    n = len(first)
    if n < 3 or np.isnan(first).any() or np.isnan(second).any():
        return RankCorrelation(float("nan"), float("nan"), n, 0, False)
    rho = float(np.clip(first @ second, -1, 1))
    orders, exact = _orders(n, draws, seed)
    reached = int((np.abs(second[orders] @ first) >= abs(rho) - ROUNDING).sum())
    p = reached / len(orders) if exact else (1 + reached) / (1 + len(orders))
    return RankCorrelation(rho, p, n, len(orders), exact)


def critical(n: int, alpha: float = 0.05) -> float:
    """Return the smallest |rho| (no ties) with two-sided p <= alpha: 0.786 for n = 7, 1 for n = 5, nan below.

    Exact up to n = 9. For larger n random orders are used; the result is accurate to about 0.01.
    """
    ranks = standardized_ranks(range(n))
    orders, exact = _orders(n, DRAWS, 0)
    sizes = np.sort(np.round(np.abs(ranks[orders] @ ranks), 9))
    values = np.unique(sizes)
    reached = len(sizes) - np.searchsorted(sizes, values)
    p = reached / len(sizes) if exact else (1 + reached) / (1 + len(sizes))
    return float(values[p <= alpha][0]) if (p <= alpha).any() else float("nan")


def standardized_ranks(values: Sequence[float]) -> np.ndarray:
    """Return mean ranks, centered and of length 1, so that a dot product is a correlation; nan if all tie."""
    # Imported here to keep --help fast.
    from scipy.stats import rankdata

    ranks = rankdata(np.asarray(values, dtype=float))
    centered = ranks - ranks.mean() if len(ranks) else ranks
    length = np.sqrt((centered**2).sum())
    return centered / length if length else np.full(len(ranks), np.nan)


def _orders(n: int, draws: int, seed: int) -> tuple[np.ndarray, bool]:
    """Return (orders, n) indices, and whether these are all orders or random ones."""
    return (_all_orders(n), True) if n <= EXACT_UP_TO else (_random_orders(n, draws, seed), False)


@lru_cache(maxsize=EXACT_UP_TO)
def _all_orders(n: int) -> np.ndarray:
    return np.array(list(permutations(range(n))), dtype=np.intp)


def _random_orders(n: int, draws: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
