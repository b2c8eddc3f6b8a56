"""How far models are from each other, and their task vectors, measured in one pass over the files.

    similarity("base", ["finance", "math"])          -> dict; as `mergekit-finance similarity` writes it

For base theta_0 and models theta_1 ... theta_k, tau_i = theta_i - theta_0, and for any set of elements p
(a tensor, a layer, a module kind, the whole model):

    l2              sqrt(sum_p (theta_ip - theta_jp)^2), for task vectors the same: the base cancels
    cosine          sum_p x_p y_p / sqrt(sum_p x_p^2 * sum_p y_p^2), of weights and of task vectors;
                    null where one of the two is zero
    relative_norm   |tau_i| / |theta_0|
    equal           share of elements in which two models hold the same number (+0 equals -0)
    both_moved      share of elements in which two task vectors are both non-zero
    sign_conflicts  among those, the share in which their signs differ; null where there are none
    quantiles       of |tau_i|, zeros included: the smallest magnitude that at least a share q does not
                    exceed, rounded down to 8 significant bits (the bin of a histogram over the upper 16
                    bits of float32: at most 0.8 % low; below 2**-133 it is 0)

Sums are float64; differences of bfloat16 or float16 weights are exact. The dict, format 1:

    format, base, models     1, and the references as given
    everything               false where only l2, cosine and norms were asked for; the others are absent
    skipped                  tensors that are not floating point
    total                    ENTRY
    layers, modules          {name: ENTRY}; modules are q_proj, ..., norms, embeddings, lm_head
    tensors                  {name: {shape, layer, module} | ENTRY}

    ENTRY   elements, norms {model: |theta|},
            pairs [{a, b, l2, cosine, equal}], the base included,
            task_vectors {model: {norm, relative_norm, quantiles {q: |tau|}}},
            task_vector_pairs [{a, b, cosine, both_moved, sign_conflicts}]

Output embeddings that all models tie to the input's count once; where only some tie them, theirs are the
input's. Which measures predict what a merge gains is asked in arXiv 2511.02451, Fig. 5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergekit_finance.errors import ModelError

__all__ = ["similarity"]


def similarity(
    base: str,
    models: Sequence[str],
    device: str = "cpu",
    *,
    everything: bool = True,
    threads: int | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Measure checkpoints, named by folder or Hub id; `everything=False`: only L2, cosines and norms.

    `threads` (default: torch's number) changes nothing in the result.
    """
    import torch
    from tqdm import tqdm

    from mergekit_finance.similarity import table
    from mergekit_finance.similarity.measures import Accumulator
    from mergekit_finance.similarity.stream import Stream

    _check(base, models, device)
    stream = Stream([base, *models])
    size = {"total": stream.bytes, "unit": "B", "unit_scale": True}
    try:
        accumulator = Accumulator(base, models, device=device, threads=threads, everything=everything)
        with tqdm(**size, desc="similarity", leave=False, disable=quiet) as bar:
            stream.measure(accumulator, bar.update)
    except torch.OutOfMemoryError as fault:
        raise ModelError(f"similarity: {device} ran out of memory; --device cpu needs none") from fault
    return table.result(accumulator, stream.skipped)


def _check(base: str, models: Sequence[str], device: str) -> None:
    if not models:
        raise ModelError("similarity: name at least one model beside the base")
    places: dict[str, str] = {}
    for name in (base, *models):
        place = str(Path(name).resolve()) if Path(name).exists() else name
        if place in places:
            raise ModelError(f"similarity: {name!r} is named twice{_also(name, places[place])}")
        places[place] = name
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as fault:
        raise ModelError(
            f"similarity: device {device!r} cannot be used ({str(fault).splitlines()[0]})"
        ) from fault


def _also(name: str, other: str) -> str:
    return "" if name == other else f" ({other!r} is the same folder)"
