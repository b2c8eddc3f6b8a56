"""Figure 5: similarity before the merge against Macro-Gain and Macro-OG."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import (
    FAINT,
    QUIET,
    STAGE_COLORS,
    Drawn,
    Mark,
    canvas,
    place_names,
)
from mergekit_finance.study.analysis.phrases import number
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Correlation, PredictorRow

NAME = "5-similarity-and-gain"
Predictor = Literal["l2", "cosine", "headroom"]
Outcome = Literal["macro_gain", "macro_og"]
PREDICTORS: dict[Predictor, str] = {
    "l2": "L2 distance before merging",
    "cosine": "cosine before merging",
    "headroom": "complementarity headroom",
}
OUTCOMES: dict[Outcome, str] = {"macro_gain": "Macro-Gain", "macro_og": "Macro-OG"}


def draw(results: StudyResults) -> Drawn | None:
    """Draw the figure; None if no combination has a similarity."""
    rows, correlations = results.summary.similarity.combinations, results.summary.similarity.correlations
    predictors = [name for name in PREDICTORS if any(getattr(row, name) is not None for row in rows)]
    if not predictors:
        return None
    figure = canvas(3.9 * max(2, len(predictors)), 6.6)
    grid = figure.subplots(2, len(predictors), squeeze=False, sharex="col", sharey="row")
    for y, outcome in enumerate(OUTCOMES):
        for x, predictor in enumerate(predictors):
            _panel(grid[y][x], results, rows, predictor, outcome)
            grid[y][x].set_title(_title(correlations, predictor, outcome), fontsize=8)
        grid[y][0].set_ylabel(f"{OUTCOMES[outcome]}, points")
    for x, predictor in enumerate(predictors):
        grid[1][x].set_xlabel(PREDICTORS[predictor])
    figure.text(0.5, 0.008, _key(results), ha="center", fontsize=8, color=QUIET)
    figure.set_layout_engine("constrained", rect=(0, 0.035, 1, 0.965))  # room for the key below the panels
    return Drawn(
        NAME,
        "Similarity before the merge against Gain and OG",
        "One mark per combination at its selected point, with 95 % intervals; lighter marks are of earlier "
        "stages. ρ is Spearman's, p two-sided and exact where possible. With so few combinations this "
        "describes these merges only. Headroom: the share of items that the best constituent answers wrong "
        "and another one right, minus what guessing would give.",
        "Scatter plots of L2, cosine and headroom against Macro-Gain and Macro-OG",
        figure,
    )


def _panel(
    axes: Axes,
    results: StudyResults,
    rows: Sequence[PredictorRow],
    predictor: Predictor,
    outcome: Outcome,
) -> None:
    letters = labels.initials(results.singles)
    axes.axhline(0, color=QUIET, lw=0.8)
    axes.grid(color=FAINT)
    axes.set_axisbelow(True)
    axes.margins(x=0.14, y=0.12)
    marks, names = [], []
    for row in rows:
        x = getattr(row, predictor)
        if x is not None:
            marks.append(_mark(axes, results, row, x, outcome))
            experts = row.combination.split("+")
            merged = ["base", *experts] if len(experts) == 1 else experts
            names.append(labels.clipped("+".join(letters.get(name, name) for name in merged), 22))
    place_names(axes, marks, names)


def _mark(axes: Axes, results: StudyResults, row: PredictorRow, x: float, outcome: Outcome) -> Mark:
    """Draw one combination and return its position."""
    macro = results.summary.selected[row.point].sets["macro"]
    numbers = macro.gain if outcome == "macro_gain" else macro.og
    value, low, high = (100 * number for number in numbers)
    color = STAGE_COLORS.get(row.stage, QUIET)
    axes.plot([x, x], [low, high], color=color, lw=1.3, alpha=0.65)
    axes.plot(x, value, "o", color=color, ms=6.5, mec="white")
    return x, value, low, high


def _title(correlations: Sequence[Correlation], predictor: Predictor, outcome: Outcome) -> str:
    lines = correlation_lines(correlations, predictor, outcome)
    return "\n".join(lines) or "too few merges for a correlation"


def correlation_lines(
    correlations: Sequence[Correlation], predictor: Predictor, outcome: Outcome
) -> list[str]:
    """Return ρ, p and n, over all combinations and over pairs alone if there are any."""
    lines = []
    for row in correlations:
        if row.predictor == predictor and row.outcome == outcome and row.rho is not None:
            p = "p n/a" if row.p is None else f"p = {row.p:.3f}"
            lines.append(f"{row.over}: ρ = {number(row.rho, 2, sign=True)}, {p}, n = {row.n}")
    return lines


def _key(results: StudyResults) -> str:
    letters = labels.initials(results.singles)
    return "   ".join(f"{letter} {name}" for name, letter in letters.items() if letter != name)
