"""Contributions of clusters to a contrast of scores, and the standard error computed from them.

The contribution of cluster c to a score is its jackknife pseudo-value divided by C:

    v_c = (C s - (C - 1) s_(-c)) / C        s_(-c): the score without cluster c

For a mean over equally large clusters v_c is the cluster's share of it. The contributions add up to the
score (for F1, to its bias-corrected form), so the contributions to a difference can be treated like
differences of matched pairs, for any aggregation and any cluster sizes. Efron and Tibshirani (1993), An
Introduction to the Bootstrap, chapter 11; by cluster: MacKinnon, Nielsen and Webb (2023), Journal of
Econometrics 232:272.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mergekit_finance.statistics.scores import TaskScores


def contributions(tasks: Sequence[TaskScores], weights: Mapping[str, float]) -> list[np.ndarray]:
    """Return the contributions of clusters to mean_t sum_m w_m s_t(m), one array per stratum.

    The mean over tasks is weighted by their `weight`. Together the contributions add up to that mean. Tasks
    that share clusters are one stratum: their contributions are added cluster by cluster. Clusters without
    items of these tasks are left out.
    """
    strata: dict[str, np.ndarray] = {}
    weight_of_all = sum(task.weight for task in tasks)
    for task in tasks:
        share = np.zeros(len(task.names))
        for model, weight in weights.items():
            share += weight * task.pseudo_values(model)
        share *= task.weight / weight_of_all
        strata[task.stratum] = strata[task.stratum] + share if task.stratum in strata else share
    return [values[_present(tasks, stratum)] for stratum, values in strata.items()]


def _present(tasks: Sequence[TaskScores], stratum: str) -> np.ndarray:
    return np.any([task.present for task in tasks if task.stratum == stratum], axis=0)


def count_clusters(tasks: Sequence[TaskScores]) -> int:
    """Return the number of clusters with items of these tasks; clusters that tasks share count once."""
    return sum(int(_present(tasks, stratum).sum()) for stratum in {task.stratum for task in tasks})


def half_width_without_difference(tasks: Sequence[TaskScores]) -> float:
    """Return half the width of the 95 % interval of a difference of scores if no item differs.

    All contributions are 0 then, although the next item might differ. If none of n clusters differs, less
    than 3 / n of all clusters do, with a confidence of 95 %: the rule of three (Hanley and Lippman-Hand,
    1983, JAMA 249:1743).
    """
    return min(1.0, 3 / count_clusters(tasks))


def standard_error(parts: Sequence[np.ndarray]) -> float:
    """Return the standard error of the sum of all contributions.

    sqrt(sum_s C/(C-1) sum_c (v_c - mean v)^2)
    """
    spread = [len(part) / max(len(part) - 1, 1) * ((part - part.mean()) ** 2).sum() for part in parts]
    return float(np.sqrt(sum(spread)))
