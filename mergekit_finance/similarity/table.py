"""Rows out of the sums, as JSON and as a short table."""

import json
import os
import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from mergekit_finance.errors import ModelError
from mergekit_finance.models.facts import short_name
from mergekit_finance.similarity.measures import BINS, Accumulator, Sums

FORMAT = 1
LARGEST = 0x7F7F  # the last bin below infinity
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
LAYER = re.compile(r"\.(\d+)\.")
KINDS = {
    "embeddings": re.compile(r"(^|\.)(embed_tokens|wte|wpe|embed_in|word_embeddings)$"),
    "lm_head": re.compile(r"(^|\.)(lm_head|embed_out)$"),
    "norms": re.compile(r"(norm\d*|ln_\w+)$"),
}


def result(accumulator: Accumulator, skipped: Iterable[str] = ()) -> dict[str, Any]:
    """Everything measured so far, in the form that `mergekit_finance.similarity` documents."""
    names = accumulator.names
    tensors = sorted(accumulator.tensors)
    layers = _grouped(accumulator, {name: layer_of(name) for name in tensors})
    kinds = _grouped(accumulator, {name: kind_of(name) for name in tensors})
    return {
        "format": FORMAT,
        "base": accumulator.base,
        "models": accumulator.models,
        "everything": accumulator.everything,
        "skipped": list(skipped),
        "total": entry(_total(accumulator, tensors), names),
        "layers": {layer: entry(layers[layer], names) for layer in sorted(layers, key=int)},
        "modules": {kind: entry(kinds[kind], names) for kind in sorted(kinds)},
        "tensors": {
            name: {"shape": list(accumulator.shapes[name]), "layer": layer_of(name), "module": kind_of(name)}
            | entry(accumulator.tensors[name], names)
            for name in tensors
        },
    }


def layer_of(name: str) -> str | None:
    """The number of the layer, of `model.layers.3.mlp.up_proj.weight` it is 3."""
    found = LAYER.search(name)
    return found[1] if found else None


def kind_of(name: str) -> str:
    """What a tensor does: embeddings, lm_head, norms, or the module's own name (q_proj, up_proj, ...)."""
    module, _, part = name.rpartition(".")
    if part not in ("weight", "bias"):
        return part
    for kind, pattern in KINDS.items():
        if pattern.search(module):
            return kind
    own = module.rpartition(".")[2]
    return own if part == "weight" else f"{own}.{part}"


def _total(accumulator: Accumulator, tensors: Iterable[str]) -> Sums:
    """Added up in sorted order, so that the order of files does not reach the last bit."""
    sums = Sums.zero(len(accumulator.names), BINS if accumulator.everything else 0)
    for name in tensors:
        sums += accumulator.tensors[name]
    return sums


def _grouped(accumulator: Accumulator, groups: dict[str, str | None]) -> dict[str, Sums]:
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        if group is not None:
            members.setdefault(group, []).append(name)
    return {group: _total(accumulator, tensors) for group, tensors in members.items()}


def entry(sums: Sums, names: list[str]) -> dict[str, Any]:
    """The measures of one set of elements."""
    everything = bool(sums.histograms.size)
    vectors = range(len(names) - 1)
    return {
        "elements": sums.count,
        "norms": {name: sqrt(sums.weights[i, i]) for i, name in enumerate(names)},
        "pairs": [_pair(sums, names, i, j, everything) for i, j in combinations(range(len(names)), 2)],
        "task_vectors": {names[i + 1]: _vector(sums, i, everything) for i in vectors},
        "task_vector_pairs": [
            _vector_pair(sums, names, i, j, everything) for i, j in combinations(vectors, 2)
        ],
    }


def _pair(sums: Sums, names: list[str], i: int, j: int, everything: bool) -> dict[str, Any]:
    pair = {
        "a": names[i],
        "b": names[j],
        "l2": sqrt(sums.squares[i, j]),
        "cosine": _cosine(sums.weights, i, j),
    }
    if everything:
        pair["equal"] = _share(sums.count - sums.unequal[i, j], sums.count)
    return pair


def _vector(sums: Sums, i: int, everything: bool) -> dict[str, Any]:
    norm, base = sqrt(sums.vectors[i, i]), sqrt(sums.weights[0, 0])
    row: dict[str, Any] = {"norm": norm, "relative_norm": norm / base if base else None}
    if everything:
        row["quantiles"] = {str(q): quantile(sums.histograms[i], q) for q in QUANTILES}
    return row


def _vector_pair(sums: Sums, names: list[str], i: int, j: int, everything: bool) -> dict[str, Any]:
    pair = {"a": names[i + 1], "b": names[j + 1], "cosine": _cosine(sums.vectors, i, j)}
    if everything:
        both = int(sums.moved[i, j])
        pair["both_moved"] = _share(both, sums.count)
        pair["sign_conflicts"] = _share((both - int(sums.signs[i, j])) // 2, both)
    return pair


def _cosine(products: np.ndarray, i: int, j: int) -> float | None:
    """None where a vector is zero."""
    square = float(products[i, i] * products[j, j])
    return min(1.0, max(-1.0, float(products[i, j]) / sqrt(square))) if square else None


def _share(part: int, whole: int) -> float | None:
    return int(part) / int(whole) if whole else None


def quantile(histogram: np.ndarray, q: float) -> float | None:
    """The smallest magnitude that at least a share q does not exceed, rounded down to 8 significant bits.

    Below 2**-133 it is 0; what float32 cannot hold counts as its largest bin.
    """
    count = int(histogram.sum())
    if not count:
        return None
    rank = max(1, ceil(Fraction(str(q)) * count))  # 0.1 * 30 is 3, not 3.0000000000000004
    bin_ = min(int(np.searchsorted(np.cumsum(histogram), rank)), LARGEST)
    return float(np.array(bin_ << 16, dtype=np.uint32).view(np.float32))


def check_target(path: Path) -> None:
    """What can be known before weights are read of whether `write` will do."""
    nearest = next(p for p in path.absolute().parents if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        kind = "cannot be written to" if nearest.is_dir() else "is not a folder"
        raise ModelError(f"-o {path}: {nearest} {kind}; name another file")


def write(found: dict[str, Any], path: Path) -> None:
    """As JSON; a file is whole or not there. A pipe or a device is written into, not replaced."""
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as fault:
        raise ModelError(
            f"{path}: cannot be written ({fault.strerror or fault}); name another file"
        ) from fault


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def render(found: dict[str, Any]) -> str:
    """The total, a row a pair."""
    total = found["total"]
    labels = _labels([found["base"], *found["models"]])
    vectors = {(p["a"], p["b"]): p for p in total["task_vector_pairs"]}
    head = ["pair", "L2", "cosine", "equal", "cosine of tau", "sign conflicts", "|tau|/|base|"]
    rows = [head]
    for pair in total["pairs"]:
        both = vectors.get((pair["a"], pair["b"]), {})
        moved = total["task_vectors"][pair["b"]]["relative_norm"] if pair["a"] == found["base"] else None
        rows.append(
            [f"{labels[pair['a']]} - {labels[pair['b']]}", _number(pair["l2"], ".6g"),
             _number(pair["cosine"], ".6f"), _number(pair.get("equal"), ".2%"),
             _number(both.get("cosine"), ".4f"), _number(both.get("sign_conflicts"), ".2%"),
             _number(moved, ".4g")]
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return f"{total['elements']:,} elements in {len(found['tensors'])} tensors\n" + "\n".join(lines)


def _labels(names: list[str]) -> dict[str, str]:
    short = [short_name(name) for name in names]
    return dict(zip(names, short if len(set(short)) == len(short) else names, strict=True))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
