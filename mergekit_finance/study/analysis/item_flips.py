"""Flips between a merge and other models: counted for summary.json, and as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mergekit_finance.statistics.flips import flips
from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.study.schema import Effects, ItemFlips

GAIN_AND_OG = (
    "counted against every constituent and added up (beside Gain), and against the best constituent of each "
    "task (beside OG)"
)


class MergeFlips(NamedTuple):
    """The flips that stand beside a merge's Gain and OG; None where some task has no right answers."""

    gain: ItemFlips | None
    og: ItemFlips | None


def flips_of_merge(
    tasks: Sequence[TaskScores],
    merge: str,
    constituents: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
) -> MergeFlips:
    """Return the flips against all constituents, and against the best constituent of each task.

    Args:
        tasks: the same items of all models.
        merge: the merged model.
        constituents: the models that it is compared with.
        scores: by task, each constituent's score.
    """
    best = {
        task.task: max(constituents, key=lambda name: round(scores[task.task][name], 6)) for task in tasks
    }
    against_all = [
        flips_by_model([task], merge, constituents).get(name) for task in tasks for name in constituents
    ]
    against_best = [flips_by_model([task], merge, [best[task.task]]).get(best[task.task]) for task in tasks]
    return MergeFlips(_sum(against_all), _sum(against_best))


def flips_by_model(tasks: Sequence[TaskScores], point: str, others: Sequence[str]) -> dict[str, ItemFlips]:
    """Return the flips from each other model to the point, summed over tasks; empty if they are not known."""
    counts = {other: flips(tasks, point, other) for other in others}
    return {name: ItemFlips(gained=n.gained, lost=n.lost) for name, n in counts.items() if n is not None}


def flips_of_gain(effects: Effects, tasks: Iterable[str]) -> ItemFlips | None:
    """Return the flips against every constituent, summed over constituents and tasks; None if not known."""
    return _sum(effects.tasks[task].flips.get(name) for task in tasks for name in effects.constituents)


def flips_of_og(effects: Effects, tasks: Iterable[str]) -> ItemFlips | None:
    """Return the flips against the best constituent of each task, summed over tasks; None if not known."""
    rows = [effects.tasks[task] for task in tasks]
    return _sum(row.flips.get(max(effects.constituents, key=row.constituents.__getitem__)) for row in rows)


def _sum(counts: Iterable[ItemFlips | None]) -> ItemFlips | None:
    counted = list(counts)
    complete = [numbers for numbers in counted if numbers is not None]
    if len(complete) < len(counted):
        return None
    return ItemFlips(gained=sum(n.gained for n in complete), lost=sum(n.lost for n in complete))


def flips_text(numbers: ItemFlips | None) -> str:
    """Return `+12 -30`, the items that became right and wrong; empty where it is not known."""
    return f"+{numbers.gained} -{numbers.lost}" if numbers else ""


def flips_note(numbers: ItemFlips | None) -> str:
    """Return ` (items: +12 -30)`, to follow a difference; empty where it is not known."""
    return f" (items: {flips_text(numbers)})" if numbers else ""
