"""The part of summary.json about the study's own objective."""

from collections.abc import Set
from typing import Literal

from pydantic import Field

from mergekit_finance.file_models import BoundedFloat, Part
from mergekit_finance.study.schema.values import Interval

Keeps = Literal["surely", "perhaps", "not"]


class BoundResult(Part):
    """A bound of the objective: the least difference from `against`, in points, and the tasks it is about."""

    points: BoundedFloat
    against: str
    tasks: list[str] = Field(min_length=1)


class ObjectiveModel(Part):
    """A model by the study's objective.

    Attributes:
        on_selection: the objective on the selection items, by which models are ranked.
        value: the objective on the report items.
        keeps: whether it keeps all bounds, as decided on the selection items.
        differences: by bound, the difference on the selection items; None where there is no interval.
        reported: the same on the report items.
    """

    on_selection: BoundedFloat
    value: Interval
    keeps: Keeps
    differences: dict[str, Interval | None] = {}
    reported: dict[str, Interval | None] = {}


class ObjectiveResult(Part):
    """The objective: the weight of each task, the bounds by name, and every model and point."""

    weights: dict[str, BoundedFloat]
    bounds: dict[str, BoundResult] = {}
    models: dict[str, ObjectiveModel]

    def problem(self, models: Set[str], tasks: Set[str]) -> str:
        """Return what it lacks of a study of these models and tasks, or names wrongly; "" if nothing."""
        about = {*self.weights, *(task for bound in self.bounds.values() for task in bound.tasks)}
        for name in sorted(about - tasks):
            return f"{name!r} is not a task of the study"
        for name in sorted(models ^ self.models.keys()):
            return f"{name!r} is missing, or is not a model of the study"
        for name, row in self.models.items():
            if not self.bounds.keys() <= row.differences.keys() & row.reported.keys():
                return f"a difference of {name} is missing"
        return ""
