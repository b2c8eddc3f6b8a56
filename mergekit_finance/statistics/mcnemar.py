"""p of OG > 0: does the merged model answer more items right than every constituent?

H0: some constituent is at least as good; H1: the merged model beats all. The test rejects where it rejects
against each constituent, so p is the largest of the one-sided p, and no correction is due
(intersection-union; Berger 1982, Technometrics 24:295). It is about `correct`, which is a task's score only
where that is accuracy: for F1 tasks p and the interval of OG answer slightly different questions.

Against one constituent, with d_c = (items only the merged model gets right) - (items only the other does) in
cluster c, the null distribution of D = sum_c d_c has independent random signs on the d_c:

* clusters of one item: D > 0 is the exact McNemar test, binomial with b successes of b + c (McNemar 1947,
  Psychometrika 12:153);
* larger clusters: the same with whole clusters flipped. Then D has variance sum_c d_c^2, and
  D^2 / sum_c d_c^2 is the clustered McNemar statistic of Yang, Sun and Hardin (2010), Biometrical Journal
  52:638 (the test of Obuchowski 1998, Statistics in Medicine 17:1495, with the variance under H0). The exact
  distribution is used instead of the chi-square: the d_c are whole numbers, so it is a product of
  polynomials.

Flipping a cluster assumes that under H0 the two models are exchangeable within it; where they are merely
equally good on average it is asymptotic in the number of clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mergekit_finance.statistics.scores import TaskScores


def p_outperform(task: TaskScores, merged: str, constituents: Sequence[str]) -> float:
    """Return p of OG > 0 on one task: the largest one-sided p over the constituents."""
    return max(p_better(task, merged, name) for name in constituents)


def p_better(task: TaskScores, model: str, other: str) -> float:
    """Return the one-sided p of "model answers more items right than other"."""
    wins = task.by_cluster(task.correct[model].astype(float) - task.correct[other].astype(float))
    d = np.rint(wins).astype(int)
    return exact_mcnemar(d) if task.count == len(task.clusters) else clustered_mcnemar(d)


def exact_mcnemar(d: np.ndarray) -> float:
    """Return P(X >= b), X binomial with b + c trials, from d in {-1, 0, 1} of clusters of one item."""
    # Imported here: see the note in intervals.py.
    from scipy.stats import binomtest

    better, worse = int((d > 0).sum()), int((d < 0).sum())
    if better + worse == 0:
        return 1.0
    return float(binomtest(better, better + worse, alternative="greater").pvalue)


def clustered_mcnemar(d: np.ndarray) -> float:
    """Return P(sum_c g_c d_c >= sum_c d_c) over independent fair signs g_c, exactly."""
    sizes = np.abs(d[d != 0])
    chances = np.ones(1)  # of sum_c [g_c > 0] |d_c| being 0, 1, 2, ...
    for size in sizes:
        longer = np.zeros(len(chances) + size)
        longer[: len(chances)] += chances / 2
        longer[size:] += chances / 2
        chances = longer
    reached = int(d[d > 0].sum())  # sum g d = 2 (that sum) - sum |d|
    return float(min(1.0, chances[reached:].sum()))
