"""Figure 1: the three stages with their winners, on one scale with the models that went in."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import QUIET, RED, STAGE, Drawn, bare, canvas
from mergekit_finance.report.stored import Stored

NAME = "1-stages"
COLUMNS = ("selected merge", "Macro-Gain", "Macro-OG")
LETTER = 0.079  # inches that a bold one takes


@dataclass(frozen=True)
class Row:
    """One line of the figure; a heading has no numbers."""

    label: str
    macro: Any = None
    cells: tuple[str, ...] = ()
    colour: str = QUIET
    wins: bool = False


def draw(stored: Stored) -> Drawn:
    rows = _rows(stored)
    *places, wide = _places(rows)
    figure = canvas(7.2 + wide * LETTER, 0.9 + 0.29 * len(rows))
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(4.5, wide * LETTER))
    beside.set_xlim(0, wide)
    for y, row in enumerate(rows):
        _line(axes, -y, row)
        _words(beside, places, -y, row)
    _frame(axes, stored, len(rows))
    _headings(beside, places)
    return Drawn(
        NAME,
        "The three stages and their winners",
        "Macro score (mean over the study's tasks, report items) with its 95% interval. ★ marks the best "
        f"merge of a stage and the dashed line the best single model, as {stored.picked} them. Gain "
        "compares with the mean of the merged models, OG (Outperform Gap) with the best of them.",
        "Macro scores of base, experts and the selected merge of every combination, by stage",
        figure,
    )


def _rows(stored: Stored) -> list[Row]:
    rows = [Row("Before merging")]
    rows += [Row(name, stored.measured(name)["macro"]) for name in stored.singles]
    for stage in sorted({known["stage"] for known in stored.combinations.values()}):
        rows.append(Row(labels.STAGES.get(stage, f"Stage {stage}")))
        rows += _of_stage(stored, stage)
    return rows


def _of_stage(stored: Stored, stage: int) -> list[Row]:
    names = {c: known["selected"] for c, known in stored.combinations.items() if known["stage"] == stage}
    best = max(names.values(), key=lambda name: stored.points[name]["macro_on_selection"])
    return [_row(stored, name, stage, name == best) for name in names.values()]


def _row(stored: Stored, name: str, stage: int, wins: bool) -> Row:
    point, effects = stored.points[name], stored.summary["selected"][name]["sets"]["macro"]
    cells = (labels.how(point), *(labels.interval(effects[key], sign=True) for key in ("gain", "og")))
    label = labels.combination(point["combination"])
    return Row(label, point["macro"], cells, STAGE.get(stage, QUIET), wins)


def _line(axes: Axes, y: int, row: Row) -> None:
    across = axes.get_yaxis_transform()
    if row.macro is None:
        axes.text(-0.005, y, row.label, transform=across, ha="right", va="center", weight="bold", fontsize=9)
        return
    value, low, high = (100 * number for number in row.macro)
    weight = "bold" if row.wins else "normal"
    axes.plot([low, high], [y, y], color=row.colour, lw=2.2, solid_capstyle="round")
    axes.plot(value, y, "*" if row.wins else "o", color=row.colour, ms=13 if row.wins else 6.5, mec="white")
    name = labels.clipped(row.label, 48)
    axes.text(-0.015, y, name, transform=across, ha="right", va="center", weight=weight, fontsize=9)


def _places(rows: Sequence[Row]) -> list[int]:
    """Where each column of words begins, and where the last one ends, in letters: of the longest."""
    cells = [COLUMNS, *(row.cells for row in rows if row.cells)]
    return [0, *accumulate(3 + max(map(len, column)) for column in zip(*cells, strict=True))]


def _words(axes: Axes, places: Sequence[int], y: int, row: Row) -> None:
    for x, text in zip(places, row.cells, strict=False):
        axes.text(x, y, text, va="center", fontsize=8.2, weight="bold" if row.wins else "normal")


def _headings(axes: Axes, places: Sequence[int]) -> None:
    axes.set_axis_off()
    for title, x in zip(COLUMNS, places, strict=True):
        axes.text(x, 0, title, va="center", color=QUIET, fontsize=8.5)


def _frame(axes: Axes, stored: Stored, rows: int) -> None:
    bare(axes)
    single = stored.summary["ship"]["best_single"]
    axes.axvline(100 * stored.measured(single)["macro"][0], color=RED, lw=1, ls="--", zorder=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_ylim(-rows + 0.4, 0.6)
    axes.set_yticks([])
    axes.set_xlabel(f"macro score, points (dashed: {labels.clipped(single, 30)})")
