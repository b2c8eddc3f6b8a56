"""Draw the differences of the seven kinds of merges from their constituents and the base.

In recipes/smollm2-135m: `python -m smollm2.figure results OUT.png` reads the stored results.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mergekit_finance.files import atomic_write
from mergekit_finance.report.figures.style import (
    BLUE,
    INK,
    ORANGE,
    QUIET,
    Drawn,
    canvas,
    hide_frame,
    settings,
)

from .analysis.effects import Difference, Effect, effects
from .findings import load

PANELS = (("Tasks", "points", False), ("Held-out text", "bits per byte saved", True))
LEGEND = (
    "Blue: minus an expert. Black: minus the base. Bars: 95 % intervals over items and experts.\n"
    "Orange: the merges of experts a and of experts b."
)
ROW = 0.24  # inches


def draw(found: Sequence[Mapping[str, Effect]]) -> Figure:
    """Return a figure with a panel for scores and one for bits per byte.

    Args:
        found: the effects by kind, on scores and in bits per byte.
    """
    rows = [(kind, role) for kind, effect in found[0].items() for role in effect.differences]
    with settings():
        figure = canvas(9.0, 1.5 + ROW * len(rows))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (title, unit, bits), by_kind in zip(panels, PANELS, found, strict=True):
            _panel(axes, rows, by_kind, 1 if bits else 100)
            axes.set_title(title)
            axes.set_xlabel(f"{unit}; right is better")
        panels[0].set_yticks(range(len(rows)), [_label(kind, role) for kind, role in rows])
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.suptitle(LEGEND, fontsize="medium", x=0.01, ha="left")
    return figure


def _label(kind: str, role: str) -> str:
    merge = kind.replace("+", " + ") if "+" in kind else f"base + {kind}"
    label = f"{merge}, minus {'base' if role == 'base' else f'{role} expert'}"
    return label.replace("japanese", "Japanese")


def _panel(axes: Axes, rows: Sequence[tuple[str, str]], by_kind: Mapping[str, Effect], scale: float) -> None:
    """Draw one row for each kind and model: interval, mean, and the merges of the seeds a and b."""
    hide_frame(axes)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for place, (kind, role) in enumerate(rows):
        if kind in by_kind:
            _row(axes, place, by_kind[kind].differences[role], BLUE if role != "base" else INK, scale)


def _row(axes: Axes, place: int, one: Difference, color: str, scale: float) -> None:
    value, low, high = (scale * number for number in one.of_experts)
    axes.plot([low, high], [place, place], color=color, linewidth=1.6)
    axes.plot(value, place, "o", color=color, markersize=5)
    seeds = [scale * one.by_set[letter] for letter in ("a", "b") if letter in one.by_set]
    axes.plot(seeds, [place] * len(seeds), "|", color=ORANGE, markersize=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m smollm2.figure", description=__doc__)
    parser.add_argument("results", type=Path, help="the folder of results")
    parser.add_argument("out", type=Path, help="the PNG file to write")
    options = parser.parse_args(argv)
    scores = load(options.results).scores
    figure = draw([effects(scores), effects(scores, in_bits=True)])
    atomic_write(options.out, Drawn("effects", "", "", "", figure).png())


if __name__ == "__main__":
    main()
