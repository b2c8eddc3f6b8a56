"""Tables as lines of text for a terminal."""

import textwrap
from collections.abc import Sequence

INDENT = " " * 7


def table_lines(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Return one line per row, with columns of equal width.

    Args:
        rows: the header, then the rows.
        width: columns of the terminal. If the table is wider, the last columns follow below each row, with
            their names.
    """
    lines = _aligned(rows)
    if width is None or max(map(len, lines)) <= width:
        return lines
    kept = len(rows[0])
    while kept > 1 and max(map(len, _aligned([row[:kept] for row in rows]))) > width:
        kept -= 1
    first, *others = _aligned([row[:kept] for row in rows])
    names = rows[0][kept:]
    lines = [first]
    for line, row in zip(others, rows[1:], strict=True):
        rest = "; ".join(f"{name} {cell}" for name, cell in zip(names, row[kept:], strict=True) if cell)
        lines += [line, *textwrap.wrap(rest, width, initial_indent=INDENT, subsequent_indent=INDENT)]
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
