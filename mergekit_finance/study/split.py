"""Split each dataset's clusters into a random share for selection and the rest for reporting."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mergekit_finance.study.config import Study, combinations_of

if TYPE_CHECKING:
    from mergekit_finance.study.schema import Columns


def has_split(study: Study) -> bool:
    """Return whether different items are used for selection and for reporting.

    False if `selection.same_items` is set, or if there is nothing to select: one operator with one cell.
    """
    operators = study.operators.present().values()
    combinations = [names for stage in study.stages for names in combinations_of(study, stage)]
    swept = any(operator.cells(names) > 1 for operator in operators for names in combinations)
    return (len(operators) > 1 or swept) and not study.selection.same_items


def selection_items(
    clusters: Mapping[str, Sequence[str | int]], datasets: Mapping[str, str], share: float, seed: int
) -> dict[str, np.ndarray]:
    """Return which items are used to select hyperparameters.

    Clusters are ranked by a hash of seed and id within their dataset, so tasks of one dataset (for instance a
    direct task and its chain-of-thought twin) put a cluster on the same side.

    Args:
        clusters: task -> the cluster of each item.
        datasets: task -> its dataset.
        share: share of a dataset's clusters for selection; selection and reporting get at least one each.
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


def models_with_other_items(tables: "Mapping[str, Mapping[str, Columns]]") -> list[str]:
    """Return the models whose items, or their order, differ from those of most models."""
    items = {name: repr({t: rows.items for t, rows in table.items()}) for name, table in tables.items()}
    (most_common, _), *_ = Counter(items.values()).most_common(1)
    return [name for name, listed in items.items() if listed != most_common]
