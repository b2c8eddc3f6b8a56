"""`data pull`: fetch a dataset into a mirror, subset by subset.

A file gets its final name, and its entry in the manifest, only when it is complete, its SHA-256 is the
expected one and all its rows parse.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from tqdm import tqdm

from mergekit_finance.data.download import BAR_DELAY, finish
from mergekit_finance.data.mirror import MANIFEST, UNVERIFIED, Mirror, MirrorFile
from mergekit_finance.data.pull_errors import pull_error
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.data.sources import INCOMING, Fetched, Origin, fetch, is_offline
from mergekit_finance.data.status import missing_subsets, named_subsets
from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.files import sha256_file
from mergekit_finance.plugins.api import Dataset, File

PullOutcome = Literal["pulled", "present", "adopted"]


@dataclass(frozen=True)
class Pulled:
    """The outcome of a pull for each file of one dataset, by its name in the mirror.

    Attributes:
        source: The name of the source.
        pulled: Downloaded.
        present: In the mirror before, complete.
        adopted: Adopted by the user before, and not replaced.
        unlisted: Other files of the same rows, removed from the manifest.
    """

    source: str
    pulled: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pull:
    """One dataset's pull in progress.

    Attributes:
        origin: The dataset, its source and the mirror.
        source_named: The user named the source, so adopted files are not kept.
        check: Ask upstream again where a URL is not pinned to a commit.
        replace: Accept bytes other than those in the manifest.
    """

    origin: Origin
    source_named: bool
    check: bool
    replace: bool


def pull(
    dataset: Dataset, mirror: Mirror, source: str | None = None, *, check: bool = False, replace: bool = False
) -> Pulled:
    """Fetch a dataset into a mirror; files that are there and complete are not downloaded again.

    Args:
        dataset: The dataset.
        mirror: Where its files go.
        source: The source's name. Without it, adopted files stay, and the source that the mirror's files came
            from is preferred to the registry's first.
        check: Ask upstream again for files whose URL is not pinned to a commit.
        replace: Accept files that differ from those the manifest recorded.

    Raises:
        DataError: there is no such source, or a file cannot be fetched, has the wrong checksum, differs from
            the manifest's or has a row that does not parse.
    """
    if source is not None and source not in dataset.sources:
        raise DataError(f"{dataset.name}: unknown source {source!r}. {did_you_mean(source, dataset.sources)}")
    with _disk_errors_in_one_line(dataset, mirror), mirror.locked():
        before = {n: e for n, e in mirror.files.items() if e.dataset == dataset.name}
        if not dataset.sources:
            return _without_source(dataset, mirror)
        name = source or _present_source(dataset, before.values()) or next(iter(dataset.sources))
        job = _Pull(Origin(dataset, name, mirror), source is not None, check, replace)
        outcomes = {k: o for group in _groups(job.origin.source.files) for k, o in _pull_group(job, group)}
        _remove_empty_incoming(job.origin)

    def of(outcome: PullOutcome) -> tuple[str, ...]:
        return tuple(key for key, each in outcomes.items() if each == outcome)

    unlisted = tuple(sorted(before.keys() - mirror.files.keys()))
    return Pulled(name, of("pulled"), of("present"), of("adopted"), unlisted)


def _without_source(dataset: Dataset, mirror: Mirror) -> Pulled:
    if missing_subsets(dataset, mirror):
        raise DataError(
            f"{dataset.name}: the registry has no source to pull it from. Adopt your own copy: "
            f"`mergekit-finance data adopt FOLDER --mirror {mirror.folder}`"
        )
    return Pulled("", adopted=tuple(n for n, e in mirror.files.items() if e.dataset == dataset.name))


def _present_source(dataset: Dataset, entries: Iterable[MirrorFile]) -> str | None:
    return next((entry.source for entry in entries if entry.source in dataset.sources), None)


def _groups(files: Sequence[File]) -> list[list[File]]:
    """Return files whose rows are read together: those of a subset, or all if a file has several subsets."""
    if any(not file.subset for file in files):
        return [list(files)]
    subsets = dict.fromkeys(file.subset for file in files)
    return [[file for file in files if file.subset == subset] for subset in subsets]


def _pull_group(job: _Pull, files: list[File]) -> list[tuple[str, PullOutcome]]:
    """Fetch, check and list the files of a group; return each file's name and outcome."""
    if adopted := _adopted(job, files):
        return [(name, "adopted") for name in adopted]
    fetched = [_present(job, file) or _download(job.origin, file) for file in files]
    if any(not each.in_mirror for each in fetched):
        _add_to_mirror(job, [_without_partial_suffix(each) for each in fetched])
    return [(job.origin.key(each.file), "present" if each.in_mirror else "pulled") for each in fetched]


def _adopted(job: _Pull, files: list[File]) -> list[str]:
    """Return the names of adopted files that hold all rows of the group; none if they are to be replaced."""
    dataset, mirror = job.origin.dataset, job.origin.mirror
    subsets = named_subsets(dataset, files)
    if job.source_named or job.replace or not all(mirror.has_test_rows(dataset.name, s) for s in subsets):
        return []
    entries = {n: e for s in subsets for n, e in mirror.entries(dataset.name, s).items()}
    return list(entries) if all(not entry.source for entry in entries.values()) else []


def _present(job: _Pull, file: File) -> Fetched | None:
    """Return the mirror's file if a download would be identical, else None."""
    origin = job.origin
    entry = origin.mirror.files.get(origin.key(file))
    if entry is None or entry.source != origin.name or file.sha256 not in (UNVERIFIED, entry.sha256):
        return None
    if origin.is_pinned(file):
        if entry.origin != origin.address(file):
            return None
    elif job.check and not is_offline():
        return None
    try:
        return Fetched(file, origin.mirror.verify(origin.key(file)), entry.origin, in_mirror=True)
    except DataError:  # missing or altered: download it again
        return None


def _download(origin: Origin, file: File) -> Fetched:
    try:
        return fetch(origin, file)
    except DataError:
        raise
    except Exception as error:  # the Hub's client raises errors of several libraries
        raise pull_error(origin, file, error) from error


def _without_partial_suffix(fetched: Fetched) -> Fetched:
    """Remove `.partial` from a finished download; the reader is chosen by suffix. It is not moved yet."""
    if fetched.path.suffix != ".partial":
        return fetched
    return replace(fetched, path=finish(fetched.path))


def _add_to_mirror(job: _Pull, fetched: list[Fetched]) -> None:
    """Check the files of a group, then move them into the mirror and save its manifest."""
    origin, mirror = job.origin, job.origin.mirror
    downloaded = [each for each in fetched if not each.in_mirror]
    is_url = origin.source.kind == "url"  # downloads of the Hub's client stay in its cache
    try:
        if not job.replace:
            for each in downloaded:
                _require_unchanged(origin, each)
        _check_rows(origin, fetched)
        mirror.unlist(_other_files(origin, [each.file for each in fetched]))
        for each in downloaded:
            mirror.add(each.path, origin.dataset, each.file, each.address, source=origin.name, move=is_url)
        mirror.save()
    finally:
        for each in downloaded:
            if is_url:
                each.path.unlink(missing_ok=True)


def _require_unchanged(origin: Origin, fetched: Fetched) -> None:
    """Raise DataError if a file without a known checksum differs from what an earlier pull recorded."""
    file, recorded = fetched.file, origin.mirror.files.get(origin.key(fetched.file))
    if file.sha256 != UNVERIFIED or recorded is None or recorded.source != origin.name:
        return
    sha256, name = sha256_file(fetched.path), origin.dataset.name
    same_address = fetched.address == recorded.origin or not origin.is_pinned(file)
    if sha256 != recorded.sha256 and same_address:
        raise DataError(
            f"{name}: {fetched.address} was altered upstream: its SHA-256 is {sha256}, {MANIFEST} recorded "
            f"{recorded.sha256}. The mirror was not changed. To take the new file: "
            f"`mergekit-finance data pull {name} --replace`"
        )


def _check_rows(origin: Origin, fetched: list[Fetched]) -> None:
    """Read every row, subset by subset, so that errors are reported before a file is listed."""
    subsets = sorted({each.file.subset for each in fetched} - {""}) or [""]
    label = f"{origin.dataset.name}: check rows"
    for subset in tqdm(subsets, label, delay=BAR_DELAY, leave=False, unit=" subsets"):
        files = [each for each in fetched if each.file.subset in (subset, "")]
        rows_of([Place(each.path, each.address, each.file.adapter, each.file.split) for each in files])


def _other_files(origin: Origin, files: list[File]) -> set[str]:
    """Return listed files with the same rows under other names, which would count twice."""
    dataset, mirror = origin.dataset.name, origin.mirror
    keys_of_source = {origin.key(file) for file in origin.source.files}
    same_rows: set[str] = set()
    for subset in {file.subset for file in files}:
        of_dataset = {n for n, e in mirror.files.items() if e.dataset == dataset}
        same_rows |= set(mirror.entries(dataset, subset)) if subset else of_dataset
    return same_rows - keys_of_source


def _remove_empty_incoming(origin: Origin) -> None:
    incoming = origin.mirror.folder / INCOMING
    shutil.rmtree(incoming / origin.dataset.name, ignore_errors=True)
    if incoming.is_dir() and not any(incoming.iterdir()):
        incoming.rmdir()


@contextmanager
def _disk_errors_in_one_line(dataset: Dataset, mirror: Mirror) -> Iterator[None]:
    """Turn errors of the mirror's own disk into a DataError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{dataset.name}: cannot write to the mirror {mirror.folder} ({reason}). Free some space there, "
            "or choose another folder with --mirror; then pull again, the download resumes."
        ) from error
