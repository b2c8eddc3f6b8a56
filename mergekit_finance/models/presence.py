"""Which weights of models are on this machine: their size, those that are missing, those never trained."""

import os
from collections.abc import Iterable
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.models.facts import fetched_folder, is_pickled, stored_folder, weight_files
from mergekit_finance.models.json_files import read_model_json


def weights_size(reference: str) -> int:
    """Return the size of a model's weight files in bytes."""
    folder = fetched_folder(reference)
    pattern = "pytorch_model*.bin" if is_pickled(folder) else "*.safetensors"
    return sum(path.stat().st_size for path in folder.glob(pattern))


def absent_models(references: Iterable[str]) -> tuple[str, ...]:
    """Return the models whose weights are not all on this machine. Broken ones count as present."""
    return tuple(reference for reference in references if not _has_weights(stored_folder(reference)))


def _has_weights(folder: Path | None) -> bool:
    if folder is None:
        return False
    try:
        files = weight_files(folder)
    except ModelError:  # a check reports it
        return True
    return bool(files) and all(os.path.exists(folder / name) for name in files)


def random_weights(references: Iterable[str]) -> list[str]:
    """Return the local models whose config marks them as never trained."""
    return [reference for reference in references if _is_marked_random(Path(reference) / "config.json")]


def _is_marked_random(config: Path) -> bool:
    if not os.path.isfile(config):
        return False
    return read_model_json(config).get("mergekit_finance_weights") == "random"
