"""Contrasts: weighted sums of models' scores, averaged over tasks, with their intervals.

    mean_t sum_m w_m s_t(m)

The mean over tasks is weighted by the tasks' weights, which are 1 unless the user gives others. Examples are
a score (w = 1), a paired difference (1, -1) and Gain (1, -1/k, ... -1/k). All are smooth functions of the
scores, so the percentile interval of the paired replicates is valid for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.intervals import LEVEL, Estimate, freedom, percentile_interval, tail_area

ModelWeights = Mapping[str, float]  # model -> its weight in a contrast


def contrast(
    replicates: Replicates, tasks: Sequence[str], weights: ModelWeights, level: float = LEVEL
) -> Estimate:
    """Return mean_t sum_m w_m s_t(m) with its percentile interval: any score, difference or Gain.

    Args:
        replicates: scores of these tasks and models.
        tasks: the tasks that the mean is over.
        weights: w_m by model.
        level: confidence level of the interval.
    """
    observed, scores = replicates.observed, replicates.scores
    by_task = [sum(w * observed[t][m] for m, w in weights.items()) for t in tasks]
    value = float(np.average(by_task, weights=replicates.weights(tasks)))
    draws = np.stack([np.asarray(sum(w * scores[t][m] for m, w in weights.items())) for t in tasks])
    parts, clusters = by_stratum(replicates, tasks, draws)
    tail = tail_area(level, freedom(parts, clusters))
    return percentile_interval(value, parts.sum(0), tail, 1 - tail)


def score(replicates: Replicates, tasks: Sequence[str], model: str, level: float = LEVEL) -> Estimate:
    """Return a model's mean score over tasks."""
    return contrast(replicates, tasks, {model: 1.0}, level)


def difference(
    replicates: Replicates, tasks: Sequence[str], model: str, other: str, level: float = LEVEL
) -> Estimate:
    """Return a model's mean score over tasks minus another model's, paired."""
    return contrast(replicates, tasks, difference_weights(model, other), level)


def difference_weights(model: str, other: str) -> dict[str, float]:
    """Return the weights of s(model) - s(other)."""
    return added([(model, 1.0), (other, -1.0)])


def gain_weights(merged: str, constituents: Sequence[str]) -> dict[str, float]:
    """Return the weights of Gain: 1 for the merged model, -1/k for each of k constituents."""
    return added([(merged, 1.0), *((name, -1.0 / len(constituents)) for name in constituents)])


def added(terms: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return weights by model, added up if a model occurs twice (a point that is its own constituent)."""
    weights: dict[str, float] = {}
    for model, weight in terms:
        weights[model] = weights.get(model, 0.0) + weight
    return weights


def by_stratum(
    replicates: Replicates, tasks: Sequence[str], draws: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Return each stratum's share of the mean over tasks, and the clusters of its largest task.

    Args:
        draws: (T, B) replicates of the tasks.

    Returns:
        (S, B), and S numbers of clusters.
    """
    strata = list(dict.fromkeys(replicates.strata[task] for task in tasks))
    stratum_of_task = np.array([strata.index(replicates.strata[task]) for task in tasks])
    weights = np.array(replicates.weights(tasks))
    weighted = draws * weights[:, None]
    parts = np.stack([weighted[stratum_of_task == k].sum(0) for k in range(len(strata))]) / weights.sum()
    counts = np.array([replicates.clusters[task] for task in tasks])
    return parts, [int(counts[stratum_of_task == k].max()) for k in range(len(strata))]
