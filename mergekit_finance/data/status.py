"""`data status`: files of a dataset in a mirror, and which are missing or altered, by their sizes."""

from collections.abc import Iterable

from mergekit_finance.data.mirror import MANIFEST, Mirror
from mergekit_finance.data.sources import INCOMING
from mergekit_finance.files import is_folder
from mergekit_finance.plugins.api import Dataset, File


def missing_subsets(dataset: Dataset, mirror: Mirror) -> list[str]:
    """Return the subsets of a dataset whose test rows the mirror does not list."""
    subsets = named_subsets(dataset, _all_files(dataset))
    return [subset for subset in subsets if not mirror.has_test_rows(dataset.name, subset)]


def named_subsets(dataset: Dataset, files: Iterable[File]) -> list[str]:
    """Return the subsets that these files hold; [""] if the dataset has no subsets.

    A file without a subset holds all subsets that the dataset names anywhere.
    """
    subsets = dict.fromkeys(file.subset for file in files)
    if "" in subsets:
        subsets |= dict.fromkeys(file.subset for file in _all_files(dataset))
    return [subset for subset in subsets if subset] or [""]


def _all_files(dataset: Dataset) -> list[File]:
    return [*dataset.adopts, *(file for source in dataset.sources.values() for file in source.files)]


def size_problem(mirror: Mirror, name: str) -> str:
    """Return what is wrong with the size of a file of the manifest, or ""."""
    path, entry = mirror.path(name), mirror.files[name]
    if not path.is_file():
        return f"missing {name}"
    size = path.stat().st_size
    return "" if size == entry.size else f"altered {name}: {size} bytes, {MANIFEST} says {entry.size}"


def interrupted_downloads(mirror: Mirror, dataset: str) -> dict[str, int]:
    """Return the downloads that the next pull resumes, and their bytes so far."""
    if not is_folder(dataset):  # a manifest may contain `/`, and the whole disk would be searched
        return {}
    partials = (mirror.folder / INCOMING / dataset).rglob("*.partial")
    return {path.relative_to(mirror.folder).as_posix(): path.stat().st_size for path in sorted(partials)}
