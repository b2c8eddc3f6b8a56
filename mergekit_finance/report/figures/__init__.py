"""The figures, one module each. `draw(results)` returns a Drawn, or None if the study has no data for it."""

from collections.abc import Iterator

from mergekit_finance.report.figures import (
    curves,
    heatmaps,
    layers,
    retention,
    sheets,
    similarity_scatter,
    stages,
)
from mergekit_finance.report.figures.style import Drawn, settings
from mergekit_finance.study.results import StudyResults

FIGURES = (stages, heatmaps, sheets, curves, similarity_scatter, retention, layers)
NAMES = tuple(module.NAME for module in FIGURES)


def draw_all(results: StudyResults) -> Iterator[Drawn]:
    """Yield every figure that the study has results for, in order.

    Use each figure before asking for the next: matplotlib's settings apply only while this iterates.
    """
    summary = results.summary
    names = [*summary.models, *summary.combinations, *results.task_names]
    with settings("".join(names)):
        for module in FIGURES:
            drawn = module.draw(results)
            if drawn is not None:
                yield drawn
