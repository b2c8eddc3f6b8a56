"""Flips: items that one model answers right and another wrong, in both directions.

A difference of mean scores hides them: a merge that loses 30 answers of its base and gains 30 others has the
base's score. Flips are counted by the `correct` of each item, so tasks whose score is an F1 have them, too.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mergekit_finance.statistics.scores import TaskScores


class Flips(NamedTuple):
    """Numbers of items.

    Attributes:
        gained: the model is right and the other wrong.
        lost: the model is wrong and the other right.
    """

    gained: int
    lost: int


def flips(tasks: Sequence[TaskScores], model: str, other: str) -> Flips | None:
    """Return the flips from `other` to `model`, summed over tasks.

    Args:
        tasks: The same items of both models.
        model: The model whose gains and losses are counted.
        other: The model that it is compared with.

    Returns:
        The two numbers; None if some task has no `correct`.
    """
    if any(model not in task.correct or other not in task.correct for task in tasks):
        return None
    pairs = [(task.correct[model], task.correct[other]) for task in tasks]
    gained = sum(int((right & ~before).sum()) for right, before in pairs)
    lost = sum(int((before & ~right).sum()) for right, before in pairs)
    return Flips(gained, lost)
