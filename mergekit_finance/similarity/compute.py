"""Similarity of checkpoints on disk or on the Hub."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from mergekit_finance.errors import ModelError, first_line
from mergekit_finance.similarity.checkpoint_files import CheckpointFamily
from mergekit_finance.similarity.entries import result
from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.similarity.measures import Accumulator


def compute_similarity(
    base: str,
    models: Sequence[str],
    device: str = "cpu",
    *,
    everything: bool = True,
    threads: int | None = None,
    quiet: bool = True,
) -> Similarity:
    """Measure the distances of models from their base and from each other. Reads every file once.

    Args:
        base: folder or Hub id of the model from which the others were trained.
        models: folders or Hub ids, at least one.
        device: the device that computes sums: cpu, cuda, cuda:1, ...
        everything: False measures L2 distances, cosines and norms only, in half the time.
        threads: number of threads, by default torch's. It does not change the result.
        quiet: do not show a progress bar.

    Returns:
        The measures in total, by layer, by module kind and by tensor, as defined in
        `mergekit_finance.similarity`; `as_json()` is the content of similarity.json.

    Raises:
        ModelError: a model is missing, broken, listed twice or has different tensors, or the device cannot be
            used.
    """
    _check(base, models, device)
    family = CheckpointFamily([base, *models])
    try:
        accumulator = Accumulator(base, models, device=device, threads=threads, everything=everything)
        with tqdm(
            total=family.bytes, unit="B", unit_scale=True, desc="similarity", leave=False, disable=quiet
        ) as bar:
            family.measure(accumulator, lambda count: bar.update(count))
    except torch.OutOfMemoryError as error:
        raise ModelError(f"similarity: {device} ran out of memory. Use --device cpu.") from error
    return result(accumulator, family.skipped)


def _check(base: str, models: Sequence[str], device: str) -> None:
    if not models:
        raise ModelError("similarity: no model besides the base. Give at least one.")
    names: dict[str, str] = {}  # by folder
    for name in (base, *models):
        folder = str(Path(name).resolve()) if os.path.exists(name) else name
        if folder in names:
            other = "" if names[folder] == name else f" ({names[folder]!r} is the same folder)"
            raise ModelError(
                f"similarity: {name!r} is listed twice{other}. Remove one.",
                id="recipe.same-model",
            )
        names[folder] = name
    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"similarity: device {device!r} cannot be used ({first_line(error)})") from error
