"""The base of all typed models of JSON files: writers return them, readers check files with them.

Scores are in `evaluation.columns`, similarities in `similarity.measured`, the other files in `study.schema`.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mergekit_finance.files import JsonObject

MAX_NUMBER = 10**12  # larger numbers are damage: figures overflow on them
Number = Annotated[float, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
Whole = Annotated[int, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
Value = Whole | Number  # of a hyperparameter; seeds stay whole numbers
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_NUMBER)]


class Part(BaseModel):
    """A file, or a part of one. Unknown keys are ignored: a later version may write more."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    def as_json(self) -> "JsonObject":
        """Return what is written to the file. Fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class PartWithNulls(Part):
    """A file, or a part of one, in which null is a value: only fields that were never set are left out."""

    def as_json(self) -> "JsonObject":
        """Return what is written to the file, fields in the order of the model."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
