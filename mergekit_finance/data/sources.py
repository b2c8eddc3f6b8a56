"""Fetching files from the Hub or a pinned URL into a mirror.

Downloads stream to `.incoming/<dataset>/<path>.partial` below the mirror, where a broken one waits to be
resumed. A file gets its final name, and its line in the manifest, when it is whole, its sha256 is the
expected one and each of its rows parses.
"""

import errno
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_finance.data.download import QUIET, Broken, discard, download, finish, transient
from mergekit_finance.data.mirror import MANIFEST, VARIABLE, Entry, Mirror, sha256
from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.plugins.api import Dataset, File, Source

INCOMING = ".incoming"
UNKNOWN = "unverified"  # the registry's word for a checksum that was not known


@dataclass(frozen=True)
class Pulled:
    """What a pull did with each file of one dataset, by its name in the mirror."""

    source: str
    pulled: tuple[str, ...] = ()
    there: tuple[str, ...] = ()  # whole already
    kept: tuple[str, ...] = ()  # adopted, and left alone
    unlisted: tuple[str, ...] = ()  # other files of the same rows, no longer in the manifest


@dataclass(frozen=True)
class _Job:
    """One dataset on its way from one source into a mirror."""

    known: Dataset
    name: str
    mirror: Mirror
    named: bool  # the user named the source
    check: bool
    replace: bool

    @property
    def source(self) -> Source:
        return self.known.sources[self.name]

    def key(self, file: File) -> str:
        """The file's name in the mirror."""
        return f"{self.known.name}/{file.path}"

    def pinned(self, file: File) -> bool:
        """Whether the file's address names a commit, so that its bytes cannot change."""
        commit = self.source.revision
        return bool(re.fullmatch("[0-9a-f]{40}", commit)) and commit in self.source.address(file)


@dataclass(frozen=True)
class _Fetched:
    file: File
    path: Path
    origin: str
    there: bool = False


# --- pulling one dataset


def pull(
    known: Dataset, mirror: Mirror, source: str | None = None, *, check: bool = False, replace: bool = False
) -> Pulled:
    """Fetch one dataset into the mirror, subset by subset; what is there and whole is not fetched again.

    Without `source`, adopted files stay, and the source that the mirror's files came from goes before
    the registry's first. `check` asks upstream again where an address is not pinned to a commit. Bytes
    other than those that the manifest recorded are an error unless `replace`.
    """
    if source is not None and source not in known.sources:
        raise DataError(f"{known.name}: unknown source {source!r}. {did_you_mean(source, known.sources)}")
    with _writing(known, mirror), mirror.locked():
        before = {n: e for n, e in mirror.files.items() if e.dataset == known.name}
        if not known.sources:
            return _sourceless(known, mirror)
        name = source or _present_source(known, before.values()) or next(iter(known.sources))
        job = _Job(known, name, mirror, source is not None, check, replace)
        done = [pair for group in _groups(job.source.files) for pair in _pull_group(job, group)]
        _tidy(job)
    by_state = {state: tuple(n for n, s in done if s == state) for state in ("pulled", "there", "kept")}
    return Pulled(name, unlisted=tuple(sorted(before.keys() - mirror.files.keys())), **by_state)


def _sourceless(known: Dataset, mirror: Mirror) -> Pulled:
    if missing_subsets(known, mirror):
        raise DataError(
            f"{known.name}: the registry knows no source to pull it from. Adopt your own copy: "
            f"`mergekit-finance data adopt FOLDER --mirror {mirror.folder}`"
        )
    return Pulled("", kept=tuple(n for n, e in mirror.files.items() if e.dataset == known.name))


def _present_source(known: Dataset, entries: Any) -> str | None:
    return next((e.source for e in entries if e.source in known.sources), None)


def _groups(files: tuple[File, ...]) -> list[list[File]]:
    """Files whose rows must be read together: those of a subset, or all where one file serves several."""
    if any(not file.subset for file in files):
        return [list(files)]
    subsets = dict.fromkeys(file.subset for file in files)
    return [[file for file in files if file.subset == subset] for subset in subsets]


def _pull_group(job: _Job, files: list[File]) -> list[tuple[str, str]]:
    """Fetch, check and list files that belong together; each one's name and what became of it."""
    if kept := _adopted(job, files):
        return [(name, "kept") for name in kept]
    fetched = [_fetch(job, file) for file in files]
    if any(not one.there for one in fetched):
        _enter(job, _staged(fetched))
    return [(job.key(one.file), "there" if one.there else "pulled") for one in fetched]


def _adopted(job: _Job, files: list[File]) -> list[str]:
    """Adopted files that hold all of these rows already, where nobody asked for others."""
    subsets = _named_subsets(job.known, files)
    if job.named or job.replace or any(not _has(job.mirror, job.known, s) for s in subsets):
        return []
    entries = {n: e for s in subsets for n, e in job.mirror.of(job.known.name, s).items()}
    return list(entries) if all(not e.source for e in entries.values()) else []


def _enter(job: _Job, fetched: list[_Fetched]) -> None:
    """Move whole files into the mirror, if their rows parse and upstream did not change them."""
    try:
        _refuse_altered(job, fetched)
        _check_rows(job, fetched)
        _unlist(job, [one.file for one in fetched])
        for one in fetched:
            if not one.there:
                staged = job.source.kind == "url"
                job.mirror.put(one.path, job.known, one.file, one.origin, source=job.name, move=staged)
        job.mirror.save()
    finally:
        for one in fetched:
            if not one.there and job.source.kind == "url":
                one.path.unlink(missing_ok=True)


def _staged(fetched: list[_Fetched]) -> list[_Fetched]:
    """Finished downloads under their own names, still outside the final place; readers go by suffix."""
    return [
        _Fetched(one.file, finish(one.path), one.origin) if one.path.suffix == ".partial" else one
        for one in fetched
    ]


def _refuse_altered(job: _Job, fetched: list[_Fetched]) -> None:
    """An error where upstream's bytes are not those that the manifest recorded at an earlier pull."""
    for one in fetched:
        old, found = job.mirror.files.get(job.key(one.file)), sha256(one.path)
        if one.there or job.replace or one.file.sha256 != UNKNOWN or old is None or old.source != job.name:
            continue
        if found != old.sha256 and (one.origin == old.origin or not job.pinned(one.file)):
            raise DataError(
                f"{job.known.name}: {one.origin} was altered upstream: its sha256 is {found}, {MANIFEST} "
                f"recorded {old.sha256}. The mirror stays as it is; to take the new file: "
                f"`mergekit-finance data pull {job.known.name} --replace`"
            )


def _check_rows(job: _Job, fetched: list[_Fetched]) -> None:
    """Read and adapt every row, subset by subset, so that a bad one is named before it is listed."""
    from tqdm import tqdm

    from mergekit_finance.data.loader import rows_of

    subsets = sorted({one.file.subset for one in fetched} - {""}) or [""]
    for subset in tqdm(subsets, f"{job.known.name}: check rows", delay=QUIET, leave=False, unit=" subsets"):
        chosen = [one for one in fetched if one.file.subset in (subset, "")]
        rows_of([(one.path, one.origin, one.file.adapter, one.file.split) for one in chosen])


def _unlist(job: _Job, files: list[File]) -> None:
    """Drop what the manifest lists of the same rows under other names, lest they count twice."""
    mirror, ours = job.mirror, {job.key(file) for file in job.source.files}
    for subset in {file.subset for file in files}:
        of_dataset = {n: e for n, e in mirror.files.items() if e.dataset == job.known.name}
        same = mirror.of(job.known.name, subset) if subset else of_dataset
        mirror.files = {n: e for n, e in mirror.files.items() if n in ours or n not in same}


def _tidy(job: _Job) -> None:
    incoming = job.mirror.folder / INCOMING
    shutil.rmtree(incoming / job.known.name, ignore_errors=True)
    if incoming.is_dir() and not any(incoming.iterdir()):
        incoming.rmdir()


@contextmanager
def _writing(known: Dataset, mirror: Mirror) -> Iterator[None]:
    """Faults of the mirror's own disk as one line."""
    try:
        yield
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise DataError(
            f"{known.name}: cannot write to the mirror {mirror.folder} ({reason}). Free some space there or "
            "name another folder by --mirror; then pull again, it goes on where it stopped"
        ) from fault


# --- what a mirror has


def missing_subsets(known: Dataset, mirror: Mirror) -> list[str]:
    """Subsets of the dataset whose test rows the mirror does not list."""
    files = [*known.adopts, *(file for source in known.sources.values() for file in source.files)]
    return [s for s in _named_subsets(known, files) if not _has(mirror, known, s)]


def _named_subsets(known: Dataset, files: list[File]) -> list[str]:
    """The subsets that these files hold; a file without one holds all that the dataset names anywhere."""
    own = dict.fromkeys(file.subset for file in files)
    if "" in own:
        everywhere = [*known.adopts, *(file for source in known.sources.values() for file in source.files)]
        own |= dict.fromkeys(file.subset for file in everywhere)
    return [subset for subset in own if subset] or [""]


def _has(mirror: Mirror, known: Dataset, subset: str) -> bool:
    return any(entry.split == "test" for entry in mirror.of(known.name, subset).values())


def altered_size(mirror: Mirror, name: str, entry: Entry) -> str:
    """What a look at one file's size tells, without reading it; empty where nothing is wrong."""
    path = mirror.path(name)
    if not path.is_file():
        return f"missing {name}"
    size = path.stat().st_size
    return "" if size == entry.size else f"altered {name}: {size} bytes, {MANIFEST} says {entry.size}"


def half_way(mirror: Mirror, dataset: str) -> dict[str, int]:
    """Broken downloads that the next pull resumes, and their bytes so far."""
    partials = (mirror.folder / INCOMING / dataset).rglob("*.partial")
    return {path.relative_to(mirror.folder).as_posix(): path.stat().st_size for path in sorted(partials)}


# --- one file


def _fetch(job: _Job, file: File) -> _Fetched:
    if there := _there(job, file):
        return there
    try:
        return (_from_hub if job.source.kind == "hub" else _from_url)(job, file)
    except DataError:
        raise
    except Exception as fault:  # whatever the Hub's client raises: several libraries' kinds
        raise DataError(" ".join(_explain(job, file, fault).split())) from fault


def _there(job: _Job, file: File) -> _Fetched | None:
    """The file as the mirror has it, if that is what a download would bring."""
    entry, address = job.mirror.files.get(job.key(file)), job.source.address(file)
    if entry is None or entry.source != job.name or file.sha256 not in (UNKNOWN, entry.sha256):
        return None
    if (entry.origin != address) if job.pinned(file) else (job.check and not _offline()):
        return None
    try:
        return _Fetched(file, job.mirror.verify(job.key(file)), entry.origin, there=True)
    except DataError:  # missing or altered: that is what pulling again mends
        return None


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.is_offline_mode()


def _from_hub(job: _Job, file: File) -> _Fetched:
    """The Hub's client has a cache of its own; the mirror gets a copy. The commit is in its path."""
    path = _hub_file(job.source, file)
    if file.sha256 not in (UNKNOWN, sha256(path)):
        path = _hub_file(job.source, file, again=True)  # that cache may be damaged
    _refuse_wrong(job, file, path)
    commit = path.parts[-1 - len(Path(file.path).parts)]
    return _Fetched(file, path, job.source.model_copy(update={"revision": commit}).address(file))


def _hub_file(source: Source, file: File, *, again: bool = False) -> Path:
    """The file in the Hub client's cache; without network, what that cache has already."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    unreachable = _unreachable()
    how = {"local_files_only": unreachable is not None, "force_download": again and unreachable is None}
    where = {"repo_type": "dataset", "revision": source.revision}
    try:
        return Path(hf_hub_download(source.repo, file.path, **where, **how, tqdm_class=_hub_bar()))
    except LocalEntryNotFoundError as fault:
        raise (unreachable or fault) from fault.__cause__


def _unreachable() -> OSError | None:
    """Why the Hub cannot be asked. Its client would find out too, after half a minute of attempts."""
    from huggingface_hub import constants

    if _offline():
        return OSError("HF_HUB_OFFLINE is set")
    try:
        if not urllib.request.getproxies():  # a proxy resolves names itself
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, None)
    except socket.gaierror as fault:
        return fault
    return None


def _hub_bar() -> type:
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"delay": QUIET, "leave": False, **kwargs})

    return Bar


def _from_url(job: _Job, file: File) -> _Fetched:
    if _offline():
        raise OSError("HF_HUB_OFFLINE is set")
    address = job.source.address(file)
    partial = job.mirror.path(f"{INCOMING}/{job.key(file)}.partial")
    download(address, partial, job.key(file))
    _refuse_wrong(job, file, partial)
    return _Fetched(file, partial, address)


def _refuse_wrong(job: _Job, file: File, path: Path) -> None:
    """An error, and the download deleted, where its sha256 is not the registry's."""
    if file.sha256 in (UNKNOWN, found := sha256(path)):
        return
    if job.source.kind == "url":
        discard(path)
    raise DataError(
        f"{job.known.name}: {job.source.address(file)} has the wrong bytes: its sha256 is {found}, the "
        f"registry expects {file.sha256}. Nothing was kept. A proxy or an altered source does that: try "
        "again, from another network or source, or `mergekit-finance data adopt` a copy of your own"
    )


# --- what went wrong, in one line


def _explain(job: _Job, file: File, fault: Exception) -> str:
    known, address = job.known.name, job.source.address(file)
    if _is_gate(job.source, fault):
        return f"{known}: gated; {_open_gate(job)}, then `mergekit-finance data pull {known}`"
    if _errno(fault) in (errno.ENOSPC, errno.EDQUOT):
        return f"{known}: no space left for {address}. {_after_full_disk(job)}"
    return f"{known}: could not fetch {address} ({_reason(fault)[:160]}). {_remedy(job, fault)}"


def _is_gate(source: Source, fault: Exception) -> bool:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    refused = isinstance(fault, RepositoryNotFoundError) or _status(fault) in (401, 403)
    return isinstance(fault, GatedRepoError) or bool(source.gate and refused)


def _open_gate(job: _Job) -> str:
    page = job.source.gate or f"https://huggingface.co/datasets/{job.source.repo}"
    if job.source.kind == "url":
        return f"accept the terms at {page} and download it there, `mergekit-finance data adopt` the files"
    from huggingface_hub import get_token

    whose = " with the account whose token is in use" if get_token() else ""
    return f"accept the terms at {page}{whose}, run `hf auth login`"


def _after_full_disk(job: _Job) -> str:
    if job.source.kind == "url":
        kept = f"What came is kept in {job.mirror.folder / INCOMING}"
    else:
        from huggingface_hub.constants import HF_HUB_CACHE

        kept = f"The Hub's client keeps what came in {HF_HUB_CACHE} (HF_HOME moves it)"
    return f"{kept}; free some space and pull again, it goes on where it stopped"


def _remedy(job: _Job, fault: Exception) -> str:
    others = [name for name in job.known.sources if name != job.name]
    elsewhere = f"Another source: --source {' or '.join(others)}. " if others else ""
    if isinstance(fault, Broken) or transient(fault):
        return f"{elsewhere}Pull again later: it goes on where it stopped"
    if _status(fault) in (401, 403, 404, 410):
        return (
            f"{elsewhere}It was moved, withdrawn or closed: a newer mergekit-finance may know where it is, "
            "or `mergekit-finance data adopt` a copy of your own"
        )
    gate = f". It is gated too: {_open_gate(job)}" if job.source.gate else ""
    return (
        f"{elsewhere}{'Unset it, set' if _offline() else 'Offline? Set'} {VARIABLE} to a mirror, "
        f'or use the sample rows: --metadata \'{{"source": "sample"}}\'{gate}'
    )


def _status(fault: Exception) -> int | None:
    """The HTTP status behind a fault of urllib or of the Hub's client."""
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code
    return getattr(getattr(fault, "response", None), "status_code", None)


def _errno(fault: BaseException | None) -> int | None:
    while fault is not None:
        if isinstance(fault, OSError) and fault.errno:
            return fault.errno
        fault = fault.__cause__
    return None


def _reason(fault: Exception) -> str:
    if status := _status(fault):
        return f"HTTP {status}"
    if isinstance(fault, urllib.error.URLError) and isinstance(fault.reason, Exception):
        fault = fault.reason
    cause = fault.__cause__ if isinstance(fault.__cause__, Exception) else fault
    if isinstance(cause, socket.gaierror):
        return f"no network, or no such host: {cause.strerror}"
    text = str(cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__
