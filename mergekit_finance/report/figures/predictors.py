"""Figure 5: does similarity before a merge predict what the merge brings?"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import FAINT, QUIET, STAGE, Drawn, Mark, beside, canvas
from mergekit_finance.report.stored import Stored
from mergekit_finance.study.analysis.verdict import signed

NAME = "5-similarity-and-gain"
PREDICTORS = {
    "l2": "L2 distance before merging",
    "cosine": "cosine before merging",
    "headroom": "complementarity headroom",
}
OUTCOMES = {"macro_gain": ("Macro-Gain", "gain"), "macro_og": ("Macro-OG", "og")}


def draw(stored: Stored) -> Drawn | None:
    found = stored.summary.get("similarity") or {}
    rows = found.get("combinations") or []
    predictors = [name for name in PREDICTORS if any(row.get(name) is not None for row in rows)]
    if not predictors:
        return None
    figure = canvas(3.9 * max(2, len(predictors)), 6.6)
    grid = figure.subplots(2, len(predictors), squeeze=False, sharex="col", sharey="row")
    for y, outcome in enumerate(OUTCOMES):
        for x, predictor in enumerate(predictors):
            _panel(grid[y][x], stored, rows, predictor, outcome)
            grid[y][x].set_title(_title(found.get("correlations") or [], predictor, outcome), fontsize=8)
        grid[y][0].set_ylabel(f"{OUTCOMES[outcome][0]}, points")
    for x, predictor in enumerate(predictors):
        grid[1][x].set_xlabel(PREDICTORS[predictor])
    figure.text(0.5, -0.035, _key(stored), ha="center", fontsize=8, color=QUIET)
    figure.get_layout_engine().set(rect=(0, 0.035, 1, 0.965))
    figure.texts[-1].set_position((0.5, 0.008))
    return Drawn(
        NAME,
        "Similarity before the merge against what it brings",
        "One mark a combination at its selected point, with 95% intervals; the lighter, the earlier "
        "the stage. ρ is Spearman's, p two-sided and exact where that is possible. Few combinations: this "
        "describes these merges and is no law. Headroom: what a perfect choice among the merged "
        "models would add, less luck.",
        "Scatter plots of L2, cosine and headroom against Macro-Gain and Macro-OG",
        figure,
    )


def _panel(
    axes: Axes, stored: Stored, rows: Sequence[Mapping[str, Any]], predictor: str, outcome: str
) -> None:
    letters = labels.initials(stored.singles)
    axes.axhline(0, color=QUIET, lw=0.8)
    axes.grid(color=FAINT)
    axes.set_axisbelow(True)
    axes.margins(x=0.14, y=0.12)
    known = [row for row in rows if row.get(predictor) is not None]
    marks = [_mark(axes, stored, row, predictor, outcome) for row in known]
    names = ["+".join(letters.get(name, name) for name in _merged(row)) for row in known]
    beside(axes, marks, [labels.clipped(name, 22) for name in names])


def _merged(row: Mapping[str, Any]) -> list[str]:
    names = row["combination"].split("+")
    return ["base", *names] if len(names) == 1 else names


def _mark(axes: Axes, stored: Stored, row: Mapping[str, Any], predictor: str, outcome: str) -> Mark:
    """Draws one combination; returns where."""
    colour, x = STAGE.get(row["stage"], QUIET), row[predictor]
    numbers = stored.summary["selected"][row["point"]]["sets"]["macro"][OUTCOMES[outcome][1]]
    value, low, high = (100 * number for number in numbers)
    axes.plot([x, x], [low, high], color=colour, lw=1.3, alpha=0.65)
    axes.plot(x, value, "o", color=colour, ms=6.5, mec="white")
    return x, value, low, high


def _title(found: Sequence[Mapping[str, Any]], predictor: str, outcome: str) -> str:
    """ρ, p and n over all combinations, and over pairs alone where there are any."""
    lines = []
    for row in found:
        if row["predictor"] == predictor and row["outcome"] == outcome and row.get("rho") is not None:
            p = "p n/a" if row.get("p") is None else f"p = {row['p']:.3f}"
            over = "all" if row["over"] == "all" else row["over"]
            lines.append(f"{over}: ρ = {signed(row['rho'], 2)}, {p}, n = {row['n']}")
    return "\n".join(lines) or "too few merges for a correlation"


def _key(stored: Stored) -> str:
    letters = labels.initials(stored.singles)
    return "   ".join(f"{short} {name}" for name, short in letters.items() if short != name)
