"""Checks of values: was an expert trained from the base? Uses a few sampled values of each tensor."""

from collections.abc import Iterator
from itertools import combinations
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.checks.tensors import EMBEDDINGS, HEADS
from mergekit_finance.models.buffers import is_buffer

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.models.facts import ModelFacts
    from mergekit_finance.models.weight_files import Values

# Experts with a larger relative norm of the task vector are reported as not trained from the base. We
# measured 0.066 to 0.38 after continual pre-training, and 1.3 for unrelated models of one architecture.
FAR = 0.8


def check_finite(merge: "MergeFacts") -> Iterator[Finding]:
    """No sampled value may be NaN or infinite."""
    for model in merge.models:
        broken = [name for name, values in model.samples.items() if not np.isfinite(values).all()]
        if broken:
            more = f" (and {len(broken) - 1} more tensors)" if len(broken) > 1 else ""
            yield finding("model.not-finite", f"{model.reference}: tensor {broken[0]} holds NaN or Inf{more}")


def check_lineage(merge: "MergeFacts") -> Iterator[Finding]:
    """An expert should be near the base, and equal neither the base nor another expert."""
    for one, other in combinations(merge.others, 2):
        if _equal(one, other):
            yield finding(
                "model.equals-expert",
                f"{other.reference} equals {one.reference} in all sampled values",
            )
    for expert in merge.others:
        distance = distance_of(merge.base, expert, aligned=merge.aligned)
        if distance is None:
            continue
        relative_norm, cosine = distance
        if relative_norm == 0:
            yield finding(
                "model.equals-base",
                f"{expert.reference} equals {merge.base.reference} in all sampled values",
            )
        elif relative_norm >= FAR:
            yield finding(
                "model.far-from-base",
                f"{expert.reference} is far from {merge.base.reference}: the norm of their difference is "
                f"{relative_norm:.2f} of the base's, the cosine of their weights {cosine:.2f}; experts that "
                "were trained from a base have 0.07 to 0.4, and a cosine above 0.9",
            )


def _equal(one: "ModelFacts", other: "ModelFacts") -> bool:
    """Return whether two models have the same tensors with the same sampled values."""
    return (
        bool(one.samples)
        and one.samples.keys() == other.samples.keys()
        and all(np.array_equal(values, other.samples[name]) for name, values in one.samples.items())
    )


def distance_of(
    base: "ModelFacts", expert: "ModelFacts", *, aligned: bool = False
) -> tuple[float, float] | None:
    """Estimate how far an expert is from the base.

    A tensor counts by its number of elements, not by the number of its samples. Vectors count only where they
    are all that differs: scales of norms are near 1 in every model and outweigh the matrices of small ones.

    Args:
        base, expert: the models.
        aligned: whether a tokenizer block reorders rows, so that rows of tokens cannot be compared.

    Returns:
        |expert - base| / |base| and the cosine of the two, over the tensors that both have in one shape; None
        if nothing can be compared. If one model is stored with less precision, the other is rounded
        to it, so that a re-saved base is at distance 0.
    """
    sums = {True: np.zeros(4), False: np.zeros(4)}  # of matrices and of vectors
    for name, values in base.samples.items():
        if name not in expert.samples or not base.tensors or not expert.tensors or is_buffer(name):
            continue
        if aligned and (name in HEADS or EMBEDDINGS.search(name)):
            continue
        one, two = base.tensors[name], expert.tensors[name]
        if one.shape != two.shape or not values.size:
            continue
        x = _rounded(values, two.dtype).astype(np.float64)
        y = _rounded(expert.samples[name], one.dtype).astype(np.float64)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            continue  # check_finite reports it
        weight = one.count / values.size
        sums[len(one.shape) > 1] += weight * np.array([np.sum((y - x) ** 2), x @ x, y @ y, x @ y])
    of_matrices = sums[True] if sums[True][0] else sums[True] + sums[False]
    between, of_base, of_expert, product = of_matrices.tolist()
    if not of_base:
        return None
    return sqrt(between / of_base), product / sqrt(of_base * of_expert) if of_expert else 0.0


def _rounded(values: "Values", dtype: str) -> "Values":
    """Return float32 values rounded to a stored dtype, ties to even."""
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        bits = np.ascontiguousarray(values).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return values
