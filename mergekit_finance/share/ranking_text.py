"""A ranking as text: for a terminal of 80 columns, and as Markdown, CSV, JSON or an HTML page."""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape

from mergekit_finance.report import labels
from mergekit_finance.report.table_files import csv_text, markdown_text
from mergekit_finance.report.tables import Cell, Table, interval_cell, number_cell, text_cell
from mergekit_finance.share.ranking import Ranking, Row
from mergekit_finance.study.analysis.phrases import in_points, interval, task_list

WIDTH = 80
SHORTEST_NAME = 12
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8886; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
</style></head><body>
"""


def table(ranking: Ranking) -> Table:
    """Return the ranking as a table with a column for every task."""
    columns = ["rank", "model", "how", "from", "mean", "minus the first"]
    columns += ["retention"] if ranking.retention else []
    columns += map(labels.task_name, ranking.tasks)
    return Table(
        "ranking", "Leaderboard", note(ranking), columns, [_cells(row, ranking) for row in ranking.rows]
    )


def note(ranking: Ranking) -> str:
    """Return what the numbers are."""
    return (
        f"Scores in points of 100, with 95 % intervals; mean over {len(ranking.tasks)} "
        f"{'task' if len(ranking.tasks) == 1 else 'tasks'} ({task_list(ranking.tasks)}). Differences from "
        "the first model are paired by items."
    )


def _cells(row: Row, ranking: Ranking) -> list[Cell]:
    cells = [
        number_cell(row.rank, 0),
        text_cell(row.name),
        text_cell(row.how),
        text_cell(", ".join(row.sources)),
        interval_cell(row.macro),
        interval_cell(row.below_first, sign=True),
    ]
    if ranking.retention:
        cells.append(interval_cell(row.retention))
    return cells + [number_cell(row.scores[task], 1, 100) for task in ranking.tasks]


def terminal_text(ranking: Ranking) -> str:
    """Return a table of at most 80 columns, and notes below it. Sources are numbered."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(s for r in ranking.rows for s in r.sources), 1)}
    head = ["#", "from", "mean [95 %]", "minus the first"]
    head += ["ret."] if ranking.retention else []
    rows = [_terminal_cells(row, numbers) for row in ranking.rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for_names = max(SHORTEST_NAME, WIDTH - sum(widths) - 2 * len(widths))
    names = [labels.clipped(_title(row), for_names) for row in ranking.rows]
    lines = []
    for name, cells in zip(["model", *names], [head, *rows], strict=True):
        first, *others = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([first, name.ljust(min(for_names, max(map(len, names)))), *others]).rstrip())
    lines += ["", *(f"{number}: {name}" for name, number in numbers.items()), ""]
    retention = ["ret.: mean over the retention tasks."] if ranking.retention else []
    for text in (note(ranking), *retention, *ranking.notes):
        lines += textwrap.wrap(text, WIDTH)
    return "\n".join(lines)


def _title(row: Row) -> str:
    return row.name if row.how == "not merged" else f"{row.name} · {row.how}"


def _terminal_cells(row: Row, numbers: Mapping[str, int]) -> list[str]:
    cells = [
        str(row.rank),
        ",".join(str(numbers[name]) for name in row.sources),
        interval(row.macro),
        interval(row.below_first, sign=True) if row.below_first else "",
    ]
    return cells + ([in_points(row.retention.value)] if row.retention else [])


def markdown(ranking: Ranking) -> str:
    """Return a Markdown table with its notes."""
    return "\n".join([markdown_text(table(ranking)), *_paragraphs(ranking)])


def _paragraphs(ranking: Ranking) -> list[str]:
    refused = [f"Not ranked: {name}: {why}." for name, why in ranking.refused.items()]
    return [f"{line}\n" for line in (note(ranking), *ranking.notes, *refused)]


def html(ranking: Ranking) -> str:
    """Return one HTML page without scripts. All text from results is escaped."""
    shown = table(ranking)
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in shown.columns)
    body = "\n".join(f"<tr>{_html_row(row)}</tr>" for row in shown.rows)
    notes = "\n".join(f"<p>{escape(line.strip())}</p>" for line in _paragraphs(ranking))
    return (
        f"{HEAD}<h1>Leaderboard</h1>\n<div tabindex=0><table>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>\n{notes}\n</body></html>\n"
    )


def _html_row(row: Sequence[Cell]) -> str:
    cells = (("number" if "number" in cell.style else "text", escape(cell.text)) for cell in row)
    return "".join(f'<td class="{kind}">{text}</td>' for kind, text in cells)


def json_text(ranking: Ranking) -> str:
    """Return the ranking as JSON, scores as fractions of 1."""
    return json.dumps(ranking.as_json(), indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Ranking], str]] = {
    "text": lambda ranking: terminal_text(ranking) + "\n",
    "markdown": markdown,
    "csv": lambda ranking: csv_text(table(ranking)),
    "json": json_text,
    "html": html,
}
ENDINGS = {".txt": "text", ".md": "markdown", ".csv": "csv", ".json": "json", ".html": "html"}
