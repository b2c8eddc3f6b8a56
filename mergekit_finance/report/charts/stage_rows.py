"""Macro scores by stage, with the best merge of each stage, beside the models that were merged."""

from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import Chart, LegendEntry, Panel, Rows, names_width, spread
from mergekit_finance.report.charts.styles import model_style, stage_style
from mergekit_finance.report.charts.svg import dot, line, swatch, value
from mergekit_finance.study.analysis.phrases import chosen_by, interval
from mergekit_finance.study.results import StudyResults


def draw(results: StudyResults) -> Chart:
    """Draw one panel for the models before merging, and one for every stage."""
    by_stage: dict[int, list[str]] = {}
    for row in results.combinations.values():
        by_stage.setdefault(row.stage, []).append(row.selected)
    panels = [_panel(results, "Before merging", results.singles, "")]
    for stage, names in by_stage.items():
        title = labels.STAGES.get(stage, f"Stage {stage}")
        panels.append(_panel(results, title, names, _best(results, names)))
    return Chart(
        "stages",
        "The three stages and their best merges",
        "Macro score (mean over the study's tasks, reported items) with its 95 % interval. The star is the "
        f"best merge of a stage, with hyperparameters {chosen_by(results.summary.selection)}.",
        panels,
        [LegendEntry(swatch("c-best", "dashed"), f"best single model: {results.summary.ship.best_single}")],
    )


def _best(results: StudyResults, names: list[str]) -> str:
    """Return the best merge of a stage: the best of all, or by the objective or macro that selected."""
    summary = results.summary
    if summary.ship.best_merge in names:
        return summary.ship.best_merge
    if objective := summary.objective:
        return max(names, key=lambda name: objective.models[name].on_selection)
    return max(names, key=lambda name: summary.points[name].macro_on_selection or 0.0)


def _panel(results: StudyResults, title: str, names: list[str], best: str) -> Panel:
    macros = [results.measured(name).macro for name in (*results.singles, *results.chosen)]
    ends = spread([100 * end for macro in macros for end in (macro.low, macro.high)])
    points = results.summary.points
    row_names = [labels.combination(points[name].combination) if name in points else name for name in names]
    strong = [row_names[names.index(best)]] if best in names else []
    width = names_width(
        [*results.singles, *(labels.combination(name.split("+")) for name in results.combinations)]
    )
    rows = Rows(f"{title}: macro scores", row_names, ends, "macro score, points", strong, width)
    rows.vertical(100 * results.measured(results.summary.ship.best_single).macro.value, "line c-best dashed")
    for row, name in enumerate(names):
        place, low, high = (rows.x.at(100 * number) for number in results.measured(name).macro)
        style = stage_style(points[name].stage) if name in points else model_style(results, name)
        line(rows.svg, [(low, rows.y(row)), (high, rows.y(row))], f"thick {style}")
        mark = dot(rows.svg, place, rows.y(row), style, "star" if name == best else "circle", 5)
        value(mark, _text(results, name, row_names[row]))
    return rows.panel(title)


def _text(results: StudyResults, name: str, label: str) -> str:
    text = f"{label}: macro {interval(results.measured(name).macro)}"
    if name not in results.summary.points:
        return text
    macro = results.summary.selected[name].sets["macro"]
    how = labels.operator_and_values(results.summary.points[name])
    gain, og = (interval(numbers, sign=True) for numbers in (macro.gain, macro.og))
    return f"{text}; {how}; Macro-Gain {gain}; Macro-OG {og}"
