"""Tables as Markdown, aligned so that they can also be read as plain text."""

from collections.abc import Sequence
from itertools import groupby

from mergekit_finance.study.analysis.text_tables import table_lines


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first row is the header. The first column is left-aligned, others right.

    Cells are not escaped: they must contain neither `|` nor line breaks.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def fitted_tables(text: str, width: int | None) -> str:
    """Return a text whose Markdown tables that are wider than a terminal are tables of plain text.

    Args:
        text: with tables of `markdown_table`.
        width: columns of the terminal; None: no terminal, and the text stays as it is.
    """
    if width is None:
        return text
    lines: list[str] = []
    for is_table, block in groupby(text.split("\n"), lambda line: line.startswith("|")):
        rows = list(block)
        if is_table and max(map(len, rows)) > width:
            head, _, *others = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
            rows = table_lines([head, *others], width)
        lines += rows
    return "\n".join(lines)
