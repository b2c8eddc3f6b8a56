"""p-values of a contrast of scores, from random sign flips of whole clusters.

If merged and constituents are equally good, a cluster's contribution to the difference is as likely to be +v
as -v. The p-value is the share of sign patterns whose sum is at least the observed one:

    p = (1 + #{b: sum_c g_bc v_c >= sum_c v_c}) / (1 + B),   g_bc = +1 or -1 with probability 1/2

Fisher (1935), The Design of Experiments, section 21; the added 1: Phipson and Smyth (2010), SAGMB 9(1):39.
The test is exact if contributions are symmetric about 0. If they only have mean 0, it is the wild cluster
bootstrap with Rademacher weights and the null imposed (Cameron, Gelbach and Miller 2008, REStat 90:414),
which is valid for large numbers of clusters. Signs do not change sum v^2, so studentizing would change
nothing. Contributions come from `influence.contributions`; the smallest p is 1 / (1 + B).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mergekit_finance.statistics.intervals import MONTE_CARLO_FACTOR, Range

FLIPS = 9999
BLOCK = 1 << 21  # signs at a time


def p_greater(differences: np.ndarray | Sequence[np.ndarray], flips: int = FLIPS, seed: int = 0) -> float:
    """Return the one-sided p-value of "the sum of the clusters' differences is above 0".

    Args:
        differences: contributions of clusters, one array or one per stratum.
        flips: number of random sign patterns.
        seed: seed of the patterns.
    """
    values = _flat(differences)
    return _p_value(_flipped(values, flips, seed), values.sum(), np.abs(values).sum())


def p_two_sided(differences: np.ndarray | Sequence[np.ndarray], flips: int = FLIPS, seed: int = 0) -> float:
    """Return the two-sided p-value of "the sum of the clusters' differences is not 0"."""
    values = _flat(differences)
    return _p_value(np.abs(_flipped(values, flips, seed)), abs(values.sum()), np.abs(values).sum())


def p_range(p: float, flips: int = FLIPS) -> Range:
    """Return the range in which a sign-flip p-value may lie under other seeds.

    The number of patterns that reach the observed sum is binomial, so p has a Monte-Carlo standard error of
    sqrt(p (1 - p) / flips) (Phipson and Smyth 2010); the range is MONTE_CARLO_FACTOR of them on each side.
    """
    error = MONTE_CARLO_FACTOR * float(np.sqrt(p * (1 - p) / flips))
    return max(0.0, p - error), min(1.0, p + error)


def _flat(differences: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Return the nonzero contributions as one array; a sign does not change the others."""
    parts = [differences] if isinstance(differences, np.ndarray) else list(differences)
    values = np.concatenate([np.zeros(0), *(np.ravel(part) for part in parts)])
    return values[values != 0]


def _flipped(values: np.ndarray, flips: int, seed: int) -> np.ndarray:
    """Return (flips,) sums under random signs; one random byte gives eight signs."""
    rng = np.random.default_rng(seed)
    n_bytes, step = -(-len(values) // 8), max(1, BLOCK // max(len(values), 1))
    sums = []
    for start in range(0, flips, step):
        raw = rng.integers(256, size=(min(step, flips - start), n_bytes), dtype=np.uint8)
        is_plus = np.unpackbits(raw, axis=1, count=len(values)).astype(float)
        sums.append(2 * (is_plus @ values) - values.sum())
    return np.concatenate(sums)


def _p_value(sums: np.ndarray, observed: float, size: float) -> float:
    """Return the share of sums that are at least the observed one, up to rounding."""
    return float((1 + (sums >= observed - 1e-12 * size).sum()) / (1 + len(sums)))
