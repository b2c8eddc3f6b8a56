"""The figures, one module each: `draw(stored)` gives a Drawn, or None where the study has nothing for it."""

from collections.abc import Iterator

from mergekit_finance.report.figures import curves, heatmaps, layers, predictors, retention, sheets, stages
from mergekit_finance.report.figures.style import Drawn, settings
from mergekit_finance.report.stored import Stored

FIGURES = (stages, heatmaps, sheets, curves, predictors, retention, layers)
NAMES = tuple(module.NAME for module in FIGURES)


def drawn(stored: Stored) -> Iterator[Drawn]:
    """Every figure that the study has results for, in order."""
    names = [*stored.summary["models"], *stored.summary["combinations"], *stored.tasks]
    with settings("".join(names)):
        for module in FIGURES:
            found = module.draw(stored)
            if found is not None:
                yield found
