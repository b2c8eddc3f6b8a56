"""Similarity of models and sign conflicts of their task vectors, layer by layer."""

from collections.abc import Sequence

from mergekit_finance.report.charts.plot import Chart, LegendEntry, Panel, Plot, spread
from mergekit_finance.report.charts.styles import PAIRS, model_style
from mergekit_finance.report.charts.svg import SHAPES, swatch
from mergekit_finance.report.figures.layers import (
    Series,
    layer_order,
    layers_of,
    pair_series,
    relative_norms,
)
from mergekit_finance.study.results import StudyResults

LABELED = 9  # ticks of the horizontal axis


def draw(results: StudyResults) -> Chart | None:
    """Draw the panels; None if similarity was not measured by layer."""
    by_layer = layers_of(results)
    if not by_layer:
        return None
    order = sorted(by_layer, key=layer_order)
    panels = [
        ("Size of task vectors", "|τ| / |θ base|", relative_norms(results, order)),
        ("L2 between models", "L2", pair_series(results, order, "pairs", "l2")),
        ("Cosine of task vectors", "cosine", pair_series(results, order, "task_vector_pairs", "cosine")),
        (
            "Sign conflicts of task vectors",
            "share",
            pair_series(results, order, "task_vector_pairs", "sign_conflicts"),
        ),
    ]
    names = list(dict.fromkeys(name for _, _, series in panels for name in series))
    styles = {name: _style(results, name, names) for name in names}
    return Chart(
        "layers",
        "Layer by layer: similarity and sign conflicts",
        "Measured before any merge. A task vector is the expert's weights minus the base's. A sign conflict "
        "is a weight that two experts moved in opposite directions, as a share of those that both moved: 0.5 "
        "is what unrelated directions give.",
        [_panel(title, unit, order, series, styles) for title, unit, series in panels if series],
        [LegendEntry(swatch(style, shape), name) for name, (style, shape) in styles.items()],
    )


def _style(results: StudyResults, name: str, names: Sequence[str]) -> tuple[str, str]:
    """Return color class and shape of a line; pairs of models do not have the colors of experts."""
    if name in results.summary.models:
        return model_style(results, name), "circle"
    place = [other for other in names if other not in results.summary.models].index(name)
    return f"c-p{place % PAIRS}", SHAPES[place % len(SHAPES)]


def _panel(
    title: str, unit: str, order: Sequence[str], series: Series, styles: dict[str, tuple[str, str]]
) -> Panel:
    values = [number for row in series.values() for number in row if number is not None]
    step = -(-len(order) // LABELED)
    ticks = [(float(place), key) for place, key in enumerate(order) if place % step == 0]
    ends = (-0.3, max(len(order) - 0.7, 0.3))
    plot = Plot(f"{title}, by layer", ends, spread(values, 0.1), "layer", unit, x_ticks=ticks)
    for name, row in series.items():
        style, shape = styles[name]
        places = [(float(place), number) for place, number in enumerate(row) if number is not None]
        plot.path(places, style)
        for place, number in places:
            plot.mark(
                place, number, style, f"{name}, layer {order[int(place)]}: {unit} {number:.4g}", shape, 3
            )
    return plot.panel(title)
