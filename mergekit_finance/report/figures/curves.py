"""Figure 4: macro score against λ or density, one row per combination, one column per operator.

Where experts have values of their own, the axis is the values of one of them, and every combination of the
others' values is a curve.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mergekit_finance.files import Json
from mergekit_finance.operators import (
    PARAMETER_SYMBOLS,
    number_of,
    parameter_of,
    value_order,
    value_text,
    values_text,
)
from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import (
    INK,
    METHOD_COLORS,
    OPERATOR_COLORS,
    QUIET,
    Drawn,
    canvas,
    expert_colors,
    expert_lines,
)
from mergekit_finance.study.analysis.phrases import chosen_by
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Interval, PointResult

NAME = "4-hyperparameters"
MARKERS = "os^Dv"
MOST_LABELED = 12  # curves in a panel
Curve = dict[float, list[Interval]]  # value on the axis -> macro score for every seed
Curves = dict[str, Curve]  # the other hyperparameters as text -> curve


def draw(results: StudyResults) -> Drawn:
    """Draw curves; where every grid has a single value, dots on one scale."""
    return _draw_curves(results) if has_curves(results) else _draw_dots(results)


def has_curves(results: StudyResults) -> bool:
    """Return whether any operator has more than one value on its axis."""
    return any(
        len(curve) > 1
        for combination in results.combinations
        for operator in operators_of(results)
        for curve in curves_of(results, combination, operator).values()
    )


def _draw_dots(results: StudyResults) -> Drawn:
    figure = canvas(7.8, 1.1 + 0.34 * len(results.combinations))
    axes = figure.subplots()
    axes.grid(axis="x")
    for row, combination in enumerate(results.combinations):
        _row_of_dots(axes, results, combination, -row)
    names = [labels.clipped(labels.combination(c.split("+")), 30) for c in results.combinations]
    axes.set_yticks([-row for row in range(len(names))], names, fontsize=8.2)
    axes.set_xlabel("macro score, points")
    _legend(figure, results, dots=True)
    why = (
        "The other settings were dropped before they were evaluated in full"
        if results.study.race
        else "Every grid has a single value"
    )
    return Drawn(
        NAME,
        "Score of every combination",
        f"{why}, so there is no curve. Dots: macro score in points with its 95 % "
        f"interval; the ring marks the point {chosen_by(results.summary.selection)}. Vertical strokes are "
        "the constituents.",
        "Dots of macro score with intervals, one row per combination",
        figure,
    )


def _row_of_dots(axes: Axes, results: StudyResults, combination: str, row: float) -> None:
    selected, colors = results.combinations[combination].selected, expert_colors(results.singles)
    for name in results.summary.points[selected].constituents:
        x = 100 * results.measured(name).macro[0]
        axes.plot(x, row, "|", ms=13, mew=2.4, color=colors.get(name, QUIET))
    points = {name: p for name, p in results.summary.points.items() if "+".join(p.combination) == combination}
    for place, (name, point) in enumerate(points.items()):
        value, low, high = (100 * number for number in point.macro)
        y = row + 0.5 * ((place + 0.5) / len(points) - 0.5)
        color = operator_color(results, point.operator)
        axes.plot([low, high], [y, y], color=color, lw=1.3, alpha=0.65)
        axes.plot(value, y, "o", ms=5, color=color)
        if name == selected:
            axes.plot(value, y, "o", ms=10, mfc="none", mec=INK, mew=1.4)


def _draw_curves(results: StudyResults) -> Drawn:
    combinations, operators = list(results.combinations), operators_of(results)
    figure = canvas(3.9 * max(2, len(operators)), 0.7 + 1.65 * len(combinations))
    grid = figure.subplots(len(combinations), len(operators), squeeze=False, sharey=True, sharex="col")
    for row, combination in enumerate(combinations):
        for column, operator in enumerate(operators):
            axes = grid[row][column]
            _panel(axes, results, combination, operator)
            if row == 0:
                axes.set_title(labels.operator_name(operator), fontsize=10)
            if row == len(combinations) - 1:
                axes.set_xlabel(_axis_label(results, operator))
        name = labels.combination(combination.split("+"))
        grid[row][0].set_ylabel(labels.clipped(name, 26), fontsize=8.2)
    _legend(figure, results)
    return Drawn(
        NAME,
        "Score against hyperparameter",
        "Macro score in points with its 95 % band; the ring marks the point "
        f"{chosen_by(results.summary.selection)}. Horizontal lines are the constituents. Several seeds are "
        f"shown by their mean.{_by_expert_note(results)}",
        "Curves of macro score over the grid of every operator, by combination",
        figure,
    )


def operators_of(results: StudyResults) -> list[str]:
    """Return the operators of the study's points, in the order of `labels.operator_order`."""
    return sorted({point.operator for point in results.summary.points.values()}, key=labels.operator_order)


def operator_color(results: StudyResults, operator: str) -> str:
    """Return an operator's color; merge methods besides the three take theirs in the order of their names."""
    others = [key for key in operators_of(results) if key not in OPERATOR_COLORS]
    colors = {key: METHOD_COLORS[place % len(METHOD_COLORS)] for place, key in enumerate(others)}
    return (OPERATOR_COLORS | colors).get(operator, INK)


def axis_of(results: StudyResults, combination: str, operator: str) -> str:
    """Return the key with the most values: λ for Task Arithmetic, density for the others, or an expert's.

    "" if the operator has no hyperparameter, or is not run for this combination.
    """
    values: dict[str, set[tuple[int, float, str]]] = defaultdict(set)
    for point in _points(results, combination, operator):
        for key, value in point.values.items():
            values[key].add(value_order(value))
    first = [key for name in ("density", "lambda") for key in values if parameter_of(key) == name]
    keys = list(dict.fromkeys([*first, *sorted(values)]))
    return max(keys, key=lambda key: (len(values[key]) > 1 and key != "seed", -keys.index(key)), default="")


def axis_values(results: StudyResults, combination: str, operator: str) -> list[Json]:
    """Return the values on the axis in order; None where there is no hyperparameter."""
    axis = axis_of(results, combination, operator)
    values = [point.values.get(axis) for point in _points(results, combination, operator)]
    by_order = {value_order(value): value for value in values}
    return [by_order[order] for order in sorted(by_order)]


def axis_place(value: Json, values: Sequence[Json]) -> float:
    """Return where a value is on the axis: a number at itself; if some value is no number, by their order."""
    numbers = [number_of(one) for one in values]
    number = number_of(value)
    if number is None or None in numbers:
        return float([value_order(one) for one in values].index(value_order(value)))
    return number


def _axis_label(results: StudyResults, operator: str) -> str:
    """Return the name of a column's axis; where it is an expert's value, each panel names the expert."""
    axes = (axis_of(results, combination, operator) for combination in results.combinations)
    names = dict.fromkeys(parameter_of(key) for key in axes if key)
    return " or ".join(names).replace("lambda", "λ")


def _by_expert_note(results: StudyResults) -> str:
    """Return what the figure leaves out where experts have values of their own."""
    if not any("." in key for point in results.summary.points.values() for key in point.values):
        return ""
    return (
        " Where experts have values of their own, the axis is the values of the expert that the panel names, "
        f"and curves are for the others' values; of more than {MOST_LABELED} curves, none is labeled."
    )


def curves_of(results: StudyResults, combination: str, operator: str) -> Curves:
    """Return the macro scores of a combination and operator, one curve for each other hyperparameter."""
    axis = axis_of(results, combination, operator)
    values = axis_values(results, combination, operator)
    curves: Curves = defaultdict(lambda: defaultdict(list))
    for point in _points(results, combination, operator):
        others = {k: v for k, v in sorted(point.values.items()) if k not in (axis, "seed")}
        curves[values_text(others)][axis_place(point.values.get(axis), values)].append(point.macro)
    return curves


def _points(results: StudyResults, combination: str, operator: str) -> Iterator[PointResult]:
    for point in results.summary.points.values():
        if "+".join(point.combination) == combination and point.operator == operator:
            yield point


def _panel(axes: Axes, results: StudyResults, combination: str, operator: str) -> None:
    color, curves = operator_color(results, operator), curves_of(results, combination, operator)
    axes.grid(axis="y")
    for marker, (others, curve) in zip(cycle(MARKERS), curves.items(), strict=False):
        x = sorted(curve)
        macro = 100 * np.array([np.mean(curve[value], axis=0) for value in x])
        alpha = 0.16 / len(curves) + 0.04
        axes.fill_between(x, macro[:, 1], macro[:, 2], color=color, alpha=alpha, lw=0)
        axes.plot(x, macro[:, 0], marker=marker, ms=3.6, color=color, lw=1.4)
        if 1 < len(curves) <= MOST_LABELED:
            axes.annotate(others, (x[-1], macro[-1, 0]), (3, 0), textcoords="offset points", fontsize=6.5)
    axis, values = axis_of(results, combination, operator), axis_values(results, combination, operator)
    if any(number_of(value) is None for value in values):
        texts = ["" if value is None else labels.clipped(value_text(value), 18) for value in values]
        axes.set_xticks(range(len(values)), texts, fontsize=6.5)
    if "." in axis:
        parameter, expert = axis.split(".")
        text = f"{PARAMETER_SYMBOLS.get(parameter, parameter)} of {labels.clipped(expert, 24)}"
        axes.text(0.02, 0.03, text, transform=axes.transAxes, fontsize=6.5, color=QUIET)
    _constituent_lines(axes, results, combination)
    selected = results.combinations[combination].by_operator.get(operator)
    if selected:
        point = results.summary.points[selected]
        position = (axis_place(point.values.get(axis), values), 100 * point.macro[0])
        axes.plot(*position, "o", ms=10, mfc="none", mec=INK, mew=1.4)


def _constituent_lines(axes: Axes, results: StudyResults, combination: str) -> None:
    colors, lines = expert_colors(results.singles), expert_lines(results.singles)
    for name in results.summary.points[results.combinations[combination].selected].constituents:
        height = 100 * results.measured(name).macro[0]
        axes.axhline(height, color=colors.get(name, QUIET), ls=lines.get(name, "-"), lw=1.5, zorder=1)


def _legend(figure: Figure, results: StudyResults, dots: bool = False) -> None:
    colors, lines, handles = expert_colors(results.singles), expert_lines(results.singles), []
    for name in results.singles:
        label = labels.clipped(name, 24)
        if dots:
            handle = Line2D([], [], ls="", marker="|", ms=11, mew=2.4, color=colors[name], label=label)
        else:
            handle = Line2D([], [], ls=lines[name], lw=1.5, color=colors[name], label=label)
        handles.append(handle)
    for operator in operators_of(results) if dots else ():
        color, label = operator_color(results, operator), labels.operator_name(operator)
        handles.append(Line2D([], [], ls="", marker="o", ms=5, color=color, label=label))
    handles.append(Line2D([], [], ls="", marker="o", ms=9, mfc="none", mec=INK, label="selected"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(8, len(handles)))
