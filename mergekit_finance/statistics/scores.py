"""The scores of one task: clusters of items, and each model's statistics and right answers per item."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mergekit_finance.errors import DataError
from mergekit_finance.files import Json
from mergekit_finance.statistics.totals import Aggregation, Negated, Total, sufficient


@dataclass(frozen=True)
class TaskScores:
    """A task's items, the same for every model, and what each model scored on them.

    Tasks that share clusters (a direct task and its chain-of-thought twin, questions of several kinds about
    the same reports) have the same `stratum` once they are `aligned`: their clusters have the same
    numbers, so that resampling draws the same clusters for all. A task may have no items in some clusters.
    """

    task: str
    names: tuple[str, ...]  # sorted cluster ids of the stratum; `clusters` has indices into it
    clusters: np.ndarray  # (n,) int: each item's cluster
    statistics: Mapping[str, np.ndarray]  # model -> (n, s) float64
    totals: Mapping[str, Total]  # model -> function from summed statistics to its score
    correct: Mapping[str, np.ndarray]  # model -> (n,) bool; empty if the task has no `correct`
    weight: float = 1.0  # of the task in means over tasks
    _pseudo_values: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def stratum(self) -> str:
        """A name for the set of clusters: tasks of one stratum are resampled together."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    @cached_property
    def count(self) -> int:
        """The number of clusters with items of this task; all its statistics call it n."""
        return int(self.present.sum())

    @cached_property
    def present(self) -> np.ndarray:
        """Whether each cluster of the stratum has items of this task: (len(names),) bool."""
        return np.bincount(self.clusters, minlength=len(self.names)) > 0

    @property
    def models(self) -> list[str]:
        return list(self.statistics)

    def sums(self, model: str) -> np.ndarray:
        """Return the model's statistics summed within each cluster: (len(names), s)."""
        return self.by_cluster(self.statistics[model])

    def by_cluster(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of items (n, ...) within clusters: (len(names), ...)."""
        out = np.zeros((len(self.names), *values.shape[1:]))
        np.add.at(out, self.clusters, values)
        return out

    def pseudo_values(self, model: str) -> np.ndarray:
        """Return each cluster's contribution to a model's score, shape (len(names),).

        They are computed once per model, and add up to the score. Clusters without items of this task
        contribute 0.
        """
        if model not in self._pseudo_values:
            sums, total = self.sums(model), self.totals[model]
            all_sums = sums.sum(0)
            score_without_cluster = total(all_sums - sums)
            weight = (self.count - 1) / self.count
            values = np.where(self.present, total(all_sums) - weight * score_without_cluster, 0.0)
            values.flags.writeable = False
            self._pseudo_values[model] = values
        return self._pseudo_values[model]

    def score(self, model: str) -> float:
        """Return the task's score of a model on all its items."""
        return float(self.totals[model](self.statistics[model].sum(0)))

    def take(self, rows: np.ndarray) -> TaskScores:
        """Return the task restricted to some of its items; `rows` is a mask or indices."""
        names, clusters = _numbered([self.names[k] for k in self.clusters[rows]])
        return replace(
            self,
            names=names,
            clusters=clusters,
            statistics={model: values[rows] for model, values in self.statistics.items()},
            correct={model: right[rows] for model, right in self.correct.items()},
        )


def aligned(tasks: Mapping[str, TaskScores]) -> dict[str, TaskScores]:
    """Return the same tasks, with those that share a cluster (directly, or through others) in one stratum."""
    groups: list[tuple[set[str], list[str]]] = []  # clusters of a stratum, its tasks
    for name, task in tasks.items():
        shared, members = set(task.names), [name]
        for clusters, others in [g for g in groups if g[0] & shared]:
            groups.remove((clusters, others))
            shared, members = shared | clusters, others + members
        groups.append((shared, members))
    strata = {name: tuple(sorted(clusters)) for clusters, members in groups for name in members}
    return {name: _renumbered(task, strata[name]) for name, task in tasks.items()}


def _renumbered(task: TaskScores, names: tuple[str, ...]) -> TaskScores:
    if names == task.names:
        return task
    index = {name: k for k, name in enumerate(names)}
    new_numbers = np.array([index[name] for name in task.names], dtype=np.int64)
    return replace(task, names=names, clusters=new_numbers[task.clusters])


def task_scores(
    task: str,
    cluster_ids: Sequence[str | int],
    scores: Mapping[str, Sequence[Json]],
    aggregation: Aggregation,
    correct: Mapping[str, Sequence[float]] | None = None,
    weight: float = 1.0,
    lower_is_better: bool = False,
) -> TaskScores:
    """Return the TaskScores of a task from its samples.

    Args:
        task: its name.
        cluster_ids: each item's `cluster_id`.
        scores: model -> each item's `score` (the metric's value in lm-eval's sample), in the same order.
        aggregation: the function from these values to the task's score; see `totals.sufficient`.
        correct: model -> each item's `correct`, 1.0 or 0.0.
        weight: of the task in means over tasks, above 0.
        lower_is_better: turn the sign of the score, so that more is better.
    """
    correct = correct or {}
    for kind in (scores, correct):
        for model, values in kind.items():
            _same_length(task, model, len(values), len(cluster_ids))
    names, clusters = _numbered(cluster_ids)
    pairs = {model: sufficient(aggregation, values) for model, values in scores.items()}
    right = {model: np.asarray(values, dtype=float) > 0.5 for model, values in correct.items()}
    statistics = {model: pair[0] for model, pair in pairs.items()}
    totals: dict[str, Total] = {
        model: Negated(pair[1]) if lower_is_better else pair[1] for model, pair in pairs.items()
    }
    return TaskScores(task, names, clusters, statistics, totals, right, weight)


def _numbered(cluster_ids: Sequence[str | int]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the sorted cluster ids, and each item's position among them."""
    texts = [str(cluster) for cluster in cluster_ids]
    names = tuple(sorted(set(texts)))
    index = {name: k for k, name in enumerate(names)}
    return names, np.array([index[text] for text in texts], dtype=np.int64)


def _same_length(task: str, model: str, items: int, clusters: int) -> None:
    if items != clusters:
        raise DataError(
            f"task {task!r}: model {model!r} has {items} items but {clusters} cluster ids. "
            "Compare models on the same rows only."
        )
