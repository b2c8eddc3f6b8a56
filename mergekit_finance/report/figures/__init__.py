"""The figures, one module each. `draw(results)` returns a Drawn, or None if the study has no data for it."""

import logging
from collections.abc import Collection, Iterator

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.report.figures import (
    curves,
    heatmaps,
    layers,
    retention_scores,
    sheets,
    similarity_scatter,
    stages,
)
from mergekit_finance.report.figures.style import Drawn, laid_out, settings
from mergekit_finance.study.results import StudyResults

FIGURES = (stages, heatmaps, sheets, curves, similarity_scatter, retention_scores, layers)
LOG = logging.getLogger(__name__)
NAMES = tuple(module.NAME for module in FIGURES)


def draw_all(results: StudyResults, names: Collection[str] = NAMES) -> Iterator[Drawn]:
    """Yield every figure that the study has results for, in order; one that cannot be drawn is logged.

    All show selected merges, so that a study in which nothing was selected has none.

    Use each figure before asking for the next: matplotlib's settings apply only while this iterates.

    Args:
        results: a finished study.
        names: which figures to draw, of `NAMES`; all by default.
    """
    summary = results.summary
    if not summary.has_selection:
        return
    labels = [*summary.models, *summary.combinations, *results.task_names]
    with settings("".join(labels)):
        for module in (module for module in FIGURES if module.NAME in names):
            try:
                drawn = module.draw(results)
                if drawn is not None:
                    laid_out(drawn.figure)  # may fail, too: texts are measured
            except DataError:
                raise  # the study's files are damaged
            except Exception as error:
                LOG.warning("figure %s is left out: it cannot be drawn (%s)", module.NAME, first_line(error))
                continue
            if drawn is not None:
                yield drawn
