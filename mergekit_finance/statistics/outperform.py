"""Gain and Outperform Gap (OG) with their intervals, per task and over tasks.

With s_t(m) the score of model m in task t, merged model M and its constituents ("parents") p = 1..k:

    Gain_t = s_t(M) - mean_p s_t(p)           OG_t = s_t(M) - max_p s_t(p) = min_p D_tp
    D_tp   = s_t(M) - s_t(p)                  Macro-X = mean_t X_t

(arXiv 2511.02451, captions of Figures 2 and 5). Gain is a contrast of scores: its interval is the percentile
interval of its paired bootstrap replicates. OG is a minimum, which no bootstrap gets right where parents tie
(Andrews 2000, Econometrica 68:399): the resampled minimum is below the observed one, which is itself below
the true one. So neither OG nor Macro-OG is bootstrapped; only the D_tp are.

OG of one task. P(L_p > D_p) <= a/2 for the lower bounds L_p. The minimum lies at some parent q, and
min_p L_p <= L_q, hence P(min_p L_p > OG) <= a/2 (intersection-union; Berger 1982, Technometrics 24:295).
The upper bounds U_p are taken at a/2k: OG exceeds min_p U_p only if D_p exceeds U_p for some p, hence
P(min_p U_p < OG) <= a/2 (Bonferroni). Coverage is at least 95 %; simulated, 96 % where one parent is clearly
best, 97 to 98 % where parents tie, and up to 98.5 % where three are half a standard error apart.

Macro-OG. With e_tp the error of the estimate of D_tp, and min D the observed minima, for every t

    min_p D_tp(true) + min_p e_tp  <=  min_p D_tp(observed)  <=  min_p D_tp(true) + e_tq,

q being the truly best parent. So, summed over tasks, the truth is not above the observed mean by more than
the largest errors of the near-best parents, nor below by more than the errors of one parent per task:

    upper = mean_t min_p D_tp + quantile_{1-a/2} of mean_t max_{p in N_t} e*_tp
    lower = mean_t min_p D_tp + quantile_{a/2}   of mean_t e*_tw(t)

with e* the centred replicates, N_t the parents whose observed D_tp is within sqrt(log n) standard errors of
the smallest, w(t) the parent in N_t of the largest error. N_t is the selection of contact sets in inference
on intersection bounds: Chernozhukov, Lee and Rosen (2013), Econometrica 81:667; Andrews and Soares (2010),
Econometrica 78:119. Where parents are clearly apart N_t is one parent, and the interval is that of a
contrast, 95 %; where they tie in every task the lower end never misses and the upper end misses 2.5 %:
97.5 %. Where parents are nearly tied in every task the upper end allows for more bias than there is, and no
estimate of the bias would be uniformly right: 98 to 99 % over 6 to 9 tasks, and over 18 tasks 99 % with two
parents, 99.9 % with three, half a standard error apart. Bonferroni over fixed parents, k^T contrasts, would
be wider throughout (6.4 standard errors for 18 tasks and 3 parents); resampling the minimum itself covers
55 % over 4 tasks with 3 tied parents. Macro-OG over one task is that task's OG.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.contrasts import by_stratum, contrast, difference, gain_weights
from mergekit_finance.statistics.intervals import LEVEL, Estimate, freedom, quantiles, tail_area


def gain(
    found: Replicates, tasks: Sequence[str], merged: str, parents: Sequence[str], level: float = LEVEL
) -> Estimate:
    """Macro-Gain over `tasks`; the task's Gain where there is one."""
    return contrast(found, tasks, gain_weights(merged, parents), level)


def outperform_gap(
    found: Replicates, tasks: Sequence[str], merged: str, parents: Sequence[str], level: float = LEVEL
) -> Estimate:
    """Macro-OG over `tasks`; the task's OG where there is one."""
    if len(tasks) == 1:
        return _task_gap(found, tasks[0], merged, parents, level)
    return _macro_gap(found, tasks, merged, parents, level)


def over_best(
    found: Replicates, tasks: Sequence[str], merged: str, parents: Sequence[str], level: float = LEVEL
) -> Estimate:
    """Macro of the merged model less that of the best constituent: never below Macro-OG."""
    own = [difference(found, tasks, merged, parent, level) for parent in parents]
    joint = 1 - (1 - level) / len(parents)
    highs = [difference(found, tasks, merged, parent, joint).high for parent in parents]
    return Estimate(min(e.value for e in own), min(e.low for e in own), min(highs))


def per_task(
    found: Replicates, tasks: Iterable[str], merged: str, parents: Sequence[str], level: float = LEVEL
) -> dict[str, dict[str, Estimate]]:
    """Task -> {"gain", "og"}."""
    return {
        task: {
            "gain": gain(found, [task], merged, parents, level),
            "og": outperform_gap(found, [task], merged, parents, level),
        }
        for task in tasks
    }


def _differences(
    found: Replicates, task: str, merged: str, parents: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Merged less each parent: observed (k,) and replicates (k, B)."""
    seen, draws = found.observed[task], found.scores[task]
    observed = np.array([seen[merged] - seen[parent] for parent in parents])
    return observed, np.stack([draws[merged] - draws[parent] for parent in parents])


def _task_gap(found: Replicates, task: str, merged: str, parents: Sequence[str], level: float) -> Estimate:
    observed, draws = _differences(found, task, merged, parents)
    spare = found.clusters[task] - 1
    lows = quantiles(draws, [tail_area(level, spare)])
    highs = quantiles(draws, [1 - tail_area(1 - (1 - level) / len(parents), spare)])
    return Estimate(float(observed.min()), float(lows.min()), float(highs.min()))


def _macro_gap(
    found: Replicates, tasks: Sequence[str], merged: str, parents: Sequence[str], level: float
) -> Estimate:
    pairs = [_differences(found, task, merged, parents) for task in tasks]
    value = float(np.mean([observed.min() for observed, _ in pairs]))
    errors = [
        _near_errors(seen, draws, found.clusters[t]) for (seen, draws), t in zip(pairs, tasks, strict=True)
    ]
    widest, clusters = by_stratum(found, tasks, np.stack([e[np.argmax(e.var(axis=1))] for e in errors]))
    largest, _ = by_stratum(found, tasks, np.stack([e.max(axis=0) for e in errors]))
    tail = tail_area(level, freedom(widest, clusters))
    (low,), (high,) = quantiles(widest.sum(0)[None], [tail]), quantiles(largest.sum(0)[None], [1 - tail])
    return Estimate(value, value + float(low[0]), value + float(high[0]))


def _near_errors(observed: np.ndarray, draws: np.ndarray, clusters: int) -> np.ndarray:
    """Centred replicates (near, B) of the parents that may be the best one."""
    best = int(np.argmin(observed))
    apart = (draws - draws[best]).std(axis=1)
    near = observed - observed[best] <= np.sqrt(np.log(max(clusters, 2))) * apart
    return (draws - observed[:, None])[near]
