"""p of a contrast of scores by flipping the signs of whole clusters.

If merged and constituents are equally good, a cluster's contribution to the difference is as likely to be +v
as -v. The p-value is the share of sign patterns whose sum is at least the observed one:

    p = (1 + #{b: sum_c g_bc v_c >= sum_c v_c}) / (1 + B),   g_bc = +1 or -1 with probability 1/2

Fisher (1935), The Design of Experiments, section 21; the 1 + of Phipson and Smyth (2010), SAGMB 9(1):39.
Exact where contributions are symmetric about 0; where they only have mean 0 it is the wild cluster bootstrap
with Rademacher weights and the null imposed (Cameron, Gelbach and Miller 2008, REStat 90:414), right from
many clusters on. Signs leave sum v^2 as it is, so studentising would change nothing. Contributions come from
`influence.contributions`; the smallest p is 1 / (1 + B).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mergekit_finance.statistics.contrasts import gain_weights
from mergekit_finance.statistics.data import TaskScores
from mergekit_finance.statistics.influence import contributions

FLIPS = 9999
BLOCK = 1 << 21  # signs at a time


def p_greater(differences: np.ndarray | Sequence[np.ndarray], flips: int = FLIPS, seed: int = 0) -> float:
    """One-sided p of "the sum of the clusters' differences is above 0" (one array, or one a stratum)."""
    values = _flat(differences)
    return _share(_flipped(values, flips, seed), values.sum(), np.abs(values).sum())


def p_two_sided(differences: np.ndarray | Sequence[np.ndarray], flips: int = FLIPS, seed: int = 0) -> float:
    """p of "the sum of the clusters' differences is not 0"."""
    values = _flat(differences)
    return _share(np.abs(_flipped(values, flips, seed)), abs(values.sum()), np.abs(values).sum())


def p_gain(
    tasks: Sequence[TaskScores], merged: str, parents: Sequence[str], flips: int = FLIPS, seed: int = 0
) -> float:
    """One-sided p of Gain > 0 on one task, or of Macro-Gain > 0 over several."""
    return p_greater(contributions(tasks, gain_weights(merged, parents)), flips, seed)


def _flat(differences: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """The contributions that are not 0: the sign of nothing is nothing."""
    parts = [differences] if isinstance(differences, np.ndarray) else list(differences)
    values = np.concatenate([np.zeros(0), *(np.ravel(part) for part in parts)])
    return values[values != 0]


def _flipped(values: np.ndarray, flips: int, seed: int) -> np.ndarray:
    """(flips,) sums under random signs; rows are drawn a byte for eight signs."""
    rng = np.random.default_rng(seed)
    wide, step = -(-len(values) // 8), max(1, BLOCK // max(len(values), 1))
    sums = []
    for start in range(0, flips, step):
        raw = rng.integers(256, size=(min(step, flips - start), wide), dtype=np.uint8)
        up = np.unpackbits(raw, axis=1, count=len(values)).astype(float)
        sums.append(2 * (up @ values) - values.sum())
    return np.concatenate(sums)


def _share(sums: np.ndarray, observed: float, size: float) -> float:
    """Share of sums that reach the observed one; equal but for rounding counts as reaching it."""
    return float((1 + (sums >= observed - 1e-12 * size).sum()) / (1 + len(sums)))
