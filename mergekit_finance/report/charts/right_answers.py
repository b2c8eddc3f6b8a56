"""Answer sheets: items by models, one panel for each task. Neighboring items with one mark are one box."""

from itertools import groupby

from mergekit_finance.errors import counted
from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import Chart, LegendEntry, Panel, names_width
from mergekit_finance.report.charts.svg import WIDTH, add, drawing, markup, swatch, value, write
from mergekit_finance.report.figures.sheets import RIGHT_IN_UNION, UNION, WRONG, answer_sheet
from mergekit_finance.study.results import StudyResults

ROW = 14.0


def draw(results: StudyResults) -> Chart:
    """Draw the answer sheet of every task."""
    return Chart(
        "answer-sheets",
        "Answer sheets",
        "One column per reported item, one row per model. Items are sorted by which of the base and the "
        f"experts are right. Where the row “{UNION}” is empty and the row of a merge is not, the merge "
        "answers an item right that neither the base nor an expert does.",
        [_panel(results, task) for task in results.task_names],
        [
            LegendEntry(swatch("c-right", "square"), "right"),
            LegendEntry(swatch("c-union", "square"), f"right by {UNION}"),
        ],
        is_folded=True,
    )


def _panel(results: StudyResults, task: str) -> Panel:
    sheet = answer_sheet(results, task).tolist()
    merges = [labels.combination(results.summary.points[name].combination) for name in results.chosen]
    names = [*results.singles, UNION, *merges]
    items, left = len(sheet[0]), names_width(names) + 6
    scale = (WIDTH - left) / max(items, 1)
    title = f"{labels.task_name(task)} ({counted(items, 'item')})"
    picture = drawing(ROW * len(sheet) + 4, f"{title}: right answers by model")
    for place, (name, marks) in enumerate(zip(names, sheet, strict=True)):
        y = ROW * place + 2
        write(picture, left - 6, y + 11, name, "end", left - 6)
        row = add(picture, "g", "")
        add(row, "rect", "wrong", x=left, y=y + 1, width=WIDTH - left, height=ROW - 2)
        start = 0
        for mark, run in groupby(marks):
            length = len(list(run))
            if mark != WRONG:
                style = "c-union" if mark == RIGHT_IN_UNION else "c-right"
                x, width = left + start * scale, length * scale
                add(row, "rect", f"bar {style}", x=x, y=y + 1, width=width, height=ROW - 2)
            start += length
        value(row, f"{name}: {sum(mark != WRONG for mark in marks)} of {items} right")
    return Panel(title, markup(picture))
