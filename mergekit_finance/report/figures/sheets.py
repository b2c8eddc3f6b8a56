"""Figure 3: answer sheets: items by models, blue right, white wrong."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import BLUE, FAINT, ORANGE, QUIET, Drawn, canvas
from mergekit_finance.report.stored import Stored

NAME = "3-answer-sheets"
ACROSS = 3
UNION = "any of these"


def draw(stored: Stored) -> Drawn:
    tasks = stored.tasks
    down = math.ceil(len(tasks) / ACROSS)
    rows = len(stored.singles) + 1 + len(stored.chosen)
    figure = canvas(12.5, down * (0.125 * rows + 0.5) + 0.2)
    grid = figure.subplots(down, ACROSS, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(tasks):
            _panel(axes, stored, tasks[place], named=place % ACROSS == 0)
        else:
            axes.set_axis_off()
    return Drawn(
        NAME,
        "Answer sheets",
        "One column a reported item, one row a model: blue right, white wrong. Columns are "
        "sorted by who of base and experts is right; the orange row is their union, what at least one gets "
        "right. Blue below a white stretch of the orange row is an item that only a merge gets right.",
        "Grids of right and wrong answers, items by models, one grid a task",
        figure,
    )


def grid(stored: Stored, task: str) -> np.ndarray:
    """(models, items): 0 wrong, 1 right, 2 right in the union; columns in the order that is drawn."""
    kept = ~np.array(stored.chooses(task), dtype=bool)
    singles = np.array([stored.right(name, task) for name in stored.singles], dtype=int)[:, kept]
    merges = np.array([stored.right(name, task) for name in stored.chosen], dtype=int)[:, kept]
    order = column_order(singles, merges)
    union = 2 * singles.max(axis=0, keepdims=True)
    return np.concatenate([singles, union, merges.reshape(-1, kept.sum())])[:, order]


def column_order(singles: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """By which experts are right (base last), so that blocks form; then by how many merges are."""
    keys = [-merges.sum(axis=0), -singles[0], *(-row for row in singles[:0:-1])]
    return np.lexsort(keys)


def _panel(axes: Axes, stored: Stored, task: str, named: bool) -> None:
    cells = grid(stored, task)
    colours = ListedColormap(["white", BLUE, ORANGE])
    axes.imshow(cells, cmap=colours, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    axes.set_title(f"{labels.clipped(labels.task(task), 34)}  ({cells.shape[1]})", fontsize=8.5)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.7)
    ends = (-0.5, cells.shape[1] - 0.5)
    singles = len(stored.singles)
    axes.hlines(np.arange(1, len(cells)) - 0.5, *ends, color=FAINT, lw=0.5)
    axes.hlines([singles - 0.5, singles + 0.5], *ends, color=QUIET, lw=1)
    if named:
        axes.set_yticks(range(len(cells)), _names(stored), fontsize=6.8)
    else:
        axes.set_yticks([])


def _names(stored: Stored) -> list[str]:
    merges = [labels.combination(stored.points[name]["combination"]) for name in stored.chosen]
    return [labels.clipped(name, 30) for name in [*stored.singles, UNION, *merges]]
