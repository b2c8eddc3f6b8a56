"""Minimum detectable effect, the least number of clusters, expected interval width.

Units are those of scores (0.01 is a point); errors are standard errors of a paired contrast, as
`influence.standard_error` gives them, so clusters and pairing are already in them.
"""

from __future__ import annotations

import numpy as np

from mergekit_finance.statistics.intervals import LEVEL

MIN_CLUSTERS = 100  # below it numbers are shown, but no verdict
ALPHA = 0.05
POWER = 0.8


def enough(clusters: int) -> bool:
    """Return whether these are enough clusters for a verdict."""
    return clusters >= MIN_CLUSTERS


def minimum_detectable_effect(error: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the true difference that a two-sided test at `alpha` finds with probability `power`.

        MDE = (z_{1-alpha/2} + z_{power}) SE        2.80 SE by default

    Bloom (1995), Evaluation Review 19:547; for paired, clustered benchmark scores Miller (2024),
    arXiv 2411.00640, on power analysis. SE is the paired cluster standard error of the contrast.
    """
    # Imported here: see the note in intervals.py.
    from scipy.special import ndtri

    return float((ndtri(1 - alpha / 2) + ndtri(power)) * error)


def expected_half_width(error: float, clusters: int, kept: int, level: float = LEVEL) -> float:
    """Return half the width of the interval to expect when `kept` clusters stand in for `clusters`.

    t_{kept-1} SE sqrt(clusters / kept): clusters are a random sample, so the variance goes as 1 / n.
    """
    from scipy.special import stdtrit

    if kept < 2:
        return float("inf")
    return float(stdtrit(kept - 1, (1 + level) / 2) * error * np.sqrt(clusters / kept))


def planning_error(clusters: int, discordant: float = 0.3) -> float:
    """Return the standard error of a paired difference in accuracy before a run: sqrt(discordant / n).

    `discordant` is the share of items that one model gets right and the other does not; no difference is
    assumed, which is the largest variance (Connor 1987, Biometrics 43:207), and clusters of one item.
    """
    return float(np.sqrt(discordant / clusters))
