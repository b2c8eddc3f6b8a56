"""Figure 1: macro scores by stage, with the best merge of each stage, beside the models that were merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import QUIET, RED, STAGE_COLORS, Drawn, canvas, hide_frame
from mergekit_finance.study.analysis.phrases import chosen_by, interval
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Interval

NAME = "1-stages"
COLUMNS = ("selected merge", "Macro-Gain", "Macro-OG")
LETTER_WIDTH = 0.079  # inches of a bold letter


@dataclass(frozen=True)
class StageRow:
    """One line of the figure; a heading has no macro score."""

    label: str
    macro: Interval | None = None
    cells: tuple[str, ...] = ()
    color: str = QUIET
    is_best: bool = False


def draw(results: StudyResults) -> Drawn:
    """Draw the figure."""
    rows = _rows(results)
    *column_starts, width = _column_starts(rows)
    figure = canvas(7.2 + width * LETTER_WIDTH, 0.9 + 0.29 * len(rows))
    axes, text_axes = figure.subplots(1, 2, sharey=True, width_ratios=(4.5, width * LETTER_WIDTH))
    text_axes.set_xlim(0, width)
    text_axes.set_axis_off()
    for y, row in enumerate(rows):
        _draw_row(axes, -y, row)
        for x, cell in zip(column_starts, row.cells, strict=False):
            weight = "bold" if row.is_best else "normal"
            text_axes.text(x, -y, cell, va="center", fontsize=8.2, weight=weight)
    _set_axes(axes, results, len(rows))
    for title, x in zip(COLUMNS, column_starts, strict=True):
        text_axes.text(x, 0, title, va="center", color=QUIET, fontsize=8.5)
    return Drawn(
        NAME,
        "The three stages and their best merges",
        "Macro score (mean over the study's tasks, reported items) with its 95 % interval. ★ marks the best "
        f"merge of a stage, with hyperparameters {chosen_by(results.summary.selection)}, and the dashed line "
        "the best single model. Gain compares with the mean of the constituents, OG (Outperform Gap) with "
        "the best constituent of each task.",
        "Macro scores of base, experts and the selected merge of every combination, by stage",
        figure,
    )


def _rows(results: StudyResults) -> list[StageRow]:
    rows = [StageRow("Before merging")]
    rows += [StageRow(name, results.measured(name).macro) for name in results.singles]
    for stage in sorted({combination.stage for combination in results.combinations.values()}):
        rows.append(StageRow(labels.STAGES.get(stage, f"Stage {stage}")))
        names = [row.selected for row in results.combinations.values() if row.stage == stage]
        best = max(names, key=lambda name: results.summary.points[name].macro_on_selection or 0.0)
        rows += [_row(results, name, stage, name == best) for name in names]
    return rows


def _row(results: StudyResults, name: str, stage: int, is_best: bool) -> StageRow:
    point, macro = results.summary.points[name], results.summary.selected[name].sets["macro"]
    effects = (interval(numbers, sign=True) for numbers in (macro.gain, macro.og))
    label = labels.combination(point.combination)
    cells = (labels.operator_and_values(point), *effects)
    return StageRow(label, point.macro, cells, STAGE_COLORS.get(stage, QUIET), is_best)


def _draw_row(axes: Axes, y: int, row: StageRow) -> None:
    transform = axes.get_yaxis_transform()
    if row.macro is None:
        place = (-0.005, y)
        axes.text(*place, row.label, transform=transform, ha="right", va="center", weight="bold", fontsize=9)
        return
    value, low, high = (100 * number for number in row.macro)
    weight = "bold" if row.is_best else "normal"
    axes.plot([low, high], [y, y], color=row.color, lw=2.2, solid_capstyle="round")
    marker, size = ("*", 13.0) if row.is_best else ("o", 6.5)
    axes.plot(value, y, marker, color=row.color, ms=size, mec="white")
    name = labels.clipped(row.label, 48)
    axes.text(-0.015, y, name, transform=transform, ha="right", va="center", weight=weight, fontsize=9)


def _column_starts(rows: Sequence[StageRow]) -> list[int]:
    """Return where each text column begins and where the last one ends, in letters."""
    cells = [COLUMNS, *(row.cells for row in rows if row.cells)]
    return [0, *accumulate(3 + max(map(len, column)) for column in zip(*cells, strict=True))]


def _set_axes(axes: Axes, results: StudyResults, rows: int) -> None:
    hide_frame(axes)
    best_single = results.summary.ship.best_single
    axes.axvline(100 * results.measured(best_single).macro[0], color=RED, lw=1, ls="--", zorder=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_ylim(-rows + 0.4, 0.6)
    axes.set_yticks([])
    axes.set_xlabel(f"macro score, points (dashed: {labels.clipped(best_single, 30)})")
