"""Choose one setting for each kind of combination, on the selection items of its representative."""

import numpy as np

from .data import Model, Scores
from .points import KINDS, Setting, representative


def named_tasks(scores: Scores, kind: str) -> list[str]:
    """Return the tasks that a kind is judged on: those with a score in [0, 1] that need no other skills than
    its domains, and in stage 1 the retention tasks, too."""
    domains = set(kind.split("+"))
    return [
        task
        for task in scores.averaged()
        if (info := scores.tasks[task])
        and (
            (info.kind != "retention" and info.skills and set(info.skills) <= domains)
            or (info.kind == "retention" and len(domains) == 1)
        )
    ]


def text_tasks(scores: Scores, kind: str) -> list[str]:
    """Return the tasks in bits per byte of a kind's domains, and in stage 1 of general text, too."""
    domains = set(kind.split("+"))
    return [
        task
        for task in scores.in_bits()
        if set(scores.tasks[task].skills) <= domains and (scores.tasks[task].skills or len(domains) == 1)
    ]


def choose(scores: Scores) -> dict[str, Setting]:
    """Return the best setting of every kind whose representative was evaluated.

    The best has the highest mean score over the kind's tasks on the selection items, at the mean of its mask
    seeds. Of equal settings the first in the order of the grid is chosen.
    """
    chosen = {}
    for kind in KINDS:
        merges = [m for m in scores.models.values() if m.combination == representative(kind)]
        if merges:
            chosen[kind] = _best(scores, kind, merges)
    return chosen


def _best(scores: Scores, kind: str, merges: list[Model]) -> Setting:
    names = [merge.name for merge in merges]
    tasks = scores.complete(named_tasks(scores, kind), names)
    tables = [scores.table(task, names, "select") for task in tasks]
    means = {name: float(np.mean([table.score(name) for table in tables])) for name in names}
    cells: dict[Setting, list[Model]] = {}
    for merge in merges:
        cells.setdefault(merge.cell, []).append(merge)
    best = max(cells, key=lambda cell: round(np.mean([means[m.name] for m in cells[cell]]), 12))
    first = min(cells[best], key=lambda merge: merge.values.get("seed", 0))
    return first.operator, tuple(first.values.items())
