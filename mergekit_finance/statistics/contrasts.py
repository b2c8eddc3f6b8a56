"""Contrasts: weighted sums of models' scores, averaged over tasks, with their intervals.

    mean_t sum_m w_m s_t(m)

A score is one (w = 1), a paired difference another (1, -1), Gain a third (1, -1/k, ... -1/k). All are smooth
in the scores, so the percentile interval of the paired replicates serves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.intervals import LEVEL, Estimate, freedom, quantiles, tail_area

Weights = Mapping[str, float]  # model -> its weight in a contrast


def contrast(found: Replicates, tasks: Sequence[str], weights: Weights, level: float = LEVEL) -> Estimate:
    """mean_t sum_m w_m s_t(m), with its percentile interval: any score, difference or Gain."""
    value = float(np.mean([sum(w * found.observed[t][m] for m, w in weights.items()) for t in tasks]))
    draws = np.stack([sum(w * found.scores[t][m] for m, w in weights.items()) for t in tasks])
    parts, clusters = by_stratum(found, tasks, draws)
    tail = tail_area(level, freedom(parts, clusters))
    low, high = quantiles(parts.sum(0), [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def score(found: Replicates, tasks: Sequence[str], model: str, level: float = LEVEL) -> Estimate:
    """A model's mean score over tasks."""
    return contrast(found, tasks, {model: 1.0}, level)


def difference(
    found: Replicates, tasks: Sequence[str], model: str, other: str, level: float = LEVEL
) -> Estimate:
    """A model's mean score over tasks less another's, paired."""
    return contrast(found, tasks, difference_weights(model, other), level)


def difference_weights(model: str, other: str) -> dict[str, float]:
    """Weights of s(model) - s(other)."""
    return added([(model, 1.0), (other, -1.0)])


def gain_weights(merged: str, parents: Sequence[str]) -> dict[str, float]:
    """Weights of Gain: 1 for the merged model, -1/k for each parent."""
    return added([(merged, 1.0), *((parent, -1.0 / len(parents)) for parent in parents)])


def added(terms: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Weights by model; a model that is met twice (a point that is its own parent) has their sum."""
    weights: dict[str, float] = {}
    for model, weight in terms:
        weights[model] = weights.get(model, 0.0) + weight
    return weights


def by_stratum(found: Replicates, tasks: Sequence[str], draws: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Tasks' replicates (T, B) -> each stratum's share of their mean (S, B), and the clusters of its largest
    task."""
    strata = list(dict.fromkeys(found.strata[task] for task in tasks))
    place = np.array([strata.index(found.strata[task]) for task in tasks])
    parts = np.stack([draws[place == k].sum(0) for k in range(len(strata))]) / len(tasks)
    counts = np.array([found.clusters[task] for task in tasks])
    return parts, [int(counts[place == k].max()) for k in range(len(strata))]
