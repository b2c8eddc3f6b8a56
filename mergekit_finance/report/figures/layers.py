"""Figure 7: where in the network the models differ, and where their task vectors disagree."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from matplotlib.axes import Axes

from mergekit_finance.report import labels
from mergekit_finance.report.figures.style import BLUE, INK, LINES, Drawn, canvas, expert_colours
from mergekit_finance.report.stored import Stored

NAME = "7-layers"
MOST = 12  # pairs that a panel can show
PAIRS = (BLUE, "#7a0f1f", "#5a2d91", "#00656b", "#6b6a00", INK)  # of no expert: in the first panel those are
MARKS = "os^Dv*"
Series = dict[str, list[float | None]]


def draw(stored: Stored) -> Drawn | None:
    layers = stored.similarity.get("layers") or {}
    if not layers:
        return None
    order = sorted(layers, key=_depth)
    figure = canvas(11, 6.6)
    panels = figure.subplots(2, 2).flat
    wanted = (
        (moved(stored, order), "How far CPT moved each expert: |τ| / |θ base|", "share of the base's norm"),
        (pairs(stored, order, "pairs", "l2"), "L2 between models", "L2"),
        (pairs(stored, order, "task_vector_pairs", "cosine"), "Cosine of task vectors", "cosine"),
        (
            pairs(stored, order, "task_vector_pairs", "sign_conflicts"),
            "Sign conflicts of task vectors",
            "share",
        ),
    )
    for axes, (series, title, unit) in zip(panels, wanted, strict=True):
        _panel(axes, order, series, title, unit, expert_colours(stored.singles))
    return Drawn(
        NAME,
        "Layer by layer: similarity and sign conflict",
        "Before any merge. Task vectors are expert less base; a sign conflict is a weight that two experts "
        "moved in opposite directions, as a share of those that both moved: "
        "0.5 is what unrelated directions give.",
        "Line plots over layers of task-vector size, L2, cosine and sign conflicts",
        figure,
    )


def _depth(key: str) -> tuple[bool, int, str]:
    """Layers by number, then what has none; `²` is a digit to Python and no number."""
    known = key.isdecimal() and len(key) < 10
    return (not known, int(key) if known else 0, key)


def names(stored: Stored) -> dict[str, str]:
    """Reference -> what it is called: an expert's name, else its last path component."""
    known = {str(model["reference"]): name for name, model in stored.summary["models"].items()}
    listed = [stored.similarity.get("base"), *stored.similarity.get("models", ())]
    return {str(ref): known.get(str(ref), PurePath(str(ref)).name) for ref in listed}


def moved(stored: Stored, order: list[str]) -> Series:
    """Each expert's task vector as a share of the base's norm."""
    layers, called = stored.similarity["layers"], names(stored)
    return {
        called[ref]: [(layers[k].get("task_vectors", {}).get(ref) or {}).get("relative_norm") for k in order]
        for ref in called
        if any(ref in layers[k].get("task_vectors", {}) for k in order)
    }


def pairs(stored: Stored, order: list[str], kind: str, measure: str) -> Series:
    layers, called = stored.similarity["layers"], names(stored)
    found: Series = {}
    for place, key in enumerate(order):
        for pair in layers[key].get(kind, ())[:MOST]:
            name = " – ".join(called.get(pair[side], str(pair[side])) for side in ("a", "b"))
            found.setdefault(name, [None] * len(order))[place] = pair.get(measure)
    return found


def _panel(
    axes: Axes, order: list[str], series: Series, title: str, unit: str, colours: Mapping[str, Any]
) -> None:
    axes.set_title(title)
    axes.grid(axis="y")
    for i, (name, values) in enumerate(series.items()):
        y = [float("nan") if v is None else v for v in values]
        known, turn = name in colours, i % len(PAIRS)
        colour, mark = (colours[name], "o") if known else (PAIRS[turn], MARKS[turn])
        style = "-" if known else ("-", *LINES)[(i // len(PAIRS)) % 4]
        axes.plot(
            order, y, marker=mark, ms=3.6, lw=1.5, ls=style, color=colour, label=labels.clipped(name, 30)
        )
    axes.set_xlabel("layer")
    axes.set_ylabel(unit)
    if len(order) > 16:
        axes.set_xticks(order[:: len(order) // 12])
    if series:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5)
