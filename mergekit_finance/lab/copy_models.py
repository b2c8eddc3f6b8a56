"""Copy the shipped models to a folder where recipes can refer to them."""

import shutil
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.lab import ROLES

WEIGHTS = Path(__file__).with_name("weights")


def copy_models(folder: Path, weights: Path = WEIGHTS) -> list[Path]:
    """Copy the four models into `folder`, one subfolder each.

    Args:
        folder: Where to write; created if missing. Files of an earlier copy are overwritten.
        weights: The folder of the models to copy.

    Returns:
        The folders written, in the order of ROLES.

    Raises:
        ModelError: the weights are missing, or a folder with a model's name is not a model.
    """
    if not (weights / "base" / "model.safetensors").is_file():
        raise ModelError(
            f"{weights}: the lab's weights are missing. Reinstall mergekit-finance, or train them "
            "(recipes/lab/training/README.md in its repository)."
        )
    for role in ROLES:
        place = folder / role
        if place.exists() and not (place / "config.json").is_file():
            raise ModelError(f"{place} exists and is not a model. Choose another output folder.")
        shutil.copytree(weights / role, place, dirs_exist_ok=True)
        if (weights / "LICENSE").is_file():  # one file for all models here; each copied folder needs its own
            shutil.copyfile(weights / "LICENSE", place / "LICENSE")
    return [folder / role for role in ROLES]
