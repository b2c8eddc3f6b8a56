"""Figure 3: answer sheets. Items by models, blue is right, white is wrong."""

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import BLUE, FAINT, ORANGE, QUIET, Drawn, canvas
from mergekit_finance.study.results import StudyResults

NAME = "3-answer-sheets"
COLUMNS = 3
UNION = "any of these"
WRONG, RIGHT, RIGHT_IN_UNION = 0, 1, 2
IntArray = npt.NDArray[np.int_]


def draw(results: StudyResults) -> Drawn:
    """Draw one answer sheet for each task."""
    tasks = results.task_names
    rows = math.ceil(len(tasks) / COLUMNS)
    models = len(results.singles) + 1 + len(results.chosen)
    figure = canvas(12.5, rows * (0.125 * models + 0.5) + 0.2)
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(tasks):
            _panel(axes, results, tasks[place], shows_names=place % COLUMNS == 0)
        else:
            axes.set_axis_off()
    return Drawn(
        NAME,
        "Answer sheets",
        "One column per reported item, one row per model: blue is right, white is wrong. Columns are sorted "
        "by which of the base and the experts are right. The orange row is their union: items that at least "
        "one of them gets right. Blue below a white stretch of the orange row is an item that only a merge "
        "gets right.",
        "Grids of right and wrong answers, items by models, one grid per task",
        figure,
    )


def answer_sheet(results: StudyResults, task: str) -> IntArray:
    """Return (models, items) with WRONG, RIGHT or RIGHT_IN_UNION, columns in the order that is drawn.

    Rows are the base and the experts, their union, and the selected merge of every combination.
    """
    reported = ~np.array(results.is_selection_item(task), dtype=bool)
    singles = np.array([results.correct(name, task) for name in results.singles], dtype=int)[:, reported]
    merges = np.array([results.correct(name, task) for name in results.chosen], dtype=int)[:, reported]
    order = column_order(singles, merges)
    union = RIGHT_IN_UNION * singles.max(axis=0, keepdims=True)
    sheet: IntArray = np.concatenate([singles, union, merges.reshape(-1, reported.sum())])[:, order]
    return sheet


def column_order(singles: IntArray, merges: IntArray) -> IntArray:
    """Return the order of items: by which experts are right (the base last), then by how many merges are."""
    keys = [-merges.sum(axis=0), -singles[0], *(-row for row in singles[:0:-1])]
    return np.lexsort(keys)


def _panel(axes: Axes, results: StudyResults, task: str, shows_names: bool) -> None:
    sheet = answer_sheet(results, task)
    colors = ListedColormap(["white", BLUE, ORANGE])
    axes.imshow(sheet, cmap=colors, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    title = labels.clipped(labels.task_name(task), 34)
    axes.set_title(f"{title}  ({sheet.shape[1]})", fontsize=8.5)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.7)
    ends = (-0.5, sheet.shape[1] - 0.5)
    singles = len(results.singles)
    axes.hlines(np.arange(1, len(sheet)) - 0.5, *ends, color=FAINT, lw=0.5)
    axes.hlines([singles - 0.5, singles + 0.5], *ends, color=QUIET, lw=1)
    if shows_names:
        axes.set_yticks(range(len(sheet)), _row_names(results), fontsize=6.8)
    else:
        axes.set_yticks([])


def _row_names(results: StudyResults) -> list[str]:
    merges = [labels.combination(results.summary.points[name].combination) for name in results.chosen]
    return [labels.clipped(name, 30) for name in [*results.singles, UNION, *merges]]
