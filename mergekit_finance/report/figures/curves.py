"""Figure 4: score against λ or density, a row a combination, a column an operator."""

from collections import defaultdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import (
    INK,
    OPERATOR,
    QUIET,
    Drawn,
    canvas,
    expert_colours,
    expert_lines,
)
from mergekit_finance.report.stored import Stored

NAME = "4-hyperparameters"
MARKS = "os^Dv"
Group = dict[tuple[Any, ...], dict[float, list[Any]]]


def draw(stored: Stored) -> Drawn:
    return _curves(stored) if swept(stored) else _dots(stored)


def swept(stored: Stored) -> bool:
    """Whether any curve has more than one value on its axis."""
    groups = [grouped(stored, c, o) for c in stored.combinations for o in present(stored)]
    return any(len(curve) > 1 for group in groups for curve in group.values())


def _dots(stored: Stored) -> Drawn:
    """Of one value there is no curve: a line a combination, on one scale."""
    figure = canvas(7.8, 1.1 + 0.34 * len(stored.combinations))
    axes = figure.subplots()
    axes.grid(axis="x")
    for row, combination in enumerate(stored.combinations):
        _dots_of(axes, stored, combination, -row)
    names = [labels.clipped(labels.combination(c.split("+")), 30) for c in stored.combinations]
    axes.set_yticks([-row for row in range(len(names))], names, fontsize=8.2)
    axes.set_xlabel("macro score, points")
    _legend(figure, stored, marks=True)
    return Drawn(
        NAME,
        "Score of every combination",
        "Every grid has a single value, so there is no curve: macro score in points with its 95% interval; "
        f"ringed: the point that {stored.picked}. Strokes are the models that were merged.",
        "Dots of macro score with intervals, one row a combination",
        figure,
    )


def _dots_of(axes: Axes, stored: Stored, combination: str, row: float) -> None:
    known, colours = stored.combinations[combination], expert_colours(stored.singles)
    for parent in stored.points[known["selected"]]["constituents"]:
        x = 100 * stored.measured(parent)["macro"][0]
        axes.plot(x, row, "|", ms=13, mew=2.4, color=colours.get(parent, QUIET))
    own = [p for p in stored.points.values() if "+".join(p["combination"]) == combination]
    for place, point in enumerate(own):
        value, low, high = (100 * number for number in point["macro"])
        y, colour = row + 0.5 * ((place + 0.5) / len(own) - 0.5), OPERATOR.get(point["operator"], INK)
        axes.plot([low, high], [y, y], color=colour, lw=1.3, alpha=0.65)
        axes.plot(value, y, "o", ms=5, color=colour)
        if point is stored.points[known["selected"]]:
            axes.plot(value, y, "o", ms=10, mfc="none", mec=INK, mew=1.4)


def _curves(stored: Stored) -> Drawn:
    combinations, operators = list(stored.combinations), present(stored)
    figure = canvas(3.9 * max(2, len(operators)), 0.7 + 1.65 * len(combinations))
    grid = figure.subplots(len(combinations), len(operators), squeeze=False, sharey=True, sharex="col")
    for row, combination in enumerate(combinations):
        for column, operator in enumerate(operators):
            _panel(grid[row][column], stored, combination, operator)
            if row == 0:
                grid[row][column].set_title(f"{labels.operator(operator)}", fontsize=10)
            if row == len(combinations) - 1:
                grid[row][column].set_xlabel(axis_of(stored, operator).replace("lambda", "λ"))
        names = combination.split("+")
        grid[row][0].set_ylabel(labels.clipped(labels.combination(names), 26), fontsize=8.2)
    _legend(figure, stored)
    return Drawn(
        NAME,
        "Score against hyperparameter",
        f"Macro score in points with its 95% band; ringed: the point that {stored.picked}. "
        "Horizontal lines are the models that were merged. Several seeds are shown by their mean.",
        "Curves of macro score over the grid of every operator, by combination",
        figure,
    )


def present(stored: Stored) -> list[str]:
    found = {point["operator"] for point in stored.points.values()}
    return sorted(found, key=lambda o: (list(labels.OPERATORS).index(o) if o in labels.OPERATORS else 9, o))


def axis_of(stored: Stored, operator: str) -> str:
    """The hyperparameter with the most values: λ of Task Arithmetic, density of the others."""
    seen: dict[str, set[float]] = defaultdict(set)
    for point in stored.points.values():
        if point["operator"] == operator:
            for key, value in point["values"].items():
                seen[key].add(value)
    keys = [key for key in ("density", "lambda", *sorted(seen)) if key in seen]
    return max(keys, key=lambda key: (len(seen[key]) > 1 and key != "seed", -keys.index(key)))


def grouped(stored: Stored, combination: str, operator: str) -> Group:
    """Other values -> value on the axis -> [value, low, high] of every seed."""
    key, found = axis_of(stored, operator), {}
    for point in stored.points.values():
        if "+".join(point["combination"]) == combination and point["operator"] == operator:
            rest = tuple((k, v) for k, v in sorted(point["values"].items()) if k not in (key, "seed"))
            found.setdefault(rest, {}).setdefault(point["values"][key], []).append(point["macro"])
    return found


def _panel(axes: Axes, stored: Stored, combination: str, operator: str) -> None:
    colour, curves = OPERATOR.get(operator, INK), grouped(stored, combination, operator)
    axes.grid(axis="y")
    for mark, (rest, curve) in zip(MARKS * 9, curves.items(), strict=False):
        x = sorted(curve)
        macro = 100 * np.array([np.mean(curve[value], axis=0) for value in x])
        axes.fill_between(x, macro[:, 1], macro[:, 2], color=colour, alpha=0.16 / len(curves) + 0.04, lw=0)
        axes.plot(x, macro[:, 0], marker=mark, ms=3.6, color=colour, lw=1.4)
        if len(curves) > 1:
            text = ", ".join(f"{labels.SYMBOLS.get(k, k)} {v:g}" for k, v in rest)
            axes.annotate(text, (x[-1], macro[-1, 0]), (3, 0), textcoords="offset points", fontsize=6.5)
    _parents(axes, stored, combination)
    _ring(axes, stored, combination, operator)


def _parents(axes: Axes, stored: Stored, combination: str) -> None:
    colours, lines = expert_colours(stored.singles), expert_lines(stored.singles)
    for parent in stored.points[stored.combinations[combination]["selected"]]["constituents"]:
        height = 100 * stored.measured(parent)["macro"][0]
        axes.axhline(height, color=colours.get(parent, QUIET), ls=lines.get(parent, "-"), lw=1.5, zorder=1)


def _ring(axes: Axes, stored: Stored, combination: str, operator: str) -> None:
    name = stored.combinations[combination]["by_operator"].get(operator)
    if name:
        point = stored.points[name]
        place = (point["values"][axis_of(stored, operator)], 100 * point["macro"][0])
        axes.plot(*place, "o", ms=10, mfc="none", mec=INK, mew=1.4)


def _legend(figure: Figure, stored: Stored, marks: bool = False) -> None:
    colours, lines = expert_colours(stored.singles), expert_lines(stored.singles)
    handles = [
        Line2D([], [], color=colours[name], label=labels.clipped(name, 24), **style)
        for name in stored.singles
        for style in [
            {"ls": "", "marker": "|", "ms": 11, "mew": 2.4} if marks else {"ls": lines[name], "lw": 1.5}
        ]
    ]
    if marks:
        handles += [
            Line2D([], [], ls="", marker="o", ms=5, color=OPERATOR.get(o, INK), label=labels.operator(o))
            for o in present(stored)
        ]
    handles.append(Line2D([], [], ls="", marker="o", ms=9, mfc="none", mec=INK, label="selected"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(8, len(handles)))
