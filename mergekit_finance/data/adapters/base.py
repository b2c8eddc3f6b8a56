"""What all adapters share: checked records, stable hashes, demonstrations drawn by hash."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergekit_finance.data.records import Record
from mergekit_finance.errors import DataError

Row = dict[str, Any]
# At least one character that can be seen: an empty gold answer would equal an empty output.
_VISIBLE = "[^\\s\u00ad\u200b-\u200f\u2060\ufeff]"
Text = Annotated[str, Field(pattern=_VISIBLE)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# Records by split in, rows of the test split out (with a `subset` where one file holds several).
Adapter = Callable[[dict[str, list[Record]]], list[Row]]
M = TypeVar("M", bound="Raw")


class Raw(BaseModel):
    """A raw record. Strict: a number that arrives as text is a broken row, not something to guess at."""

    model_config = ConfigDict(extra="ignore", strict=True)


def check(model: type[M], record: Record) -> M:
    """The record as `model`, or an error that names file, line and column."""
    try:
        return model.model_validate(record.data)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        column = ".".join(str(part) for part in error["loc"] if _names_a_place(part)) or "row"
        empty = error.get("ctx", {}).get("pattern") == _VISIBLE
        reason = "is empty" if empty else error["msg"].lower()
        raise DataError(f"{record.place}: column {column!r}: {reason}") from fault


def _names_a_place(part: int | str) -> bool:
    """Whether a part of pydantic's location is a column or index, and not a member of a union of types."""
    return isinstance(part, int) or (part.isidentifier() and part not in ("int", "float", "str"))


def wrong(record: Record, column: str, text: str) -> DataError:
    """An error about one column's value."""
    return DataError(f"{record.place}: column {column!r}: {text}")


def digest(*parts: str) -> str:
    """A short stable name for a piece of text."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def drawn(train: Sequence[Row], item: str, count: int) -> list[Row]:
    """`count` demonstrations out of the train split, drawn for an item by hash: the same everywhere."""
    return sorted(train, key=lambda shot: digest(item, *map(str, shot.values())))[:count]
