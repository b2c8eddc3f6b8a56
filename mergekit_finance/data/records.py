"""Read raw dataset files record by record, with the place of each record for error messages."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.files import Json, JsonObject, parse_json


@dataclass(frozen=True)
class Record:
    """One raw record.

    Attributes:
        data: The record's columns.
        file: The file's name in error messages.
        line: Its position in the file, from 1.
        kind: What `line` counts: lines of text, rows of a sheet, or records of a list.
    """

    data: JsonObject
    file: str
    line: int
    kind: str = "line"

    @property
    def spot(self) -> str:
        """The position in the file, for example `line 3`."""
        return f"{self.kind} {self.line}"

    @property
    def place(self) -> str:
        """File and position, for example `test.jsonl, line 3`."""
        return f"{self.file}, {self.spot}"


Entry = tuple[str, int, Json]  # kind, line, data of one record


def read(path: Path, shown: str) -> list[Record]:
    """Read all records of a .jsonl, .json, .tsv, .csv, .xlsx or .parquet file.

    A .json file is a list, an object with a list under `data`, a single object, or one object per line.

    Args:
        path: The file.
        shown: Its name in error messages.

    Raises:
        DataError: the file cannot be read, or does not contain records.
    """
    readers: dict[str, Callable[[Path, str], Iterator[Entry]]] = {
        ".jsonl": _jsonl, ".json": _json, ".tsv": _tsv, ".csv": _csv, ".xlsx": _xlsx, ".parquet": _parquet,
    }  # fmt: skip
    if path.suffix not in readers:
        raise DataError(f"{shown}: cannot read {path.suffix!r} files. Known: {', '.join(sorted(readers))}.")
    records = []
    for kind, line, data in readers[path.suffix](path, shown):
        if not isinstance(data, dict):
            raise DataError(f"{shown}, {kind} {line}: expected an object, found {type(data).__name__}")
        records.append(Record(data, shown, line, kind))
    if not records:
        raise DataError(f"{shown}: the file contains no records")
    return records


def _text(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{shown}: not UTF-8 text (byte {error.start})") from error


def _jsonl(path: Path, shown: str) -> Iterator[Entry]:
    for number, line in enumerate(_text(path, shown).split("\n"), 1):
        if line.strip():
            yield "line", number, _parse(line, f"{shown}, line {number}")


def _json(path: Path, shown: str) -> Iterator[Entry]:
    text = _text(path, shown)
    if text.lstrip().startswith("["):
        return _numbered(_parse(text, shown))
    try:
        content = parse_json(text, finite=False)
    except ValueError:
        return _jsonl(path, shown)
    records = content.get("data") if isinstance(content, dict) else None
    return _numbered(records if isinstance(records, list) else [content])


def _numbered(records: Json) -> Iterator[Entry]:
    assert isinstance(records, list)
    return (("record", number, data) for number, data in enumerate(records, 1))


def _parse(text: str, place: str) -> Json:
    """Parse JSON. NaN and infinity pass: the adapters name the column that has them."""
    try:
        return parse_json(text, finite=False)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON ({error.msg})") from error
    except ValueError as error:
        raise DataError(f"{place}: not a row ({error})") from error


def _tsv(path: Path, shown: str) -> Iterator[Entry]:
    """Read tab-separated values. Cells may be quoted as in CSV: pandas quotes a headline that has a quote."""
    return _separated(path, shown, "\t")


def _csv(path: Path, shown: str) -> Iterator[Entry]:
    return _separated(path, shown, ",")


def _separated(path: Path, shown: str, delimiter: str) -> Iterator[Entry]:
    """Read lines of cells below a header; strictly, or an open quote would swallow all later lines."""
    lines = io.StringIO(_text(path, shown), newline="")
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        for data in reader:
            yield "line", reader.line_num, {key: value for key, value in data.items() if key is not None}
    except csv.Error as error:
        raise DataError(
            f"{shown}, line {reader.line_num}: not {path.suffix[1:].upper()} ({error})"
        ) from error


def _xlsx(path: Path, shown: str) -> Iterator[Entry]:
    try:
        import openpyxl  # imported here: it is an extra, which only one dataset needs
    except ImportError:
        raise DataError(
            f"{shown}: reading .xlsx needs openpyxl, which is not installed. "
            "Run: pip install 'mergekit-finance[xlsx]'"
        ) from None
    try:
        # Opened here, because openpyxl leaves a file open that it cannot read.
        with (
            path.open("rb") as file,
            closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book,
        ):
            rows = list(book.worksheets[0].iter_rows(values_only=True))
    except Exception as error:  # damaged files raise errors of zipfile and XML, and KeyError
        raise DataError(f"{shown}: not a spreadsheet ({first_line(error)})") from error
    header = [str(cell) for cell in rows[0]] if rows else []
    for number, row in enumerate(rows[1:], 2):
        # Spreadsheets store whole numbers as floats.
        cells = (int(c) if isinstance(c, float) and c.is_integer() else c for c in row)
        yield "row", number, dict(zip(header, cells, strict=False))


def _parquet(path: Path, shown: str) -> Iterator[Entry]:
    import pyarrow.parquet  # imported here because only parquet files need it: it takes 0.1 s

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except Exception as error:  # damaged files raise errors of Arrow, OSError and UnicodeDecodeError
        raise DataError(f"{shown}: not a parquet file ({first_line(error)})") from error
    yield from _numbered(rows)
