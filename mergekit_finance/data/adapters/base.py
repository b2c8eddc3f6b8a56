"""Shared by adapters: validation of records, stable hashes, hash-based choice of demonstrations."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergekit_finance.data.records import Record
from mergekit_finance.errors import DataError, problem_in_words

Row = dict[str, Any]  # what lm-eval takes as a document; the columns differ by task
# At least one visible character: an empty gold answer would equal an empty output.
_VISIBLE = "[^\\s\u00ad\u200b-\u200f\u2060\ufeff]"
VisibleText = Annotated[str, Field(pattern=_VISIBLE)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# From records by split to rows of the test split (with a `subset` where one file holds several).
Adapter = Callable[[dict[str, list[Record]]], list[Row]]
M = TypeVar("M", bound="Raw")


class Raw(BaseModel):
    """A raw record. Strict: a number given as text is an error and is not converted."""

    model_config = ConfigDict(extra="ignore", strict=True)


def validated(model: type[M], record: Record) -> M:
    """Return the record as `model`. Raises DataError with file, line and column if it does not fit."""
    try:
        return model.model_validate(record.data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        column = ".".join(str(part) for part in first["loc"] if _is_column_or_index(part)) or "row"
        empty = first.get("ctx", {}).get("pattern") == _VISIBLE
        raise column_error(record, column, "is empty" if empty else problem_in_words(first)) from error


def _is_column_or_index(part: int | str) -> bool:
    """Return whether a part of pydantic's location is a column or index, not a member of a union of types."""
    return isinstance(part, int) or (part.isidentifier() and part not in ("int", "float", "str"))


def column_error(record: Record, column: str, text: str) -> DataError:
    """Return an error about one column of a record."""
    return DataError(f"{record.place}: column {column!r}: {text}")


def short_id(*parts: str) -> str:
    """Return a short stable id for a piece of text: 16 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def draw_shots(train: Sequence[Row], item_id: str, count: int, each_answer: bool = False) -> list[Row]:
    """Return demonstrations from the train split, drawn for an item by hash: always the same ones.

    Args:
        train: All demonstrations.
        item_id: The item's id; other items get others.
        count: The number of demonstrations to draw.
        each_answer: Draw at least one for each answer that occurs, if `count` allows. Without it, five
            demonstrations of a skewed dataset often have one answer only.
    """
    in_order = sorted(train, key=lambda shot: short_id(item_id, *map(str, shot.values())))
    first: dict[str, int] = {}  # answer -> position of its first demonstration
    for position, shot in enumerate(in_order if each_answer else ()):
        first.setdefault(shot["answer"], position)
    others = (position for position in range(len(in_order)) if position not in first.values())
    chosen = itertools.islice(itertools.chain(first.values(), others), count)
    return [in_order[position] for position in sorted(chosen)]
