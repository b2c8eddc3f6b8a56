"""The selection split: a seeded share of each dataset's clusters selects, the rest reports."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from mergekit_finance.study.config import Study
from mergekit_finance.study.schema import Columns


def has_split(study: Study) -> bool:
    """Return whether some items select and others are reported.

    False where `selection.same_items` says so, and where nothing is selected: one operator with one cell.
    """
    grids = [operator.grid() for operator in study.operators.present().values()]
    cells = [{tuple((k, v) for k, v in values.items() if k != "seed") for values in grid} for grid in grids]
    return (len(cells) > 1 or len(cells[0]) > 1) and not study.selection.same_items


def selection_items(
    clusters: Mapping[str, Sequence[str | int]], datasets: Mapping[str, str], share: float, seed: int
) -> dict[str, np.ndarray]:
    """Return which items select hyperparameters.

    Clusters are ranked by a hash of seed and id within their dataset, so tasks of one dataset (for instance a
    direct task and its chain-of-thought twin) put a cluster on the same side.

    Args:
        clusters: task -> the cluster of each item.
        datasets: task -> its dataset.
        share: share of a dataset's clusters that select; at least one does, and at least one reports.
        seed: another seed gives another split.

    Returns:
        Task -> (items,) bool.
    """
    selecting: dict[str, set[str | int]] = {}
    for dataset in set(datasets.values()):
        ids = {c for task, name in datasets.items() if name == dataset for c in clusters[task]}
        ranked = sorted(ids, key=lambda cluster: _rank(seed, dataset, cluster))
        selecting[dataset] = set(ranked[: min(max(1, round(share * len(ranked))), len(ranked) - 1)])
    return {
        task: np.array([cluster in selecting[datasets[task]] for cluster in of_items])
        for task, of_items in clusters.items()
    }


def _rank(seed: int, dataset: str, cluster: str | int) -> bytes:
    return hashlib.sha256(f"{seed}/{dataset}/{cluster}".encode()).digest()


def models_with_other_items(tables: Mapping[str, Mapping[str, Columns]]) -> list[str]:
    """Return the models that did not answer the same items, in the same order, as most of the others."""
    items = {name: repr({t: rows.items for t, rows in table.items()}) for name, table in tables.items()}
    (usual, _), *_ = Counter(items.values()).most_common(1)
    return [name for name, listed in items.items() if listed != usual]
