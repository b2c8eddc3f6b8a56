"""`data adopt`: copy raw dataset files from the user's disk into a mirror."""

from collections.abc import Callable, Iterable
from pathlib import Path

from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.errors import DataError
from mergekit_finance.plugins.api import Dataset, File


def adopt(
    folder: Path, mirror: Mirror, datasets: Iterable[Dataset], progress: Callable[[str], object]
) -> list[str]:
    """Find raw dataset files below `folder`, check every row, and copy the files into a mirror.

    All rows are read before the first file is copied. Earlier files of the same subsets are
    removed from the manifest.

    Args:
        folder: Searched with all its subfolders for the patterns in the datasets' `adopts`.
        mirror: Where the files are copied to.
        datasets: The datasets to look for.
        progress: Called with the name of each subset before its rows are checked.

    Returns:
        The names of the adopted files in the mirror; empty if no file was found.

    Raises:
        DataError: `folder` is missing, or a row is wrong.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    matches = [(dataset, files) for dataset in datasets if (files := _matches(folder, dataset))]
    for dataset, files in matches:
        for subset in sorted({file.subset for file, _ in files}):
            progress(f"{dataset.name} {subset}".strip())
            rows_of([Place(p, str(p), f.adapter, f.split) for f, p in files if f.subset == subset])
    if not matches:
        return []
    with mirror.locked():
        for dataset, files in matches:
            for subset in {file.subset for file, _ in files}:
                mirror.unlist(mirror.entries(dataset.name, subset))
        names = [
            mirror.add(path, dataset, file, origin=path.name)
            for dataset, files in matches
            for file, path in files
        ]
        mirror.save()
    return names


def _matches(folder: Path, dataset: Dataset) -> list[tuple[File, Path]]:
    """Return the dataset's files below `folder`.

    If files of several layouts match one subset and split, the first layout of the registry is used.
    """
    first_layout: dict[tuple[str, str], list[tuple[File, Path]]] = {}
    for file in dataset.adopts:
        if paths := _paths(folder, file.path):
            files = [(_with_name(file, path.name), path) for path in paths]
            first_layout.setdefault((file.subset, file.split), files)
    return [pair for files in first_layout.values() for pair in files]


def _paths(folder: Path, pattern: str) -> list[Path]:
    """Return the files for a pattern: the first that matches, and with a star all matches in its folder."""
    paths = sorted(folder.rglob(pattern))
    if not paths:  # `fpb/test.jsonl` when `folder` itself is the folder `fpb`
        beside = folder.resolve().parent / pattern
        paths = [beside] if beside.is_file() and beside.is_relative_to(folder.resolve()) else []
    if "*" not in pattern:
        return paths[:1]
    return [path for path in paths if path.parent == paths[0].parent]


def _with_name(file: File, name: str) -> File:
    """Return the registry's file with a pattern replaced by the name of a file that it matched."""
    if "*" not in file.path:
        return file
    parent = file.path.rpartition("/")[0]
    return file.model_copy(update={"path": f"{parent}/{name}" if parent else name})
