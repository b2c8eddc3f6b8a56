"""Compute the result from the accumulated sums.

The measures are defined in `mergekit_finance.similarity`.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations
from math import ceil, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mergekit_finance.similarity.measured import (
    MeasuredEntry,
    ModelPair,
    Similarity,
    TaskVector,
    TaskVectorPair,
    TensorEntry,
)
from mergekit_finance.similarity.measures import BINS, Accumulator, Sums

FORMAT: Literal[1] = 1
LARGEST_BIN = 0x7F7F  # the last one below infinity
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
LAYER = re.compile(r"\.(\d+)\.")
KINDS = {
    "embeddings": re.compile(r"(^|\.)(embed_tokens|wte|wpe|embed_in|word_embeddings)$"),
    "lm_head": re.compile(r"(^|\.)(lm_head|embed_out)$"),
    "norms": re.compile(r"(norm\d*|ln_\w+)$"),
}


def result(accumulator: Accumulator, skipped: Iterable[str] = ()) -> Similarity:
    """Return the measures of all tensors added so far.

    Args:
        skipped: names of tensors that are not floating point.
    """
    names = accumulator.names
    tensors = sorted(accumulator.tensors)
    layers = _grouped(accumulator, {name: layer_of(name) for name in tensors})
    kinds = _grouped(accumulator, {name: kind_of(name) for name in tensors})
    return Similarity(
        format=FORMAT,
        base=accumulator.base,
        models=accumulator.models,
        everything=accumulator.everything,
        skipped=list(skipped),
        total=entry(_total(accumulator, tensors), names),
        layers={layer: entry(layers[layer], names) for layer in sorted(layers, key=int)},
        modules={kind: entry(kinds[kind], names) for kind in sorted(kinds)},
        tensors={name: _tensor(accumulator, name) for name in tensors},
    )


def _tensor(accumulator: Accumulator, name: str) -> TensorEntry:
    measures = entry(accumulator.tensors[name], accumulator.names)
    return TensorEntry(
        shape=list(accumulator.shapes[name]),
        layer=layer_of(name),
        module=kind_of(name),
        elements=measures.elements,
        norms=measures.norms,
        pairs=measures.pairs,
        task_vectors=measures.task_vectors,
        task_vector_pairs=measures.task_vector_pairs,
    )


def entry(sums: Sums, names: list[str]) -> MeasuredEntry:
    """Return the measures of one set of elements; `names` are the models, the base first."""
    everything = bool(sums.histograms.size)
    vectors = range(len(names) - 1)
    return MeasuredEntry(
        elements=sums.count,
        norms={name: sqrt(sums.weights[i, i]) for i, name in enumerate(names)},
        pairs=[_pair(sums, names, i, j, everything) for i, j in combinations(range(len(names)), 2)],
        task_vectors={names[i + 1]: _vector(sums, i, everything) for i in vectors},
        task_vector_pairs=[_vector_pair(sums, names, i, j, everything) for i, j in combinations(vectors, 2)],
    )


def layer_of(name: str) -> str | None:
    """Return the number of a tensor's layer: 3 for `model.layers.3.mlp.up_proj.weight`."""
    match = LAYER.search(name)
    return match[1] if match else None


def kind_of(name: str) -> str:
    """Return a tensor's module kind: embeddings, lm_head, norms, or the module's name, such as q_proj."""
    module, _, part = name.rpartition(".")
    if part not in ("weight", "bias"):
        return part
    for kind, pattern in KINDS.items():
        if pattern.search(module):
            return kind
    module_name = module.rpartition(".")[2]
    return module_name if part == "weight" else f"{module_name}.{part}"


def quantile(histogram: NDArray[np.int64], q: float) -> float | None:
    """Return the smallest magnitude such that at least a share q of the elements is not larger.

    It is rounded down to 8 significant bits; below 2**-133 it is 0. Magnitudes too large for float32 are in
    the largest bin. None if nothing was counted.
    """
    count = int(histogram.sum())
    if not count:
        return None
    rank = max(1, ceil(Fraction(str(q)) * count))  # 0.1 * 30 is 3, not 3.0000000000000004
    bin_ = min(int(np.searchsorted(np.cumsum(histogram), rank)), LARGEST_BIN)
    return float(np.array(bin_ << 16, dtype=np.uint32).view(np.float32))


def _total(accumulator: Accumulator, tensors: Iterable[str]) -> Sums:
    """Add up in sorted order, so that the order of files does not change the last bit."""
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


def _pair(sums: Sums, names: list[str], i: int, j: int, everything: bool) -> ModelPair:
    pair = ModelPair(a=names[i], b=names[j], l2=sqrt(sums.squares[i, j]), cosine=_cosine(sums.weights, i, j))
    if everything:
        pair.equal = _share(sums.count - int(sums.unequal[i, j]), sums.count)
    return pair


def _vector(sums: Sums, i: int, everything: bool) -> TaskVector:
    norm, base = sqrt(sums.vectors[i, i]), sqrt(sums.weights[0, 0])
    vector = TaskVector(norm=norm, relative_norm=norm / base if base else None)
    if everything:
        vector.quantiles = {str(q): quantile(sums.histograms[i], q) for q in QUANTILES}
    return vector


def _vector_pair(sums: Sums, names: list[str], i: int, j: int, everything: bool) -> TaskVectorPair:
    pair = TaskVectorPair(a=names[i + 1], b=names[j + 1], cosine=_cosine(sums.vectors, i, j))
    if everything:
        both = int(sums.moved[i, j])
        pair.both_moved = _share(both, sums.count)
        pair.sign_conflicts = _share((both - int(sums.signs[i, j])) // 2, both)
    return pair


def _cosine(products: NDArray[np.float64], i: int, j: int) -> float | None:
    """Return the cosine from inner products; None if a vector is zero."""
    square = float(products[i, i] * products[j, j])
    return min(1.0, max(-1.0, float(products[i, j]) / sqrt(square))) if square else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
