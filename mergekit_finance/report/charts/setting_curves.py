"""Macro score against λ or density: one panel for each combination, one curve for each operator.

Operators whose axis is not a number, or is the value of one expert, have a panel of their own.
"""

from collections.abc import Sequence

import numpy as np

from mergekit_finance.files import Json
from mergekit_finance.operators import PARAMETER_SYMBOLS, number_of, parameter_of, value_text
from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import (
    LEFT,
    RIGHT,
    Chart,
    LegendEntry,
    Panel,
    Plot,
    spread,
    tick_text,
)
from mergekit_finance.report.charts.styles import (
    model_legend,
    model_style,
    operator_legend,
    operator_shape,
    operator_style,
)
from mergekit_finance.report.charts.svg import WIDTH, fitted, swatch
from mergekit_finance.report.figures.curves import axis_of, axis_place, axis_values, curves_of, operators_of
from mergekit_finance.study.analysis.phrases import chosen_by, interval
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Interval


def draw(results: StudyResults) -> Chart:
    """Draw the panels of all combinations."""
    panels = []
    for combination in results.combinations:
        shared = [name for name in operators_of(results) if _has_numbers(results, combination, name)]
        alone = [name for name in operators_of(results) if name not in shared]
        for group in (shared, *([name] for name in alone)):
            if any(curves_of(results, combination, name) for name in group):
                panels.append(_panel(results, combination, group))
    return Chart(
        "hyperparameters",
        "Score against hyperparameter",
        "Macro score in points; its 95 % interval is shown with the value. The ring marks the point "
        f"{chosen_by(results.summary.selection)}. Horizontal lines are the constituents. Several seeds are "
        "shown by their mean.",
        panels,
        [
            *operator_legend(results),
            *model_legend(results, results.singles, "dashed"),
            LegendEntry(swatch("", "ring"), "selected"),
        ],
    )


def _has_numbers(results: StudyResults, combination: str, operator: str) -> bool:
    """Return whether an operator's axis is a number that all experts share."""
    values = axis_values(results, combination, operator)
    return "." not in axis_of(results, combination, operator) and all(
        number_of(one) is not None for one in values
    )


def _panel(results: StudyResults, combination: str, operators: Sequence[str]) -> Panel:
    name = labels.combination(combination.split("+"))
    selected = results.combinations[combination].selected
    constituents = results.summary.points[selected].constituents
    curves = [
        (operator, others, {place: _mean(row) for place, row in curve.items()})
        for operator in operators
        for others, curve in curves_of(results, combination, operator).items()
    ]
    places = [place for _, _, curve in curves for place in curve]
    heights = [100 * numbers.value for _, _, curve in curves for numbers in curve.values()]
    heights += [100 * results.measured(one).macro.value for one in constituents]
    ticks = _ticks(results, combination, operators)
    title = f"Macro score of {name} against hyperparameter"
    x_label = _axis_label(results, combination, operators)
    plot = Plot(title, spread(places), spread(heights), x_label, "macro, points", x_ticks=ticks)
    for one in constituents:
        plot.horizontal(100 * results.measured(one).macro.value, f"line {model_style(results, one)} dashed")
    for operator, others, curve in curves:
        style = operator_style(results, operator)
        plot.path([(place, 100 * curve[place].value) for place in sorted(curve)], style)
        for place in sorted(curve):
            how = (labels.operator_name(operator), _at(results, combination, operator, place), others)
            text = f"{' '.join(filter(None, how))}: macro {interval(curve[place])}"
            plot.mark(place, 100 * curve[place].value, style, text, operator_shape(results, operator), 3.2)
    if results.summary.points[selected].operator in operators:
        plot.ring(*_place_of(results, combination, selected))
    return plot.panel(name)


def _mean(row: Sequence[Interval]) -> Interval:
    """Return the mean over seeds."""
    return Interval(*(float(number) for number in np.mean(row, axis=0)))


def _place_of(results: StudyResults, combination: str, name: str) -> tuple[float, float]:
    point = results.summary.points[name]
    axis = axis_of(results, combination, point.operator)
    values = axis_values(results, combination, point.operator)
    return axis_place(point.values.get(axis), values), 100 * point.macro.value


def _by_place(results: StudyResults, combination: str, operator: str) -> dict[float, Json]:
    """Return the values on an operator's axis by where they are drawn."""
    values = axis_values(results, combination, operator)
    return {axis_place(one, values): one for one in values}


def _at(results: StudyResults, combination: str, operator: str, place: float) -> str:
    """Return `λ 0.4`; "" without a hyperparameter."""
    axis, number = axis_of(results, combination, operator), _by_place(results, combination, operator)[place]
    return f"{_symbol(axis)} {value_text(number)}" if axis and number is not None else ""


def _symbol(axis: str) -> str:
    parameter, _, expert = axis.partition(".")
    symbol = PARAMETER_SYMBOLS.get(parameter, parameter)
    return f"{symbol} of {expert}" if expert else symbol


def _ticks(
    results: StudyResults, combination: str, operators: Sequence[str]
) -> list[tuple[float, str]] | None:
    """Return the labels of an axis whose values are no numbers; None for round numbers."""
    if all(_has_numbers(results, combination, name) for name in operators):
        return None
    places = _by_place(results, combination, operators[0])
    if all(number_of(one) is not None for one in places.values()):
        return [(place, tick_text(place)) for place in places]
    room = 0.9 * (WIDTH - LEFT - RIGHT) / len(places)
    return [(place, fitted(value_text(one), room)) for place, one in places.items() if one is not None]


def _axis_label(results: StudyResults, combination: str, operators: Sequence[str]) -> str:
    """Return `λ of TA, density of TIES`, or the parameter alone if all operators have the same."""
    names = {name: axis_of(results, combination, name) for name in operators}
    words = {
        name: _symbol(axis) if parameter_of(axis) != "density" else axis
        for name, axis in names.items()
        if axis
    }
    if len(set(words.values())) < 2:
        return next(iter(words.values()), "")
    by_word: dict[str, list[str]] = {}
    for name, word in words.items():
        by_word.setdefault(word, []).append(labels.operator_name(name, short=True))
    return ", ".join(f"{word} of {' and '.join(names)}" for word, names in by_word.items())
