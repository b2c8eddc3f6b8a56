"""Figure 6: what of the base's general knowledge is kept, against what the merge gains in its domain."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mergekit_finance.report import labels
from mergekit_finance.report.figures.curves import present
from mergekit_finance.report.figures.style import INK, OPERATOR, QUIET, Drawn, canvas, expert_colours
from mergekit_finance.report.stored import Stored

NAME = "6-retention"
ACROSS = 4


def draw(stored: Stored) -> Drawn | None:
    kept = list(stored.combinations)
    measured = [*stored.summary["models"].values(), *stored.points.values()]
    if not all(model.get("retention") for model in measured):
        return None
    down = math.ceil(len(kept) / ACROSS)
    figure = canvas(3.15 * min(ACROSS, max(2, len(kept))), 0.7 + 3.0 * down)
    grid = figure.subplots(down, min(ACROSS, max(2, len(kept))), squeeze=False, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place < len(kept):
            _panel(axes, stored, kept[place])
        else:
            axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel("retention score, points")
    figure.supxlabel("in-domain gain over the base, points", fontsize=9)
    _legend(figure, stored)
    return Drawn(
        NAME,
        "Retention against in-domain gain",
        f"Across: mean score over the tasks of a combination's skills{_fallback(stored)}, less the base's. "
        f"Up: score on the general tasks. A line is an operator's grid, the ringed mark what {stored.picked},"
        " with its 95% interval of retention; letters are base and experts. Up and right is better.",
        "Scatter plots of retention against in-domain gain, one a combination",
        figure,
    )


def _fallback(stored: Stored) -> str:
    """A study may have no task of a skill: its panel says `macro`."""
    without = any(stored.tested(c)[0] == "macro" for c in stored.combinations)
    return " (of all tasks where a panel says macro, for it has none of its skills)" if without else ""


def in_domain(stored: Stored, name: str, tasks: list[str]) -> float:
    """Mean over tasks of a model's score, less the base's, in points."""
    own, base = stored.measured(name)["scores"], stored.measured("base")["scores"]
    return 100 * float(np.mean([own[task] - base[task] for task in tasks]))


def _panel(axes: Axes, stored: Stored, combination: str) -> None:
    name, tested = stored.tested(combination)
    tasks = tested["tasks"]
    axes.grid()
    axes.set_axisbelow(True)
    axes.margins(0.12)
    axes.axvline(0, color=QUIET, lw=0.8)
    title = labels.clipped(labels.combination(combination.split("+")), 30)
    axes.set_title(f"{title} (macro)" if name == "macro" else title, fontsize=8.8)
    for operator in present(stored):
        _line(axes, stored, combination, operator, tasks)
    _selected(axes, stored, stored.combinations[combination]["selected"], tasks)
    _models(axes, stored, ["base", *combination.split("+")], tasks)


def _line(axes: Axes, stored: Stored, combination: str, operator: str, tasks: list[str]) -> None:
    names = [
        name
        for name, point in stored.points.items()
        if "+".join(point["combination"]) == combination and point["operator"] == operator
    ]
    names.sort(key=lambda name: [(k != "seed", v) for k, v in sorted(stored.points[name]["values"].items())])
    x = [in_domain(stored, name, tasks) for name in names]
    y = [100 * stored.points[name]["retention"][0] for name in names]
    style = "-" if joined(stored, operator) else ""
    axes.plot(x, y, marker="o", ms=3.4, lw=0.9, ls=style, color=OPERATOR.get(operator, INK), alpha=0.75)


def joined(stored: Stored, operator: str) -> bool:
    """Whether its points form a line: those of several seeds do not."""
    own = [point["values"] for point in stored.points.values() if point["operator"] == operator]
    return all("seed" not in values for values in own)


def _selected(axes: Axes, stored: Stored, name: str, tasks: list[str]) -> None:
    x = in_domain(stored, name, tasks)
    value, low, high = (100 * number for number in stored.points[name]["retention"])
    axes.plot([x, x], [low, high], color=INK, lw=1)
    axes.plot(x, value, "o", ms=10, mfc="none", mec=INK, mew=1.4)


def _models(axes: Axes, stored: Stored, names: list[str], tasks: list[str]) -> None:
    colours, letters = expert_colours(stored.singles), labels.initials(stored.singles)
    for name in names:
        if name not in stored.summary["models"]:
            continue
        place = (in_domain(stored, name, tasks), 100 * stored.measured(name)["retention"][0])
        axes.plot(*place, "o", ms=12, color=colours[name], mec="white", zorder=4)
        one = letters[name] if len(letters[name]) == 1 else name[:1]
        axes.annotate(
            one,
            place,
            ha="center",
            va="center_baseline",
            fontsize=7.5,
            weight="bold",
            color="white",
            zorder=5,
        )


def _legend(figure: Figure, stored: Stored) -> None:
    colours = expert_colours(stored.singles)
    handles: list[Any] = [
        Line2D([], [], marker="o", ms=4, ls=ls, color=OPERATOR.get(o, INK), label=labels.operator(o))
        for o in present(stored)
        for ls in ["-" if joined(stored, o) else ""]
    ]
    handles += [
        Line2D([], [], ls="", marker="o", ms=9, color=colours[name], label=labels.clipped(name, 24))
        for name in stored.singles
    ]
    handles.append(Line2D([], [], ls="", marker="o", ms=9, mfc="none", mec=INK, label="selected"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(8, len(handles)))
