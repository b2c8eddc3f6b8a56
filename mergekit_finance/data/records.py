"""Reading raw files record by record, each with the place it came from, so that errors can name it."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError


@dataclass(frozen=True)
class Record:
    """One raw record and where it stands."""

    data: dict[str, Any]
    file: str
    line: int
    kind: str = "line"  # what `line` counts: lines of text, rows of a sheet, records of a list

    @property
    def spot(self) -> str:
        """Where in its file it stands."""
        return f"{self.kind} {self.line}"

    @property
    def place(self) -> str:
        """File and spot, as errors name them."""
        return f"{self.file}, {self.spot}"


# What is counted, its number, and the data there.
_Found = tuple[str, int, Any]


def read(path: Path, shown: str) -> list[Record]:
    """All records of a .jsonl, .json, .tsv, .csv, .xlsx or .parquet file.

    A .json file is a list, an object whose `data` is one, one object, or an object a line.

    `shown` is the name that errors give the file.
    """
    readers = {
        ".jsonl": _jsonl, ".json": _json, ".tsv": _tsv, ".csv": _csv, ".xlsx": _xlsx, ".parquet": _parquet,
    }  # fmt: skip
    if path.suffix not in readers:
        raise DataError(f"{shown}: cannot read {path.suffix!r} files. Known: {', '.join(sorted(readers))}")
    records = []
    for kind, number, data in readers[path.suffix](path, shown):
        record = Record(data, shown, number, kind)
        if not isinstance(data, dict):
            raise DataError(f"{record.place}: expected an object, found {type(data).__name__}")
        records.append(record)
    if not records:
        raise DataError(f"{shown}: the file holds no records")
    return records


def _text(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DataError(f"{shown}: not UTF-8 text (byte {fault.start})") from fault


def _jsonl(path: Path, shown: str) -> Iterator[_Found]:
    for number, line in enumerate(_text(path, shown).split("\n"), 1):
        if line.strip():
            yield "line", number, _loads(line, f"{shown}, line {number}")


def _json(path: Path, shown: str) -> Iterator[_Found]:
    text = _text(path, shown)
    if text.lstrip().startswith("["):
        return _counted(_loads(text, shown))
    whole = _whole_object(text)
    if whole is None:
        return _jsonl(path, shown)
    return _counted(whole["data"] if isinstance(whole.get("data"), list) else [whole])


def _counted(records: list[Any]) -> Iterator[_Found]:
    return (("record", number, data) for number, data in enumerate(records, 1))


def _whole_object(text: str) -> dict[str, Any] | None:
    """The file as one JSON object, or None where it holds one object a line."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _loads(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        raise DataError(f"{place}: not JSON ({fault.msg})") from fault
    except ValueError as fault:  # Python reads no number of more than 4,300 digits
        raise DataError(f"{place}: not a row (a number with too many digits)") from fault
    except RecursionError as fault:
        raise DataError(f"{place}: not a row (nested too deeply)") from fault


def _tsv(path: Path, shown: str) -> Iterator[_Found]:
    lines = _text(path, shown).split("\n")
    header = lines[0].rstrip("\r").split("\t")
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            yield "line", number, dict(zip(header, line.rstrip("\r").split("\t"), strict=False))


def _csv(path: Path, shown: str) -> Iterator[_Found]:
    reader = csv.DictReader(io.StringIO(_text(path, shown), newline=""))
    for data in reader:
        yield "line", reader.line_num, data


def _xlsx(path: Path, shown: str) -> Iterator[_Found]:
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f"{shown}: reading .xlsx needs openpyxl, which is missing: pip install 'mergekit-finance[xlsx]'"
        ) from None
    workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        rows = list(workbook.worksheets[0].iter_rows(values_only=True))
    finally:
        workbook.close()
    header = [str(cell) for cell in rows[0]] if rows else []
    for number, cells in enumerate(rows[1:], 2):
        yield "row", number, dict(zip(header, map(_whole, cells), strict=False))


def _whole(cell: Any) -> Any:
    """Spreadsheets keep whole numbers as floats."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _parquet(path: Path, shown: str) -> Iterator[_Found]:
    import pyarrow.parquet

    try:
        yield from _counted(pyarrow.parquet.read_table(path).to_pylist())
    except (pyarrow.ArrowInvalid, OSError) as fault:
        raise DataError(f"{shown}: not a parquet file ({str(fault).splitlines()[0]})") from fault
