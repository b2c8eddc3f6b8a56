"""Copy the shipped models to a folder where recipes can refer to them."""

import filecmp
import shlex
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.files import atomic_write
from mergekit_finance.lab import ROLES

WEIGHTS = Path(__file__).with_name("weights")


def copy_models(folder: Path, weights: Path = WEIGHTS, force: bool = False) -> list[Path]:
    """Copy the four models into `folder`, one subfolder each.

    Args:
        folder: Where to write; created if missing. Other files in it stay.
        weights: The folder of the models to copy.
        force: Overwrite files with other content, such as those of an earlier version.

    Returns:
        The folders written, in the order of ROLES.

    Raises:
        ModelError: the weights are missing, a folder with a model's name is not a model, or a file is there
            with other content and `force` is False. Nothing is written then.
    """
    if not (weights / "base" / "model.safetensors").is_file():
        raise ModelError(
            f"{weights}: the lab's weights are missing. Reinstall mergekit-finance, or train them "
            "(recipes/lab/training/README.md in its repository)."
        )
    copies = {folder / role / path.name: path for role in ROLES for path in (weights / role).iterdir()}
    if (weights / "LICENSE").is_file():  # one file for all models here; each copied folder needs its own
        copies |= {folder / role / "LICENSE": weights / "LICENSE" for role in ROLES}
    for role in ROLES:
        place = folder / role
        if place.exists() and not (place / "config.json").is_file():
            raise ModelError(f"{place} exists and is not a model. Choose another output folder.")
    changed = [target for target, source in copies.items() if _differs(target, source)]
    if changed and not force:
        raise ModelError(
            f"{changed[0]}: exists with other content, which may be yours. Choose another folder, or overwrite "
            f"it: mergekit-finance lab export {shlex.quote(str(folder))} --force"
        )
    for target, source in copies.items():
        atomic_write(target, source.read_bytes())
    return [folder / role for role in ROLES]


def _differs(target: Path, source: Path) -> bool:
    """Return whether a file is there, and is not a copy of `source`."""
    return target.exists() and not (target.is_file() and filecmp.cmp(target, source, shallow=False))
