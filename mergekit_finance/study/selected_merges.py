"""The merges that `chain: best` selects and writes to OUT/selected, for the next stage to merge."""

from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.files import atomic_path, atomic_write
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.models.fingerprint import folder_fingerprint
from mergekit_finance.recipe.load import check_mapping
from mergekit_finance.study.points import Point


def local_reference(place: Path) -> str:
    """Return a path that mergekit does not take for a Hub id."""
    return f"./{place}" if not place.is_absolute() else str(place)


def write_checkpoint(point: Point, place: Path, trust_remote_code: bool, quiet: bool) -> None:
    """Merge a point and save it, its fingerprint beside it."""
    from mergekit.options import MergeOptions  # imported here: loading mergekit takes seconds

    configuration = check_mapping(point.recipe(), point.name).configuration()
    options = MergeOptions(trust_remote_code=trust_remote_code, quiet=quiet, random_seed=point.drawn_seed)
    model, tokenizer = merge(configuration, options, check=False)
    with atomic_path(place) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        atomic_write(_fingerprint_file(place), folder_fingerprint(scratch, quiet=True))


def _fingerprint_file(place: Path) -> Path:
    """The file that holds the fingerprint of a selected merge as it was written."""
    return place.with_name(f"{place.name}.fingerprint")


def is_as_written(place: Path) -> bool:
    """Return whether a selected merge is there with the bytes that were written."""
    try:
        written = _fingerprint_file(place).read_text(encoding="utf-8")
        return written == folder_fingerprint(place, quiet=True)
    except (OSError, ModelError):
        return False
