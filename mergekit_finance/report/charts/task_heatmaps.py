"""Gain and OG of the selected points by task: one panel for each combination, centered at zero."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import Chart, LegendEntry, Panel
from mergekit_finance.report.charts.svg import add, both_ends, drawing, markup, swatch, value, write
from mergekit_finance.study.analysis.phrases import chosen_by, in_points, interval
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Interval

NAMES, CELL, ROW, HEAD = 122.0, 36.0, 17.0, 34.0
POINTS = 3  # in a panel
LEVELS = 5  # classes h-5 to h5
SHARE = 0.97  # of the cells: the largest others have the color of the last level
MACRO = "macro"


def draw(results: StudyResults) -> Chart:
    """Draw a panel for each combination, or several if it has more than POINTS operators."""
    limit = _limit(results)
    panels = []
    for combination in results.combinations:
        experts = combination.split("+")
        names = [name for name in results.selected if results.summary.points[name].combination == experts]
        for start in range(0, len(names), POINTS):
            panels.append(_panel(results, labels.combination(experts), names[start : start + POINTS], limit))
    return Chart(
        "gain-and-og",
        "Gain and Outperform Gap, task by task",
        "In points of 100. Gain compares with the mean of the constituents, OG with the best constituent of "
        "each task. A frame marks a cell whose 95 % interval lies on one side of 0. Every combination at the "
        f"hyperparameters {chosen_by(results.summary.selection)}, operator by operator.",
        panels,
        [
            LegendEntry(swatch(f"h{-LEVELS}", "square"), "worse"),
            LegendEntry(swatch(f"h{LEVELS}", "square"), "better"),
        ],
    )


def _rows(results: StudyResults, name: str) -> list[tuple[str, str, Interval, Interval]]:
    """Return (task, group, Gain, OG) of a point: the macro average, then every task."""
    effects = results.summary.selected[name]
    macro = effects.sets[MACRO]
    rows = [(MACRO, "", macro.gain, macro.og)]
    for task in results.task_names:
        row = effects.tasks[task]
        rows.append(
            (labels.task_name(task), labels.task_group(results.summary.tasks[task]), row.gain, row.og)
        )
    return rows


def _limit(results: StudyResults) -> float:
    """Return the difference that has the strongest color; SHARE of the cells are smaller."""
    rows = [row for name in results.selected for row in _rows(results, name)]
    sizes = sorted(abs(numbers.value) for _, _, *pair in rows for numbers in pair)
    return max(0.05, sizes[int(SHARE * (len(sizes) - 1))])


def _panel(results: StudyResults, title: str, names: Sequence[str], limit: float) -> Panel:
    columns = [_rows(results, name) for name in names]
    groups = [group for _, group, _, _ in columns[0]]
    breaks = [0.0]
    for before, after in zip(groups, groups[1:], strict=False):  # a gap between groups of tasks
        breaks.append(breaks[-1] + (5.0 if before != after else 0.0))
    picture = drawing(HEAD + ROW * len(groups) + breaks[-1] + 4, f"{title}: Gain and OG by task")
    for column, name in enumerate(names):
        x = NAMES + 2 * column * CELL
        operator = labels.operator_name(results.summary.points[name].operator, short=True)
        write(picture, x + CELL, 12, both_ends(operator, 2 * CELL), "middle strong", 2 * CELL)
        for place, word in enumerate(("Gain", "OG")):
            write(picture, x + (place + 0.5) * CELL, 28, word, "middle quiet")
        point = labels.operator_and_values(results.summary.points[name])
        for row, (task, _, gain, og) in enumerate(columns[column]):
            y = HEAD + ROW * row + breaks[row]
            if column == 0:
                write(picture, NAMES - 6, y + 12.5, task, "end strong" if task == MACRO else "end", NAMES - 6)
            for place, (word, numbers) in enumerate((("Gain", gain), ("OG", og))):
                cell = add(picture, "g", f"cell h{_level(numbers.value, limit)}")
                _cell(cell, x + place * CELL, y, numbers)
                value(cell, f"{task}, {point}: {word} {interval(numbers, sign=True)}")
    return Panel(title, markup(picture))


def _level(number: float, limit: float) -> int:
    return max(-LEVELS, min(LEVELS, round(LEVELS * number / limit)))


def _cell(cell: Element, x: float, y: float, numbers: Interval) -> None:
    add(cell, "rect", "", x=x + 0.5, y=y + 0.5, width=CELL - 1, height=ROW - 1)
    if numbers.side != "unclear":
        add(cell, "rect", "frame", x=x + 3, y=y + 2, width=CELL - 6, height=ROW - 4)
    write(cell, x + CELL / 2, y + 12.5, in_points(numbers.value, sign=True, digits=0), "middle")
