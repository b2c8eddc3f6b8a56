"""The selection split: a seeded share of a dataset's clusters chooses hyperparameters, the rest reports."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np


def sides(
    tasks: Mapping[str, Mapping[str, Any]], datasets: Mapping[str, str], share: float, seed: int
) -> dict[str, np.ndarray]:
    """Per task, which of its items are for selection: (n,) bool.

    Clusters are ranked by a hash of seed and id within their dataset, so tasks of one dataset (a direct task
    and its chain-of-thought twin among them) put a cluster on the same side.
    """
    chosen: dict[str, set[str]] = {}
    for dataset in set(datasets.values()):
        ids = {c for task, own in datasets.items() if own == dataset for c in tasks[task]["clusters"]}
        ranked = sorted(ids, key=lambda cluster: _rank(seed, dataset, cluster))
        chosen[dataset] = set(ranked[: min(max(1, round(share * len(ranked))), len(ranked) - 1)])
    return {
        task: np.array([cluster in chosen[datasets[task]] for cluster in rows["clusters"]])
        for task, rows in tasks.items()
    }


def _rank(seed: int, dataset: str, cluster: str) -> bytes:
    return hashlib.sha256(f"{seed}/{dataset}/{cluster}".encode()).digest()


def other_rows(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The models that did not answer the same items in the same order as most."""
    asked = {name: repr({t: rows["items"] for t, rows in table.items()}) for name, table in tables.items()}
    (usual, _), *_ = Counter(asked.values()).most_common(1)
    return [name for name, items in asked.items() if items != usual]
