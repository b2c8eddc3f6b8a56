"""p-value of OG > 0: whether the merged model answers more items right than every constituent.

H0: some constituent is at least as good; H1: the merged model is better than all. H0 is rejected if it
is rejected for each constituent separately, so p is the largest of the one-sided p-values and needs no
correction (intersection-union; Berger 1982, Technometrics 24:295). The test counts right answers. For tasks
whose score is F1 rather than accuracy, it therefore tests a slightly different hypothesis than the interval
of OG.

Against one constituent, with d_c = (items only the merged model gets right) - (items only the other does) in
cluster c, the null distribution of D = sum_c d_c has independent random signs on the d_c:

* clusters of one item: D > 0 is the exact McNemar test, binomial with b successes of b + c (McNemar 1947,
  Psychometrika 12:153);
* larger clusters: the same test, flipping the signs of whole clusters. Then D has variance sum_c d_c^2, and
  D^2 / sum_c d_c^2 is the clustered McNemar statistic of Yang, Sun and Hardin (2010), Biometrical Journal
  52:638 (the test of Obuchowski 1998, Statistics in Medicine 17:1495, with the variance under H0). The exact
  distribution is used instead of the chi-square: the d_c are whole numbers, so it is a product of
  polynomials.

Flipping a cluster assumes that under H0 the two models are exchangeable within it; if they are only
equally good on average, the test is valid for large numbers of clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from mergekit_finance.statistics.scores import TaskScores


def p_outperform(task: TaskScores, merged: str, constituents: Sequence[str]) -> float:
    """Return the p-value of OG > 0 on one task: the largest one-sided p-value over the constituents."""
    return max(p_better(task, merged, name) for name in constituents)


def p_better(task: TaskScores, model: str, other: str) -> float:
    """Return the one-sided p-value of "model answers more items right than other"."""
    wins = task.by_cluster(task.correct[model].astype(float) - task.correct[other].astype(float))
    d = np.rint(wins).astype(int)
    return exact_mcnemar(d) if task.count == len(task.clusters) else clustered_mcnemar(d)


def exact_mcnemar(d: np.ndarray) -> float:
    """Return P(X >= b), X binomial with b + c trials, from d in {-1, 0, 1} of clusters of one item."""
    better, worse = int((d > 0).sum()), int((d < 0).sum())
    return _binomial_tail(better, better + worse) if better + worse else 1.0


@cache
def _binomial_tail(successes: int, trials: int) -> float:
    """Return P(X >= successes), X binomial with p = 1/2. It takes 1 ms, and counts repeat across models."""
    # Imported here to keep --help fast.
    from scipy.stats import binomtest

    return float(binomtest(successes, trials, alternative="greater").pvalue)


def clustered_mcnemar(d: np.ndarray) -> float:
    """Return P(sum_c g_c d_c >= sum_c d_c) over independent fair signs g_c, exactly."""
    sizes = np.abs(d[d != 0])
    probabilities = np.ones(1)  # of sum_c [g_c > 0] |d_c| being 0, 1, 2, ...
    for size in sizes:
        extended = np.zeros(len(probabilities) + size)
        extended[: len(probabilities)] += probabilities / 2
        extended[size:] += probabilities / 2
        probabilities = extended
    observed = int(d[d > 0].sum())  # sum_c g_c d_c = 2 (this sum) - sum_c |d_c|
    return float(min(1.0, probabilities[observed:].sum()))
