"""Figures of the page as inline SVG: they follow dark mode, and show their values on hover and focus.

figures/ draws the same results for papers; what a figure shows is computed there.

svg, plot, styles   elements, panels with axes, colors and shapes
stage_rows          macro scores by stage
retention_marks     skill against retention: all points with the front, and each combination
task_heatmaps       Gain and OG by task
flip_bars           items that became right and wrong
setting_curves      score against hyperparameter
similarity_marks    similarity against Gain and OG
layer_lines         similarity by layer
right_answers       answer sheets
"""

import logging

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.report.charts import (
    flip_bars,
    layer_lines,
    retention_marks,
    right_answers,
    setting_curves,
    similarity_marks,
    stage_rows,
    task_heatmaps,
)
from mergekit_finance.report.charts.plot import Chart
from mergekit_finance.study.results import StudyResults

LOG = logging.getLogger(__name__)
CHARTS = (
    stage_rows.draw,
    retention_marks.draw_front,
    task_heatmaps.draw,
    flip_bars.draw,
    setting_curves.draw,
    retention_marks.draw,
    similarity_marks.draw,
    layer_lines.draw,
    right_answers.draw,
)


def all_charts(results: StudyResults) -> list[Chart]:
    """Return every chart that the study has results for, in order; one that cannot be drawn is logged."""
    charts = []
    for draw in CHARTS:
        try:
            chart = draw(results)
        except DataError:
            raise  # the study's files are damaged
        except Exception as error:
            LOG.warning(
                "%s of the page is left out: it cannot be drawn (%s)", draw.__module__, first_line(error)
            )
            continue
        if chart is not None:
            charts.append(chart)
    return charts
