"""The paired cluster bootstrap.

A replicate draws C of a task's C clusters with replacement and scores every model on the same draw, so that
differences between models are paired. Score of model m in replicate b, with S_mc the model's statistics
summed within cluster c and w_bc how often cluster c was drawn:

    score*_mb = total(sum_c w_bc S_mc)

which is one matrix product (draws, C) x (C, s). Tasks of one stratum (the same clusters) share w; different
strata are independent, so that a macro over tasks is bootstrapped stratified by task. Davison and Hinkley
(1997), Bootstrap Methods and their Application, section 3.8; Field and Welsh (2007), JRSS B 69:369.

The draws of a stratum depend on the seed and on its clusters alone: another task or model changes nothing,
and replicates of models that were bootstrapped in separate calls are paired all the same. Where statistics
are whole numbers (every task of ours) the sums are exact, so the results do not depend on the BLAS either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    clusters: dict[str, int]  # task -> number of clusters that it has items of
    strata: dict[str, str]  # task -> stratum: tasks of equal stratum were drawn together

    @property
    def tasks(self) -> list[str]:
        return list(self.observed)


def bootstrap(
    tasks: Sequence[TaskScores], draws: int = DRAWS, seed: int = 0, models: Sequence[str] | None = None
) -> Replicates:
    """Return replicate scores of every task and model.

    Args:
        tasks: aligned (`scores.aligned`), so that tasks that share clusters are drawn together.
        draws: number of replicates B.
        seed: of the draws.
        models: only these; by default every model of each task.
    """
    chosen = {task.task: list(models if models is not None else task.models) for task in tasks}
    return Replicates(
        observed={task.task: {m: task.score(m) for m in chosen[task.task]} for task in tasks},
        scores={task.task: _replicate(task, chosen[task.task], draws, seed) for task in tasks},
        clusters={task.task: task.count for task in tasks},
        strata={task.task: task.stratum for task in tasks},
    )


def weights(stratum: str, clusters: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks (b, clusters) of how often each cluster is drawn; each row sums to `clusters`."""
    rng = np.random.default_rng([seed, stable_number(stratum)])
    block = max(1, BLOCK // max(clusters, 1))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = rng.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(float)


def stable_number(name: str) -> int:
    """Return a whole number for a name, the same on every machine, unlike `hash`."""
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
    """Group models whose scores are the same function of as many statistics, with their (C, models, s)."""
    members: dict[tuple[Total, int], list[str]] = {}
    for model in models:
        members.setdefault((task.totals[model], task.statistics[model].shape[1]), []).append(model)
    return [
        (total, names, np.stack([task.sums(model) for model in names], axis=1))
        for (total, _), names in members.items()
    ]


def _scores(total: Total, block: np.ndarray, sums: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (b,) of each model, computed a few models at a time so that memory stays within `BLOCK`."""
    clusters, models, width = sums.shape
    step = max(1, BLOCK // max(1, len(block) * width))
    for start in range(0, models, step):
        part = sums[:, start : start + step]
        product = block @ part.reshape(clusters, -1)
        yield from total(product.reshape(len(block), part.shape[1], width)).T
