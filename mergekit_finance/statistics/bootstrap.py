"""Paired cluster bootstrap.

A replicate draws C of a task's C clusters with replacement and scores every model on the same draw, so that
differences between models are paired. Score of model m in replicate b, with S_mc the model's statistics
summed within cluster c and w_bc how often cluster c was drawn:

    score*_mb = total(sum_c w_bc S_mc)

which is one matrix product (draws, C) x (C, s). Tasks of one stratum (the same clusters) share w; different
strata are independent, so that a macro over tasks is bootstrapped stratified by task. Davison and Hinkley
(1997), Bootstrap Methods and their Application, section 3.8; Field and Welsh (2007), JRSS B 69:369.

The draws of a stratum depend only on the seed and on its clusters: another task or model does not change
them, and replicates from separate calls are paired, too. If statistics are whole numbers, as for all our
tasks, the sums are exact and do not depend on the BLAS library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.statistics.totals import Total

DRAWS = 2000
BLOCK = 1 << 22  # float64 elements of a block of weights, or of replicate sums: 32 MB


@dataclass(frozen=True)
class Replicates:
    """Scores of every task and model: observed, and in each of B replicates."""

    observed: dict[str, dict[str, float]]  # task -> model -> score
    scores: dict[str, dict[str, np.ndarray]]  # task -> model -> (B,)
    clusters: dict[str, int]  # task -> number of clusters with items of the task
    strata: dict[str, str]  # task -> stratum; tasks of one stratum share the draws of clusters
    task_weights: Mapping[str, float] = field(default_factory=dict)  # in means over tasks; 1 if left out

    @property
    def tasks(self) -> list[str]:
        return list(self.observed)

    def weights(self, tasks: Sequence[str]) -> list[float]:
        """Return the weight of each task in means over tasks."""
        return [self.task_weights.get(task, 1.0) for task in tasks]


def bootstrap(
    tasks: Sequence[TaskScores], draws: int = DRAWS, seed: int = 0, models: Sequence[str] | None = None
) -> Replicates:
    """Return replicates of the scores of every task and model.

    Args:
        tasks: from `scores.aligned`, so that tasks that share clusters share the draws.
        draws: number of replicates B.
        seed: seed of the draws.
        models: the models to include; None: every model of each task.
    """
    models_of = {task.task: list(models if models is not None else task.models) for task in tasks}
    return Replicates(
        observed={task.task: {m: task.score(m) for m in models_of[task.task]} for task in tasks},
        scores={task.task: _replicate(task, models_of[task.task], draws, seed) for task in tasks},
        clusters={task.task: task.count for task in tasks},
        strata={task.task: task.stratum for task in tasks},
        task_weights={task.task: task.weight for task in tasks},
    )


def with_constants(
    replicates: Replicates, values: Mapping[str, Mapping[str, float]], weights: Mapping[str, float]
) -> Replicates:
    """Return replicates with tasks of which only each model's value is known.

    They have no clusters, so that every interval with them has ends of nan.

    Args:
        values: task -> model -> value.
        weights: of all tasks in means over tasks.
    """
    draws = next((len(row) for of in replicates.scores.values() for row in of.values()), DRAWS)
    constant = {t: {m: np.full(draws, value) for m, value in row.items()} for t, row in values.items()}
    return Replicates(
        observed=replicates.observed | {task: dict(row) for task, row in values.items()},
        scores=replicates.scores | constant,
        clusters=replicates.clusters | dict.fromkeys(values, 0),
        strata=replicates.strata | {task: task for task in values},
        task_weights=weights,
    )


def weights(stratum: str, clusters: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks (b, clusters) of numbers of draws of each cluster; each row sums to `clusters`."""
    rng = np.random.default_rng([seed, seed_of_name(stratum)])
    block = max(1, BLOCK // max(clusters, 1))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = rng.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(float)


def seed_of_name(name: str) -> int:
    """Return an integer hash of a name that is the same on every machine, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")


def _replicate(task: TaskScores, models: Sequence[str], draws: int, seed: int) -> dict[str, np.ndarray]:
    out = {model: np.empty(draws) for model in models}
    groups, start = _groups(task, models), 0
    for block in weights(task.stratum, len(task.names), draws, seed):
        for total, names, sums in groups:
            for model, scores in zip(names, _scores(total, block, sums), strict=True):
                out[model][start : start + len(block)] = scores
        start += len(block)
    return out


def _groups(task: TaskScores, models: Sequence[str]) -> list[tuple[Total, list[str], np.ndarray]]:
    """Group models by total and number of statistics s; return their cluster sums (C, models, s)."""
    members: dict[tuple[Total, int], list[str]] = {}
    for model in models:
        members.setdefault((task.totals[model], task.statistics[model].shape[1]), []).append(model)
    return [
        (total, names, np.stack([task.sums(model) for model in names], axis=1))
        for (total, _), names in members.items()
    ]


def _scores(total: Total, block: np.ndarray, sums: np.ndarray) -> Iterator[np.ndarray]:
    """Yield scores (b,) of each model, computing a few models at a time to keep memory within `BLOCK`."""
    clusters, models, width = sums.shape
    step = max(1, BLOCK // max(1, len(block) * width))
    for start in range(0, models, step):
        part = sums[:, start : start + step]
        product = block @ part.reshape(clusters, -1)
        yield from total(product.reshape(len(block), part.shape[1], width)).T
