"""Tables as files for papers and spreadsheets: CSV, LaTeX (booktabs) and Markdown."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from mergekit_finance.report import leaderboard, tables
from mergekit_finance.report.imported_table import imported_tables
from mergekit_finance.report.markdown import markdown_table
from mergekit_finance.report.tables import Cell, Table
from mergekit_finance.report.time_bar import time_bar
from mergekit_finance.study.results import StudyResults

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "λ": r"$\lambda$",
    "▲": r"$\uparrow$", "▼": r"$\downarrow$", **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}  # fmt: skip

CsvKind = Literal["one", "interval", "flips"]
CSV_COLUMNS: Mapping[CsvKind, tuple[str, ...]] = {  # what is added to the name of a column
    "one": ("",),
    "interval": ("", " low", " high"),
    "flips": (" became right", " became wrong"),
}


def table_files(results: StudyResults, formats: Sequence[str]) -> dict[str, bytes]:
    """Return the content of every table of the report in some formats, by its path in OUT.

    Args:
        results: a finished study.
        formats: names from `FORMATS`.
    """
    selected = (leaderboard.leaderboard, leaderboard.effects, leaderboard.scores_by_task)
    shown = [
        *(table(results) for table in selected if results.summary.has_selection),
        *tables.tables(results),
        *imported_tables(results),
        *([bar.table] if (bar := time_bar(results)) else []),
    ]
    return {
        f"tables/{table.name}.{ENDINGS[name]}": FORMATS[name](table).encode()
        for name in formats
        for table in shown
    }


def csv_text(table: Table) -> str:
    """Return a table as CSV: exact numbers; the ends of intervals and both counts of flips in own columns.

    Scores and differences are fractions of 1, not points of 100.
    """
    kinds = [_kind([row[column] for row in table.rows]) for column in range(len(table.columns))]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        name
        for column, kind in zip(table.columns, kinds, strict=True)
        for name in (f"{column}{ending}" for ending in CSV_COLUMNS[kind])
    )
    writer.writerows(list(_csv_row(row, kinds)) for row in table.rows)
    return file.getvalue()


def _kind(cells: Sequence[Cell]) -> CsvKind:
    """Return what the cells of a column hold."""
    if any(cell.ends for cell in cells):
        return "interval"
    return "flips" if any(cell.flips for cell in cells) else "one"


def _csv_row(row: Sequence[Cell], kinds: Sequence[CsvKind]) -> Iterator[str | float | None]:
    for cell, kind in zip(row, kinds, strict=True):
        if kind == "flips":
            yield from cell.flips or (None, None)
            continue
        yield cell.order if "number" in cell.style.split() else _plain(cell.text)
        if kind == "interval":
            yield from cell.ends or (None, None)


def _plain(text: str) -> str:
    """Return text that spreadsheets do not run as a formula: names of models are not ours."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def latex_text(table: Table) -> str:
    """Return a table as a LaTeX `tabular` for the package booktabs, as the page shows it."""
    right = ["number" in cell.style.split() for cell in table.rows[-1]] if table.rows else []
    alignment = "".join("r" if number else "l" for number in right) or "l" * len(table.columns)
    lines = [
        rf"\begin{{tabular}}{{{alignment}}}", r"\toprule",
        _latex_row(map(_latex, table.columns)), r"\midrule",
        *(_latex_row(map(_latex_cell, row)) for row in table.rows),
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_row(texts: Iterator[str]) -> str:
    return " & ".join(texts) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    return rf"\textbf{{{text}}}" if "best" in cell.style.split() else text


def _latex(text: str) -> str:
    """Return text with the characters that LaTeX treats specially escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def markdown_text(table: Table) -> str:
    """Return a table in Markdown, as the page shows it."""
    rows = [table.columns, *([cell.text for cell in row] for row in table.rows)]
    return markdown_table([[text.replace("|", r"\|") for text in row] for row in rows]) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "csv": csv_text, "latex": latex_text, "markdown": markdown_text,
}  # fmt: skip
ENDINGS = {"csv": "csv", "latex": "tex", "markdown": "md"}
