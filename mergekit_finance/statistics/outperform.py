"""Gain and Outperform Gap (OG) with their intervals, per task and over tasks.

With s_t(m) the score of model m in task t, merged model M and its constituents p = 1..k:

    Gain_t = s_t(M) - mean_p s_t(p)           OG_t = s_t(M) - max_p s_t(p) = min_p D_tp
    D_tp   = s_t(M) - s_t(p)                  Macro-X = mean_t X_t, weighted by the tasks' weights

(arXiv 2511.02451, captions of Figures 2 and 5). Gain is a contrast of scores: its interval is the percentile
interval of its paired bootstrap replicates. OG is a minimum, and the bootstrap of a minimum is not valid
where constituents tie (Andrews 2000, Econometrica 68:399): the resampled minimum lies below the observed one,
which lies below the true one. Therefore only the D_tp are bootstrapped, not OG or Macro-OG.

OG of one task. P(L_p > D_p) <= a/2 for the lower bounds L_p. The minimum lies at some constituent q, and
min_p L_p <= L_q, hence P(min_p L_p > OG) <= a/2 (intersection-union; Berger 1982, Technometrics 24:295).
The upper bounds U_p are taken at a/2k: OG exceeds min_p U_p only if D_p exceeds U_p for some p, hence
P(min_p U_p < OG) <= a/2 (Bonferroni). Coverage is at least 95 %. In simulations it is 96 % if one
constituent is clearly best, 97 to 98 % if constituents tie, and up to 98.5 % if three are half a standard
error apart.

Macro-OG. With e_tp the error of the estimate of D_tp, and min D the observed minima, for every t

    min_p D_tp(true) + min_p e_tp  <=  min_p D_tp(observed)  <=  min_p D_tp(true) + e_tq,

q being the truly best constituent. Averaged over tasks, the true value therefore exceeds the observed mean by
at most the largest errors of the near-best constituents, and falls below it by at most the errors of one
constituent per task:

    upper = mean_t min_p D_tp + quantile_{1-a/2} of mean_t max_{p in N_t} e*_tp
    lower = mean_t min_p D_tp + quantile_{a/2}   of mean_t e*_tw(t)

with e* the centered replicates, N_t the constituents whose observed D_tp is within sqrt(log n) standard
errors of the smallest, w(t) the one in N_t of the largest error. Choosing N_t corresponds to selecting
contact sets in inference on intersection bounds: Chernozhukov, Lee and Rosen (2013), Econometrica 81:667;
Andrews and Soares (2010), Econometrica 78:119. If constituents are clearly apart, N_t has one member and the
interval is that of a contrast (coverage 95 %). If they tie in every task, the lower end never misses and the
upper end misses in 2.5 % of cases (97.5 %). If they nearly tie in every task, the upper end allows for more
bias than there is, and no estimate of the bias is uniformly right: coverage is 98 to 99 % over 6 to 9 tasks.
Over 18 tasks, with constituents half a standard error apart, it is 99 % for two constituents and 99.9 % for
three.

Alternatives are worse: Bonferroni over the k^T contrasts of fixed choices is always wider (6.4 standard
errors for 18 tasks and 3 constituents); resampling the minimum itself covers 55 % over 4 tasks with 3 tied
constituents. Macro-OG over one task is that task's OG.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.contrasts import by_stratum, contrast, difference, gain_weights
from mergekit_finance.statistics.intervals import (
    LEVEL,
    Estimate,
    freedom,
    least,
    percentile_interval,
    tail_area,
)


def point_gain(merged: float, constituents: Sequence[float]) -> float:
    """Return Gain of one task without an interval: the merged score minus the mean of the constituents'."""
    return merged - fmean(constituents)


def point_gap(merged: float, constituents: Sequence[float]) -> float:
    """Return OG of one task without an interval: the merged score minus the best constituent's."""
    return merged - max(constituents)


def gain(
    replicates: Replicates,
    tasks: Sequence[str],
    merged: str,
    constituents: Sequence[str],
    level: float = LEVEL,
) -> Estimate:
    """Return Macro-Gain over `tasks`; for a single task, its Gain."""
    return contrast(replicates, tasks, gain_weights(merged, constituents), level)


def outperform_gap(
    replicates: Replicates,
    tasks: Sequence[str],
    merged: str,
    constituents: Sequence[str],
    level: float = LEVEL,
) -> Estimate:
    """Return Macro-OG over `tasks`, against the best constituent per task; for a single task, its OG."""
    if len(tasks) == 1:
        return _task_gap(replicates, tasks[0], merged, constituents, level)
    return _macro_gap(replicates, tasks, merged, constituents, level)


def over_best(
    replicates: Replicates,
    tasks: Sequence[str],
    merged: str,
    constituents: Sequence[str],
    level: float = LEVEL,
) -> Estimate:
    """Return the merged model's macro score minus the best constituent's; it is at least Macro-OG."""
    joint = 1 - (1 - level) / len(constituents)
    return least(
        [difference(replicates, tasks, merged, name, level) for name in constituents],
        [difference(replicates, tasks, merged, name, joint) for name in constituents],
    )


def _differences(
    replicates: Replicates, task: str, merged: str, constituents: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the merged score minus each constituent's: observed (k,) and replicates (k, B)."""
    scores, draws = replicates.observed[task], replicates.scores[task]
    observed = np.array([scores[merged] - scores[name] for name in constituents])
    return observed, np.stack([draws[merged] - draws[name] for name in constituents])


def _task_gap(
    replicates: Replicates, task: str, merged: str, constituents: Sequence[str], level: float
) -> Estimate:
    observed, draws = _differences(replicates, task, merged, constituents)
    degrees = replicates.clusters[task] - 1
    low_area = tail_area(level, degrees)
    high_area = 1 - tail_area(1 - (1 - level) / len(constituents), degrees)
    pairs = [
        percentile_interval(float(value), row, low_area, high_area)
        for value, row in zip(observed, draws, strict=True)
    ]
    return least(pairs, pairs)


def _macro_gap(
    replicates: Replicates, tasks: Sequence[str], merged: str, constituents: Sequence[str], level: float
) -> Estimate:
    pairs = [_differences(replicates, task, merged, constituents) for task in tasks]
    value = float(np.average([observed.min() for observed, _ in pairs], weights=replicates.weights(tasks)))
    errors = [
        _errors_of_near_best(observed, draws, replicates.clusters[task])
        for (observed, draws), task in zip(pairs, tasks, strict=True)
    ]
    widest, clusters = by_stratum(replicates, tasks, np.stack([e[np.argmax(e.var(axis=1))] for e in errors]))
    largest, _ = by_stratum(replicates, tasks, np.stack([e.max(axis=0) for e in errors]))
    tail = tail_area(level, freedom(widest, clusters))
    low = percentile_interval(value, value + widest.sum(0), tail, 1 - tail)
    high = percentile_interval(value, value + largest.sum(0), tail, 1 - tail)
    return Estimate(value, low.low, high.high, low.low_range, high.high_range)


def _errors_of_near_best(observed: np.ndarray, draws: np.ndarray, clusters: int) -> np.ndarray:
    """Return centered replicates (near, B) of the constituents that may be the best."""
    best = int(np.argmin(observed))
    gap_error = (draws - draws[best]).std(axis=1)
    is_near = observed - observed[best] <= np.sqrt(np.log(max(clusters, 2))) * gap_error
    centered: np.ndarray = (draws - observed[:, None])[is_near]
    return centered
