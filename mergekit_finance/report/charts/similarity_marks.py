"""Similarity before the merge against Macro-Gain and Macro-OG."""

from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import Chart, Panel, Plot, spread
from mergekit_finance.report.charts.styles import stage_legend, stage_shape, stage_style
from mergekit_finance.report.figures.similarity_scatter import (
    OUTCOMES,
    PREDICTORS,
    Outcome,
    Predictor,
    correlation_lines,
)
from mergekit_finance.study.analysis.phrases import interval
from mergekit_finance.study.results import StudyResults


def draw(results: StudyResults) -> Chart | None:
    """Draw a panel for every predictor and outcome; None if no combination has a similarity."""
    rows = results.summary.similarity.combinations
    predictors = [name for name in PREDICTORS if any(getattr(row, name) is not None for row in rows)]
    if not predictors:
        return None
    letters = labels.initials(results.singles)
    key = ", ".join(f"{letter} is {name}" for name, letter in letters.items() if letter != name)
    return Chart(
        "similarity-and-gain",
        "Similarity before the merge against Gain and OG",
        "One mark per combination at its selected point, with 95 % intervals. ρ is Spearman's, p two-sided "
        "and exact where possible. With so few combinations this describes these merges only. Headroom: the "
        "share of items that the best constituent answers wrong and another one right, minus what guessing "
        f"would give. {key}.",
        [_panel(results, letters, predictor, outcome) for outcome in OUTCOMES for predictor in predictors],
        stage_legend(results),
    )


def _panel(results: StudyResults, letters: dict[str, str], predictor: Predictor, outcome: Outcome) -> Panel:
    rows = [row for row in results.summary.similarity.combinations if getattr(row, predictor) is not None]
    macros = [results.summary.selected[row.point].sets["macro"] for row in rows]
    outcomes = [macro.gain if outcome == "macro_gain" else macro.og for macro in macros]
    places = [float(getattr(row, predictor)) for row in rows]
    heights = [100 * end for numbers in outcomes for end in (numbers.low, numbers.high)]
    lines = correlation_lines(results.summary.similarity.correlations, predictor, outcome)
    plot = Plot(
        f"{PREDICTORS[predictor]} against {OUTCOMES[outcome]}. {'; '.join(lines)}",
        spread(places, 0.12),
        spread([0.0, *heights]),
        PREDICTORS[predictor],
        f"{OUTCOMES[outcome]}, points",
        height=230,
    )
    plot.horizontal(0, "axis")
    for row, place, numbers in zip(rows, places, outcomes, strict=True):
        style = stage_style(row.stage)
        plot.path([(place, 100 * numbers.low), (place, 100 * numbers.high)], style)
        text = f"{labels.combination(row.combination.split('+'))}: {PREDICTORS[predictor]} {place:.4g}"
        text += f", {OUTCOMES[outcome]} {interval(numbers, sign=True)}"
        plot.mark(place, 100 * numbers.value, style, text, stage_shape(row.stage))
    names = [labels.combination(row.combination.split("+")).split(" + ") for row in rows]
    short = ["+".join(letters.get(name, name) for name in merged) for merged in names]
    values = [100 * numbers.value for numbers in outcomes]
    plot.write_names(list(zip(places, values, short, strict=True)))
    note = "; ".join(lines) or "too few merges for a correlation"
    return plot.panel(f"{OUTCOMES[outcome]} against {PREDICTORS[predictor]}", note)
