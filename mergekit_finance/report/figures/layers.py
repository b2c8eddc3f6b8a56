"""Figure 7: similarity of models and sign conflicts of their task vectors, layer by layer."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal

from matplotlib.axes import Axes

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import (
    BLUE,
    EXPERT_LINES,
    INK,
    Drawn,
    canvas,
    expert_colors,
)
from mergekit_finance.similarity.measured import MeasuredEntry
from mergekit_finance.study.results import StudyResults

NAME = "7-layers"
MAX_PAIRS = 12  # pairs of models that a panel can show
# Pairs must not have the colors of experts, which the first panel uses.
PAIR_COLORS = (BLUE, "#7a0f1f", "#5a2d91", "#00656b", "#6b6a00", INK)
MARKERS = "os^Dv*"
Series = dict[str, list[float | None]]  # label of a line -> its value in each layer
LayerMeasure = Literal["l2", "cosine", "sign_conflicts"]
PairKind = Literal["pairs", "task_vector_pairs"]


def draw(results: StudyResults) -> Drawn | None:
    """Draw the figure; None if similarity was not measured by layer."""
    by_layer = layers_of(results)
    if not by_layer:
        return None
    order = sorted(by_layer, key=layer_order)
    panels = (
        (relative_norms(results, order), "Size of task vectors: |τ| / |θ base|", "share of the base's norm"),
        (pair_series(results, order, "pairs", "l2"), "L2 between models", "L2"),
        (pair_series(results, order, "task_vector_pairs", "cosine"), "Cosine of task vectors", "cosine"),
        (
            pair_series(results, order, "task_vector_pairs", "sign_conflicts"),
            "Sign conflicts of task vectors",
            "share",
        ),
    )
    figure = canvas(11, 6.6)
    for axes, (series, title, unit) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        _panel(axes, order, series, expert_colors(results.singles))
        axes.set_title(title)
        axes.set_ylabel(unit)
    return Drawn(
        NAME,
        "Layer by layer: similarity and sign conflicts",
        "Measured before any merge. A task vector is the expert's weights minus the base's. A sign conflict "
        "is a weight that two experts moved in opposite directions, as a share of those that both moved: 0.5 "
        "is what unrelated directions give.",
        "Line plots over layers of task-vector size, L2, cosine and sign conflicts",
        figure,
    )


def layers_of(results: StudyResults) -> Mapping[str, MeasuredEntry]:
    """Return the similarity by layer; empty if it was not measured."""
    return results.similarity.layers if results.similarity else {}


def layer_order(key: str) -> tuple[bool, int, str]:
    """Return a sort key: numbered layers by number, then the others. (`²` is a digit but not a number.)"""
    numbered = key.isdecimal() and len(key) < 10
    return (not numbered, int(key) if numbered else 0, key)


def model_names(results: StudyResults) -> dict[str, str]:
    """Return reference -> the expert's name in the study, or the last component of the reference."""
    in_study = {model.reference: name for name, model in results.summary.models.items()}
    similarity = results.similarity
    listed = [similarity.base, *similarity.models] if similarity else []
    return {reference: in_study.get(reference, PurePath(reference).name) for reference in listed}


def relative_norms(results: StudyResults, order: Sequence[str]) -> Series:
    """Return each expert's task-vector norm as a share of the base's norm."""
    by_layer, series = layers_of(results), Series()
    for reference, name in model_names(results).items():
        vectors = [by_layer[key].task_vectors for key in order]
        if any(reference in layer for layer in vectors):
            of_model = [layer.get(reference) for layer in vectors]
            series[name] = [vector.relative_norm if vector else None for vector in of_model]
    return series


def pair_series(results: StudyResults, order: Sequence[str], kind: PairKind, measure: LayerMeasure) -> Series:
    """Return a measure of each pair of models, at most MAX_PAIRS of them."""
    by_layer, names, series = layers_of(results), model_names(results), Series()
    for place, key in enumerate(order):
        for pair in getattr(by_layer[key], kind)[:MAX_PAIRS]:
            label = " – ".join(names.get(reference, reference) for reference in (pair.a, pair.b))
            series.setdefault(label, [None] * len(order))[place] = getattr(pair, measure)
    return series


def _panel(axes: Axes, order: Sequence[str], series: Series, colors: Mapping[str, str]) -> None:
    axes.grid(axis="y")
    for i, (name, values) in enumerate(series.items()):
        heights = [float("nan") if value is None else value for value in values]
        is_expert, turn = name in colors, i % len(PAIR_COLORS)
        axes.plot(
            order,
            heights,
            marker="o" if is_expert else MARKERS[turn],
            ms=3.6,
            lw=1.5,
            ls="-" if is_expert else ("-", *EXPERT_LINES)[(i // len(PAIR_COLORS)) % 4],
            color=colors[name] if is_expert else PAIR_COLORS[turn],
            label=labels.clipped(name, 30),
        )
    axes.set_xlabel("layer")
    if len(order) > 16:
        axes.set_xticks(order[:: len(order) // 12])
    if series:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5)
