"""Figure 2: Gain and OG, selected points by tasks, diverging around nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import INK, QUIET, Drawn, bare, canvas, laid_out
from mergekit_finance.report.stored import Stored

NAME = "2-gain-and-og"
MEASURES = {"gain": "Gain: against the mean of the merged models", "og": "OG: against the best of them"}
MACRO = "macro"
SHADES = "RdBu"


def draw(stored: Stored) -> Drawn:
    columns = [MACRO, *stored.tasks]
    rows = 0.235 * len(stored.selected) + 0.3
    figure = canvas(max(9.0, 3.4 + 0.37 * len(columns)), 2 * rows + 2.6)
    found = {key: _cells(stored, columns, key) for key in MEASURES}
    norm = _norm(found)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, (key, title) in zip(panels, MEASURES.items(), strict=True):
        _panel(axes, stored, columns, found[key], norm)
        axes.set_title(title, pad=26 if axes is panels[0] else 8)
    _groups(panels[0], stored, columns)
    _bar(figure, panels, norm)
    laid_out(figure)  # before the numbers, which are many and need no place of their own
    for axes, key in zip(panels, MEASURES, strict=True):
        _numbers(axes, found[key], norm)
    return Drawn(
        NAME,
        "Gain and Outperform Gap, task by task",
        "Points of a hundred; blue: the merge is better, red: worse. A frame marks a cell whose 95% interval "
        f"lies on one side of 0. Every combination at the hyperparameters that {stored.picked}, "
        f"operator by operator.{_letters(stored)}",
        "Two heatmaps of Gain and Outperform Gap, selected merges by tasks",
        figure,
        shaded=True,
    )


def _cells(stored: Stored, columns: list[str], key: str) -> np.ndarray:
    """(points, columns, 3): value, low, high."""
    rows = [stored.summary["selected"][name] for name in stored.selected]
    return np.array([[_cell(row, column)[key] for column in columns] for row in rows], dtype=float)


def _cell(row: dict[str, Any], column: str) -> dict[str, Any]:
    return row["sets"]["macro"] if column == MACRO else row["tasks"][column]


def _norm(found: dict[str, np.ndarray]) -> Normalize:
    sizes = np.abs(np.concatenate([cells[..., 0].ravel() for cells in found.values()]))
    most = max(0.05, float(np.quantile(sizes, 0.97)))
    return Normalize(-100 * most, 100 * most)


def _panel(axes: Axes, stored: Stored, columns: list[str], cells: np.ndarray, norm: Normalize) -> None:
    bare(axes)
    axes.imshow(100 * cells[..., 0], cmap=SHADES, norm=norm, aspect="auto")
    names = [labels.clipped(labels.point(stored.points[name]), 64) for name in stored.selected]
    axes.set_yticks(range(len(names)), names, fontsize=7.8)
    axes.set_xticks(range(len(columns)), [labels.clipped(labels.task(c), 22) for c in columns])
    axes.tick_params(axis="x", rotation=90, labelbottom=True)
    _rules(axes, stored, columns)


def _numbers(axes: Axes, cells: np.ndarray, norm: Normalize) -> None:
    """What is in the cells, and a frame where the interval is on one side of nothing."""
    inks = _readable(100 * cells[..., 0], norm)
    for (y, x), value in np.ndenumerate(100 * cells[..., 0]):
        axes.text(x, y, _signed(value), ha="center", va="center", fontsize=6.8, color=inks[y, x])
    clear = np.argwhere((cells[..., 1] > 0) | (cells[..., 2] < 0))
    frames = [Rectangle((x - 0.38, y - 0.36), 0.76, 0.72) for y, x in clear]
    colours = [inks[y, x] for y, x in clear]
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=colours, lw=1.1, zorder=3))


def _readable(values: np.ndarray, norm: Normalize) -> np.ndarray:
    """White or ink on each cell, whichever stands out more: by the cell's luminance, as WCAG counts it."""
    channels = colormaps[SHADES](norm(values))[..., :3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return np.where(linear @ np.array([0.2126, 0.7152, 0.0722]) < 0.18, "white", INK)


def _signed(value: float) -> str:
    return f"{value:+.0f}" if abs(value) >= 0.5 else "0"


def _rules(axes: Axes, stored: Stored, columns: list[str]) -> None:
    """White rules between groups of tasks and between combinations."""
    for start, _, _ in _spans(stored, columns)[1:]:
        axes.axvline(start - 0.5, color="white", lw=3.5)
    combinations = [stored.points[name]["combination"] for name in stored.selected]
    for y in range(1, len(combinations)):
        if combinations[y] != combinations[y - 1]:
            axes.axhline(y - 0.5, color="white", lw=3.5)


def _spans(stored: Stored, columns: list[str]) -> list[tuple[int, int, str]]:
    """Runs of columns of one group: first, last, name."""
    named = ["" if c == MACRO else _short(stored, c) for c in columns]
    starts = [i for i, name in enumerate(named) if i == 0 or name != named[i - 1]]
    ends = [*starts[1:], len(named)]
    return [(start, end - 1, named[start]) for start, end in zip(starts, ends, strict=True)]


def _short(stored: Stored, task: str) -> str:
    """`finance`, `F+M`: names in full only where there is room."""
    known = stored.summary["tasks"][task]
    if _shortened(known):
        return "+".join(_initials(stored)[skill] for skill in known["skills"])
    return labels.skills(known)


def _shortened(known: Mapping[str, Any]) -> bool:
    return known["kind"] == "tasks" and len(known.get("skills") or []) > 1


def _initials(stored: Stored) -> dict[str, str]:
    """Of every skill that stands in a short name: the same letter wherever it does."""
    found = {s for known in stored.summary["tasks"].values() if _shortened(known) for s in known["skills"]}
    return labels.initials(sorted(found))


def _letters(stored: Stored) -> str:
    """What the short names over the cells stand for."""
    pairs = [f"{letter} is {name}" for name, letter in _initials(stored).items() if letter != name]
    return f" Over the cells: {', '.join(pairs)}." if pairs else ""


def _groups(axes: Axes, stored: Stored, columns: list[str]) -> None:
    """Over the first panel, which skills the tasks below need."""
    for first, last, name in _spans(stored, columns):
        text = labels.clipped(name, max(6, 6 * (last - first + 1)))
        across = axes.get_xaxis_transform()
        axes.text((first + last) / 2, 1.015, text, transform=across, ha="center", fontsize=7.6, color=QUIET)


def _bar(figure: Figure, panels: Any, norm: Normalize) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, SHADES),
        ax=panels,
        orientation="horizontal",
        shrink=0.3,
        pad=0.01,
        aspect=34,
        extend="both",
    )
    bar.set_label("points; red: worse, blue: better", fontsize=8)
