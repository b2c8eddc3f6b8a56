"""scores.json, of one task: the items of a model's evaluation."""

from typing import TYPE_CHECKING

from pydantic import Field, JsonValue, model_validator

from mergekit_finance.file_models import BoundedFloat, Count, Part

if TYPE_CHECKING:
    from mergekit_finance.files import JsonObject


class Columns(Part):
    """The items of one task, one entry per item in each list, in the order of the task's rows.

    Attributes:
        items: item ids.
        clusters: cluster ids; items of one cluster are not independent.
        score: the item's value of the metric `score`, which the task's aggregation turns into its score (a
            number, or a list for F1).
        correct: 1.0 for a right answer, else 0.0.
        options: number of options to choose from; 0 if the answer is generated.
        value: the task's value, of a metric that cannot be computed again from scores of items; else None.
    """

    items: list[str | int] = Field(min_length=1)
    clusters: list[str | int]
    score: list[JsonValue]
    correct: list[BoundedFloat | bool]
    options: list[Count]
    value: BoundedFloat | None = None

    @model_validator(mode="after")
    def _one_length(self) -> "Columns":
        columns = (self.items, self.clusters, self.score, self.correct, self.options)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("columns of different lengths")
        return self

    def as_json(self) -> "JsonObject":
        """Return what is written to the file; a score may be null."""
        return self.model_dump(mode="json", exclude={"value"} if self.value is None else None)
