"""Flips between a merge and other models: counted for summary.json, and as text."""

from collections.abc import Sequence

from mergekit_finance.statistics.flips import flips
from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.study.schema import ItemFlips


def flips_by_model(tasks: Sequence[TaskScores], point: str, others: Sequence[str]) -> dict[str, ItemFlips]:
    """Return the flips from each other model to the point, summed over tasks; empty if they are not known."""
    counts = {other: flips(tasks, point, other) for other in others}
    return {name: ItemFlips(gained=n.gained, lost=n.lost) for name, n in counts.items() if n is not None}


def flips_text(numbers: ItemFlips | None) -> str:
    """Return `+12 -30`, the items that became right and wrong; empty where it is not known."""
    return f"+{numbers.gained} -{numbers.lost}" if numbers else ""


def flips_note(numbers: ItemFlips | None) -> str:
    """Return ` (items: +12 -30)`, to follow a difference; empty where it is not known."""
    return f" (items: {flips_text(numbers)})" if numbers else ""
