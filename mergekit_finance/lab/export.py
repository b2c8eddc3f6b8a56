"""The shipped models, copied to where recipes can name them."""

import shutil
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.lab import ROLES

WEIGHTS = Path(__file__).with_name("weights")


def export(folder: Path, weights: Path = WEIGHTS) -> list[Path]:
    """Copy the four models below `folder`; what is there already under their names must be them."""
    if not (weights / "base" / "model.safetensors").is_file():
        raise ModelError(f"{weights}: the lab's weights are missing; train them (mergekit_finance.lab.train)")
    for role in ROLES:
        place = folder / role
        if place.exists() and not (place / "config.json").is_file():
            raise ModelError(f"{place}: in the way, and no model; choose another folder")
        shutil.copytree(weights / role, place, dirs_exist_ok=True)
        if (weights / "LICENSE").is_file():  # one copy serves all four here; each needs its own to be shared
            shutil.copyfile(weights / "LICENSE", place / "LICENSE")
    return [folder / role for role in ROLES]
