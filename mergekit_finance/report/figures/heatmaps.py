"""Figure 2: Gain and OG of the selected points on every task, as heatmaps centered at zero."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import INK, QUIET, Drawn, canvas, hide_frame, laid_out
from mergekit_finance.study.analysis.phrases import chosen_by
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import TaskResult

NAME = "2-gain-and-og"
Gap = Literal["gain", "og"]
MEASURES: dict[Gap, str] = {
    "gain": "Gain: against the mean of the constituents",
    "og": "OG: against the best constituent of each task",
}
MACRO = "macro"
COLOR_MAP = "RdBu"
ScoreGrid = npt.NDArray[np.float64]


class Group(NamedTuple):
    """Neighboring columns of one group of tasks."""

    first: int
    last: int
    name: str


def draw(results: StudyResults) -> Drawn:
    """Draw the two heatmaps."""
    columns = [MACRO, *results.task_names]
    panel_height = 0.235 * len(results.selected) + 0.3
    figure = canvas(max(9.0, 3.4 + 0.37 * len(columns)), 2 * panel_height + 2.6)
    cells = {measure: _cells(results, columns, measure) for measure in MEASURES}
    norm = _norm(list(cells.values()))
    panels = figure.subplots(2, 1, sharex=True)
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        _panel(axes, results, columns, cells[measure], norm)
        axes.set_title(title, pad=26 if axes is panels[0] else 8)
    _group_names(panels[0], results, columns)
    _color_bar(figure, panels, norm)
    laid_out(figure)  # before the numbers in the cells, which are many and do not affect the layout
    for axes, measure in zip(panels, MEASURES, strict=True):
        _numbers(axes, cells[measure], norm)
    return Drawn(
        NAME,
        "Gain and Outperform Gap, task by task",
        "In points of 100. Blue: the merge is better; red: worse. A frame marks a cell whose 95 % interval "
        "lies on one side of 0. Every combination at the hyperparameters "
        f"{chosen_by(results.summary.selection)}, operator by operator.{_initials_note(results)}",
        "Two heatmaps of Gain and Outperform Gap, selected merges by tasks",
        figure,
        shaded=True,
    )


def _cells(results: StudyResults, columns: Sequence[str], measure: Gap) -> ScoreGrid:
    """Return (points, columns, 3): value, low and high of each cell."""
    rows = []
    for name in results.selected:
        effects = results.summary.selected[name]
        parts = [effects.sets[MACRO] if column == MACRO else effects.tasks[column] for column in columns]
        rows.append([part.gain if measure == "gain" else part.og for part in parts])
    return np.array(rows, dtype=float)


def _norm(panels: Sequence[ScoreGrid]) -> Normalize:
    """Return a symmetric color scale that clips the largest 3 % of the cells."""
    sizes = np.abs(np.concatenate([cells[..., 0].ravel() for cells in panels]))
    limit = 100 * max(0.05, float(np.quantile(sizes, 0.97)))
    return Normalize(-limit, limit)


def _panel(
    axes: Axes, results: StudyResults, columns: Sequence[str], cells: ScoreGrid, norm: Normalize
) -> None:
    hide_frame(axes)
    axes.imshow(100 * cells[..., 0], cmap=COLOR_MAP, norm=norm, aspect="auto")
    names = [labels.clipped(labels.point_name(results.summary.points[name]), 64) for name in results.selected]
    axes.set_yticks(range(len(names)), names, fontsize=7.8)
    axes.set_xticks(range(len(columns)), [labels.clipped(labels.task_name(c), 22) for c in columns])
    axes.tick_params(axis="x", rotation=90, labelbottom=True)
    for group in _groups(results, columns)[1:]:  # white lines between groups of tasks and combinations
        axes.axvline(group.first - 0.5, color="white", lw=3.5)
    combinations = [results.summary.points[name].combination for name in results.selected]
    for y in range(1, len(combinations)):
        if combinations[y] != combinations[y - 1]:
            axes.axhline(y - 0.5, color="white", lw=3.5)


def _numbers(axes: Axes, cells: ScoreGrid, norm: Normalize) -> None:
    """Write the values into the cells, and frame those whose interval lies on one side of 0."""
    inks = text_colors(100 * cells[..., 0], norm)
    for (y, x), value in np.ndenumerate(100 * cells[..., 0]):
        text = f"{value:+.0f}" if abs(value) >= 0.5 else "0"
        axes.text(x, y, text, ha="center", va="center", fontsize=6.8, color=inks[y, x])
    significant = np.argwhere((cells[..., 1] > 0) | (cells[..., 2] < 0))
    frames = [Rectangle((x - 0.38, y - 0.36), 0.76, 0.72) for y, x in significant]
    colors = [inks[y, x] for y, x in significant]
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=colors, lw=1.1, zorder=3))


def text_colors(values: ScoreGrid, norm: Normalize) -> npt.NDArray[np.str_]:
    """Return white or ink for each cell, whichever contrasts more with its color (WCAG luminance)."""
    channels = colormaps[COLOR_MAP](norm(values))[..., :3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return np.where(linear @ np.array([0.2126, 0.7152, 0.0722]) < 0.18, "white", INK)


def _groups(results: StudyResults, columns: Sequence[str]) -> list[Group]:
    names = ["" if column == MACRO else _group_name(results, column) for column in columns]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    ends = [*starts[1:], len(names)]
    return [Group(start, end - 1, names[start]) for start, end in zip(starts, ends, strict=True)]


def _group_name(results: StudyResults, task: str) -> str:
    """Return `finance`, or `F+M` for several skills, whose full names do not fit."""
    info = results.summary.tasks[task]
    if _is_abbreviated(info):
        return "+".join(_skill_initials(results)[skill] for skill in info.skills)
    return labels.task_group(info)


def _is_abbreviated(task: TaskResult) -> bool:
    return task.kind == "tasks" and len(task.skills) > 1


def _skill_initials(results: StudyResults) -> dict[str, str]:
    """Return the initial of every skill that occurs in an abbreviated group name."""
    tasks = [task for task in results.summary.tasks.values() if _is_abbreviated(task)]
    return labels.initials(sorted({skill for task in tasks for skill in task.skills}))


def _initials_note(results: StudyResults) -> str:
    """Return the caption's key to abbreviated group names."""
    pairs = [f"{letter} is {name}" for name, letter in _skill_initials(results).items() if letter != name]
    return f" Over the cells: {', '.join(pairs)}." if pairs else ""


def _group_names(axes: Axes, results: StudyResults, columns: Sequence[str]) -> None:
    """Write above the first panel which skills the tasks below need."""
    transform = axes.get_xaxis_transform()
    for first, last, name in _groups(results, columns):
        text = labels.clipped(name, max(6, 6 * (last - first + 1)))
        center = (first + last) / 2
        axes.text(center, 1.015, text, transform=transform, ha="center", fontsize=7.6, color=QUIET)


def _color_bar(figure: Figure, panels: Sequence[Axes], norm: Normalize) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, COLOR_MAP),
        ax=panels,
        orientation="horizontal",
        shrink=0.3,
        pad=0.01,
        aspect=34,
        extend="both",
    )
    bar.set_label("points; red: worse, blue: better", fontsize=8)
