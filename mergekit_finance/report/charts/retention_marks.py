"""Skill against retention: all points with the front that no other passes, and each combination alone."""

from collections.abc import Mapping

from mergekit_finance.operators import value_order
from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import Chart, LegendEntry, Panel, Plot, spread
from mergekit_finance.report.charts.styles import (
    model_legend,
    model_style,
    operator_legend,
    operator_shape,
    operator_style,
    stage_legend,
    stage_shape,
    stage_style,
)
from mergekit_finance.report.charts.svg import swatch
from mergekit_finance.report.figures.curves import operators_of
from mergekit_finance.report.figures.retention_scores import (
    fallback_note,
    has_retention,
    is_line,
    points_over_base,
    retention_of,
)
from mergekit_finance.report.leaderboard import group_mean, task_groups
from mergekit_finance.study.analysis.phrases import chosen_by
from mergekit_finance.study.results import StudyResults

MODEL_SIZE = 6.0
Places = dict[str, tuple[float, float]]  # model -> skill and retention, in points


# ---- all points with the front


def draw_front(results: StudyResults) -> Chart | None:
    """Draw the macro average and every group of tasks; None if any model lacks a retention score."""
    if not has_retention(results):
        return None
    groups = task_groups(results)
    scores = {name: results.measured(name) for name in (*results.singles, *results.summary.points)}
    panels = [_front_panel(results, "macro average", {name: one.macro.value for name, one in scores.items()})]
    for group, tasks in groups.items() if len(groups) > 1 else ():
        means = {name: group_mean(results, one.scores, tasks) for name, one in scores.items()}
        measured = {name: mean for name, mean in means.items() if mean is not None}
        panels.append(_front_panel(results, group, measured))
    return Chart(
        "skill-and-retention",
        "Skill against retention",
        "Every model and every merge. Horizontal: mean score over the tasks that a panel is about. Vertical: "
        "mean score over the general tasks. The dashed line (the front) joins the models that no other model "
        f"beats in both scores. Rings mark the points {chosen_by(results.summary.selection)}.",
        panels,
        [
            *model_legend(results, results.singles),
            *stage_legend(results),
            LegendEntry(swatch("c-best", "dashed"), "front"),
            LegendEntry(swatch("", "ring"), "selected"),
        ],
    )


def _front_panel(results: StudyResults, title: str, skills: Mapping[str, float]) -> Panel:
    places = {name: (100 * skill, 100 * retention_of(results, name).value) for name, skill in skills.items()}
    plot = _plot(f"{title} against retention", places, f"score: {title}, points")
    plot.path([places[name] for name in front(places)], "c-best dashed")
    for name, point in results.summary.points.items():
        text = f"{labels.point_name(point)}: {_text(title, places[name])}"
        plot.mark(*places[name], stage_style(point.stage), text, stage_shape(point.stage), 3.2)
    for name in results.chosen:
        plot.ring(*places[name])
    for name in results.singles:
        plot.mark(
            *places[name],
            model_style(results, name),
            f"{name}: {_text(title, places[name])}",
            size=MODEL_SIZE,
        )
    plot.write_names([(*places[name], name) for name in results.singles])
    return plot.panel(title.capitalize() if title == "macro average" else title)


def front(places: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the models that no other passes in skill and retention, from the lowest skill to the highest."""
    names: list[str] = []
    highest = float("-inf")
    for name in sorted(places, key=lambda name: (-places[name][0], -places[name][1], name)):
        if places[name][1] > highest:
            names.append(name)
            highest = places[name][1]
    return names[::-1]


def _plot(label: str, places: Places, x_label: str) -> Plot:
    x, y = ([place[axis] for place in places.values()] for axis in (0, 1))
    return Plot(label, spread(x, 0.1), spread(y, 0.12), x_label, "retention, points", height=250)


def _text(skill: str, place: tuple[float, float]) -> str:
    return f"{skill} {place[0]:.1f}, retention {place[1]:.1f}"


# ---- each combination alone


def draw(results: StudyResults) -> Chart | None:
    """Draw a panel for each combination; None if any model lacks a retention score."""
    if not has_retention(results):
        return None
    return Chart(
        "retention",
        "Retention against gain on the merge's skills",
        f"Horizontal: mean score over the tasks of a combination's skills{fallback_note(results)}, minus "
        "the base's. Vertical: score on the general tasks. A line is an operator's grid; the ring marks the "
        f"point {chosen_by(results.summary.selection)}. Higher and further right is better.",
        [_panel(results, combination) for combination in results.combinations],
        [
            *operator_legend(results),
            *model_legend(results, results.singles),
            LegendEntry(swatch("", "ring"), "selected"),
        ],
    )


def _panel(results: StudyResults, combination: str) -> Panel:
    experts = combination.split("+")
    set_name, tested = results.tested(combination)
    title = labels.combination(experts) + (" (macro)" if set_name == "macro" else "")
    points = {name: point for name, point in results.summary.points.items() if point.combination == experts}
    singles = [name for name in ("base", *experts) if name in results.summary.models]
    places = {
        name: (points_over_base(results, name, tested.tasks), 100 * retention_of(results, name).value)
        for name in (*singles, *points)
    }
    plot = _plot(f"{title}: retention against gain", places, "gain over the base, points")
    if plot.x.low < 0 < plot.x.high:
        plot.vertical(0, "axis")
    for operator in operators_of(results):
        names = sorted(
            (n for n in points if points[n].operator == operator), key=lambda n: _order(results, n)
        )
        style = operator_style(results, operator)
        if is_line(results, operator):
            plot.path([places[name] for name in names], style)
        for name in names:
            text = f"{labels.operator_and_values(points[name])}: {_text('gain over the base', places[name])}"
            plot.mark(*places[name], style, text, operator_shape(results, operator), 3.2)
    plot.ring(*places[results.combinations[combination].selected])
    for name in singles:
        text = f"{name}: {_text('gain over the base', places[name])}"
        plot.mark(*places[name], model_style(results, name), text, size=MODEL_SIZE)
    plot.write_names([(*places[name], name) for name in singles])
    return plot.panel(title)


def _order(results: StudyResults, name: str) -> list[tuple[bool, tuple[int, float, str]]]:
    """Return a sort key that puts the points of a grid in the order of their values."""
    values = results.summary.points[name].values
    return [(key != "seed", value_order(values[key])) for key in sorted(values)]
