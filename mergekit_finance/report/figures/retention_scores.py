"""Figure 6: retention of the base's general knowledge against the gain on the tasks of the merge's skills."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mergekit_finance.operators import value_order
from mergekit_finance.report import labels
from mergekit_finance.report.figures.curves import operator_color, operators_of
from mergekit_finance.report.figures.style import INK, QUIET, Drawn, canvas, expert_colors
from mergekit_finance.study.analysis.phrases import chosen_by
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Interval

NAME = "6-retention"
COLUMNS = 4


def draw(results: StudyResults) -> Drawn | None:
    """Draw the figure; None if any model lacks a retention score."""
    if not has_retention(results):
        return None
    combinations = list(results.combinations)
    columns, rows = min(COLUMNS, max(2, len(combinations))), math.ceil(len(combinations) / COLUMNS)
    figure = canvas(3.15 * columns, 0.7 + 3.0 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place < len(combinations):
            _panel(axes, results, combinations[place])
        else:
            axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel("retention score, points")
    figure.supxlabel("gain over the base on the merge's skills, points", fontsize=9)
    _legend(figure, results)
    return Drawn(
        NAME,
        "Retention against gain on the merge's skills",
        f"Horizontal: mean score over the tasks of a combination's skills{fallback_note(results)}, minus "
        "the base's. Vertical: score on the general tasks. A line is an operator's grid; the ring marks the "
        f"point {chosen_by(results.summary.selection)}, with its 95 % interval of retention. Letters are the "
        "base and the experts. Higher and further right is better.",
        "Scatter plots of retention against gain on the merge's skills, one per combination",
        figure,
    )


def has_retention(results: StudyResults) -> bool:
    """Return whether every model has a retention score."""
    models = [*results.summary.models.values(), *results.summary.points.values()]
    return all(model.retention for model in models)


def fallback_note(results: StudyResults) -> str:
    """Return a note if some combination has no task of its skills; its panel then shows the macro."""
    if any(results.tested(combination)[0] == "macro" for combination in results.combinations):
        return " (of all tasks in panels marked macro, which have no task of their skills)"
    return ""


def points_over_base(results: StudyResults, model: str, tasks: Sequence[str]) -> float:
    """Return the weighted mean over tasks of a model's score minus the base's, in points."""
    scores, base = results.measured(model).scores, results.measured("base").scores
    weights = [results.tasks[task].weight for task in tasks]
    return 100 * float(np.average([scores[task] - base[task] for task in tasks], weights=weights))


def retention_of(results: StudyResults, model: str) -> Interval:
    """Return a model's retention score. Raises ValueError if it has none: `draw` makes no figure then."""
    retention = results.measured(model).retention
    if retention is None:
        raise ValueError(f"{model} has no retention score")
    return retention


def _panel(axes: Axes, results: StudyResults, combination: str) -> None:
    set_name, tested = results.tested(combination)
    axes.grid()
    axes.set_axisbelow(True)
    axes.margins(0.12)
    axes.axvline(0, color=QUIET, lw=0.8)
    experts = combination.split("+")
    title = labels.clipped(labels.combination(experts), 30)
    axes.set_title(f"{title} (macro)" if set_name == "macro" else title, fontsize=8.8)
    for operator in operators_of(results):
        _operator_line(axes, results, combination, operator, tested.tasks)
    _selected_point(axes, results, results.combinations[combination].selected, tested.tasks)
    _merged_models(axes, results, ["base", *experts], tested.tasks)


def _operator_line(
    axes: Axes, results: StudyResults, combination: str, operator: str, tasks: Sequence[str]
) -> None:
    points = {
        name: point
        for name, point in results.summary.points.items()
        if "+".join(point.combination) == combination and point.operator == operator
    }

    def order(name: str) -> list[tuple[bool, tuple[int, float, str]]]:
        values = points[name].values
        return [(key != "seed", value_order(values[key])) for key in sorted(values)]

    names = sorted(points, key=order)
    x = [points_over_base(results, name, tasks) for name in names]
    y = [100 * retention_of(results, name).value for name in names]
    style = "-" if is_line(results, operator) else ""
    color = operator_color(results, operator)
    axes.plot(x, y, marker="o", ms=3.4, lw=0.9, ls=style, color=color, alpha=0.75)


def is_line(results: StudyResults, operator: str) -> bool:
    """Return whether an operator's points are joined by a line; points of several seeds are not."""
    grid = [point.values for point in results.summary.points.values() if point.operator == operator]
    return all("seed" not in values for values in grid)


def _selected_point(axes: Axes, results: StudyResults, name: str, tasks: Sequence[str]) -> None:
    x = points_over_base(results, name, tasks)
    value, low, high = (100 * number for number in retention_of(results, name))
    axes.plot([x, x], [low, high], color=INK, lw=1)
    axes.plot(x, value, "o", ms=10, mfc="none", mec=INK, mew=1.4)


def _merged_models(axes: Axes, results: StudyResults, names: Sequence[str], tasks: Sequence[str]) -> None:
    """Draw the base and the experts as discs with their initial."""
    colors, letters = expert_colors(results.singles), labels.initials(results.singles)
    for name in names:
        if name not in results.summary.models:
            continue
        position = (points_over_base(results, name, tasks), 100 * retention_of(results, name).value)
        axes.plot(*position, "o", ms=12, color=colors[name], mec="white", zorder=4)
        axes.annotate(
            letters[name] if len(letters[name]) == 1 else name[:1],
            position,
            ha="center",
            va="center_baseline",
            fontsize=7.5,
            weight="bold",
            color="white",
            zorder=5,
        )


def _legend(figure: Figure, results: StudyResults) -> None:
    colors, handles = expert_colors(results.singles), []
    for operator in operators_of(results):
        color, style = operator_color(results, operator), "-" if is_line(results, operator) else ""
        label = labels.operator_name(operator)
        handles.append(Line2D([], [], marker="o", ms=4, ls=style, color=color, label=label))
    for name in results.singles:
        label = labels.clipped(name, 24)
        handles.append(Line2D([], [], ls="", marker="o", ms=9, color=colors[name], label=label))
    handles.append(Line2D([], [], ls="", marker="o", ms=9, mfc="none", mec=INK, label="selected"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(8, len(handles)))
