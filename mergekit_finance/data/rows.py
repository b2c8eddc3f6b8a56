"""Turn dataset files into rows with the adapters, and refuse a row that occurs twice."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mergekit_finance.data.adapters import Row, adapter
from mergekit_finance.data.records import Record, read
from mergekit_finance.errors import DataError


class Place(NamedTuple):
    """A file with rows.

    Attributes:
        path: Where the file is.
        shown: Its name in error messages.
        adapter: The name of the adapter that reads it.
        split: The split that its records belong to, "test" or "train".
    """

    path: Path
    shown: str
    adapter: str
    split: str


RecordsByAdapter = dict[str, dict[str, list[Record]]]  # adapter, split


def rows_of(places: Iterable[Place]) -> list[Row]:
    """Read files and return their test rows; files of one adapter are read together.

    Raises:
        DataError: a record is wrong, the test split is missing, or an `item_id` occurs twice (the item would
            count twice).
    """
    by_adapter: RecordsByAdapter = {}
    for path, shown, adapter_name, split in places:
        by_adapter.setdefault(adapter_name, {}).setdefault(split, []).extend(read(path, shown))
    rows: dict[str, Row] = {}
    for adapter_name, records in by_adapter.items():
        if "test" not in records:
            first = next(record for split in records.values() for record in split)
            raise DataError(f"{first.file}: the file of the test split is missing beside it")
        for row in adapter(adapter_name)(records):
            if row["item_id"] in rows:
                raise _duplicate(row["item_id"], by_adapter)
            rows[row["item_id"]] = row
    return list(rows.values())


def _duplicate(item_id: str, by_adapter: RecordsByAdapter) -> DataError:
    """Return an error that names the first two records with this id."""

    def records_with_id() -> Iterator[Record]:
        for name, splits in by_adapter.items():
            for record in splits["test"]:
                rows = adapter(name)({"test": [record]})
                yield from (record for row in rows if row["item_id"] == item_id)

    first, second = itertools.islice(records_with_id(), 2)
    other = second.spot if first.file == second.file else second.place
    return DataError(f"{first.place} and {other}: item_id {item_id!r} occurs twice")
