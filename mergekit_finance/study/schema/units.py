"""The part of summary.json about tasks that are in no mean of scores: other units, or no scores of items."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from mergekit_finance.file_models import BoundedFloat, Count, Part
from mergekit_finance.study.schema.stored import TaskInfo


class Estimated(NamedTuple):
    """A value with its 95 % interval, or without one; in JSON the list [value, low, high]."""

    value: BoundedFloat
    low: BoundedFloat | None = None
    high: BoundedFloat | None = None


def estimated(numbers: Iterable[float], negate: bool = False) -> Estimated:
    """Return (value, low, high) to 6 digits, or its negative; ends that are nan become None."""
    value, low, high = numbers
    if negate:
        value, low, high = -value, -high, -low
    ends = [None if math.isnan(end) else round(float(end), 6) + 0.0 for end in (low, high)]
    return Estimated(round(float(value), 6) + 0.0, *ends)


class UnitTask(TaskInfo):
    """A task of a unit, with the numbers of items and of clusters that its values are computed on."""

    items: Count
    clusters: Count = 0


class UnitScores(Part):
    """A model's or point's values of one unit.

    Attributes:
        values: by task, as the task computes them.
        macro: their mean over tasks.
        gain, og: of a point, by task; more is better, whatever the unit.
        macro_gain, macro_og: of a point: their means over tasks.
    """

    values: dict[str, Estimated]
    macro: Estimated
    gain: dict[str, Estimated] = {}
    og: dict[str, Estimated] = {}
    macro_gain: Estimated | None = None
    macro_og: Estimated | None = None


class UnitResults(Part):
    """The tasks of one unit and kind, on their own: they are never averaged with other scores.

    Attributes:
        unit: the metric's name; "" for scores in [0, 1] that are computed over all items at once.
        lower_is_better: whether the sign of Gain and OG is turned.
        kind: "tasks", "retention" or "probes".
        tasks: by name.
        models: base, experts and points, by name.
    """

    unit: str = ""
    lower_is_better: bool = False
    kind: str
    tasks: dict[str, UnitTask] = Field(min_length=1)
    models: dict[str, UnitScores]

    @property
    def without_items(self) -> list[str]:
        """The tasks that have no scores of single items, and therefore no intervals."""
        return [name for name, task in self.tasks.items() if not task.per_item]
