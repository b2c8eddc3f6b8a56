"""Which items of a study select, and in which order a race asks for them: nested, and balanced over tasks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.digest import digest
from mergekit_finance.evaluation.item_scores import document_ids
from mergekit_finance.hosts import lm_eval as host
from mergekit_finance.study.config import Study
from mergekit_finance.study.objective_tasks import raced_tasks
from mergekit_finance.study.split import has_split, selection_items

if TYPE_CHECKING:
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.study.schema import TaskInfo

Cluster = tuple[str, tuple[int, ...]]  # a task, and the positions of a cluster's items in it


@dataclass(frozen=True)
class Items:
    """Some items of some tasks.

    Attributes:
        positions: task -> positions of its items among the task's rows, in ascending order.
    """

    positions: Mapping[str, tuple[int, ...]]

    @cached_property
    def digest(self) -> str:
        """A hash of the positions, for the key of what is measured on these items."""
        return digest({task: list(rows) for task, rows in self.positions.items()})

    @property
    def count(self) -> int:
        """The number of items."""
        return sum(map(len, self.positions.values()))


@dataclass(frozen=True)
class ItemOrder:
    """The selection items of the tasks that a race is about, in the order in which it asks for them.

    Clusters stay together. The first cluster of every task comes first. After it, tasks take turns so that
    all have the same share of their items at any time.

    Attributes:
        clusters: the clusters in their order.
        tasks: how many tasks there are.
    """

    clusters: tuple[Cluster, ...]
    tasks: int

    @property
    def count(self) -> int:
        """The number of items."""
        return sum(len(rows) for _, rows in self.clusters)

    @property
    def least(self) -> int:
        """The number of items in the first cluster of every task."""
        return sum(len(rows) for _, rows in self.clusters[: self.tasks])

    def first(self, count: int) -> Items:
        """Return the first items: as many whole clusters as `count` items allow, and one of every task."""
        positions: dict[str, list[int]] = {}
        total = 0
        for number, (task, rows) in enumerate(self.clusters):
            total += len(rows)
            if total > count and number >= self.tasks:
                break
            positions.setdefault(task, []).extend(rows)
        return Items({task: tuple(sorted(rows)) for task, rows in sorted(positions.items())})


def item_order(clusters: Mapping[str, Mapping[str, Sequence[int]]], seed: int) -> ItemOrder:
    """Return the order of items for a race.

    Args:
        clusters: task -> cluster -> positions of its items. A cluster that several tasks share has the same
            place among the clusters of each.
        seed: another seed gives another order.
    """
    placed = []
    for task, of_task in clusters.items():
        items, before = sum(map(len, of_task.values())), 0
        for number, cluster in enumerate(sorted(of_task, key=lambda cluster: _rank(seed, cluster))):
            rows = tuple(of_task[cluster])
            share = (before + len(rows) / 2) / items
            placed.append(((number > 0, share, task), (task, rows)))
            before += len(rows)
    return ItemOrder(tuple(cluster for _, cluster in sorted(placed)), len(clusters))


def selection_order(
    evaluator: "Evaluator", study: Study, tasks: "Mapping[str, TaskInfo]", limit: int | None, seed: int
) -> ItemOrder:
    """Return the order of the selection items of a study.

    Args:
        evaluator: its tasks are loaded.
        study: says how items are split for selection and reporting.
        tasks: all tasks; only those of the objective, or of the macro average, have a part in a race.
        limit: items per task; None: all.
        seed: of the order.
    """
    ids = {name: document_ids(host.documents(evaluator.tasks[name], limit)) for name in tasks}
    of_items = {name: [cluster for _, cluster in rows] for name, rows in ids.items()}
    datasets = {name: task.dataset for name, task in tasks.items()}
    selecting = selection_items(of_items, datasets, study.selection.share, study.selection.seed)
    clusters: dict[str, dict[str, list[int]]] = {}
    for name, task in sorted(raced_tasks(study, tasks).items()):
        for position, cluster in enumerate(of_items[name]):
            if selecting[name][position] or not has_split(study):
                key = f"{task.dataset}/{cluster}"
                clusters.setdefault(name, {}).setdefault(key, []).append(position)
    return item_order(clusters, seed)


def _rank(seed: int, cluster: str) -> bytes:
    return hashlib.sha256(f"search {seed} {cluster}".encode()).digest()
