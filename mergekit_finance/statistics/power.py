"""Minimum detectable effect, minimum number of clusters, expected interval width.

Units are those of scores (0.01 is a point). Errors are standard errors of a paired contrast from
`influence.standard_error`, which account for clusters and pairing.
"""

from __future__ import annotations

import numpy as np

from mergekit_finance.statistics.intervals import LEVEL

MIN_CLUSTERS = 100  # with fewer, numbers are shown without a verdict
ALPHA = 0.05
POWER = 0.8


def enough(clusters: int) -> bool:
    """Return whether these are enough clusters for a verdict."""
    return clusters >= MIN_CLUSTERS


def minimum_detectable_effect(error: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the true difference that a two-sided test at `alpha` detects with probability `power`.

        MDE = (z_{1-alpha/2} + z_{power}) SE        2.80 SE by default

    Bloom (1995), Evaluation Review 19:547; for paired, clustered benchmark scores Miller (2024),
    arXiv 2411.00640, on power analysis. SE is the paired cluster standard error of the contrast.
    """
    # Imported here to keep --help fast.
    from scipy.special import ndtri

    return float((ndtri(1 - alpha / 2) + ndtri(power)) * error)


def expected_half_width(error: float, clusters: int, sample: int, level: float = LEVEL) -> float:
    """Return the expected half width of an interval if only `sample` of `clusters` clusters are evaluated.

    t_{sample-1} SE sqrt(clusters / sample): the sample is random, so the variance is proportional to 1 / n.
    """
    from scipy.special import stdtrit

    if sample < 2:
        return float("inf")
    return float(stdtrit(sample - 1, (1 + level) / 2) * error * np.sqrt(clusters / sample))


def planning_error(clusters: int, discordant: float = 0.3) -> float:
    """Return the standard error to expect for a paired difference in accuracy: sqrt(discordant / n).

    `discordant` is the share of items that exactly one of the two models answers right. The formula assumes
    clusters of one item and no true difference, for which the variance is largest (Connor 1987, Biometrics
    43:207).
    """
    return float(np.sqrt(discordant / clusters))
