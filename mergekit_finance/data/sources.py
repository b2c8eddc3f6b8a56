"""Fetch one file of a dataset from the Hub or a pinned URL, and check its SHA-256.

A file from a URL is streamed to `.incoming/<dataset>/<path>.partial` below the mirror. An interrupted
download stays there and is resumed later. A file from the Hub stays in the cache of the Hub's client.
"""

import re
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.data.download import BAR_DELAY, discard, download
from mergekit_finance.data.mirror import UNVERIFIED, Mirror
from mergekit_finance.errors import DataError
from mergekit_finance.files import sha256_file
from mergekit_finance.hosts.hub import why_unreachable
from mergekit_finance.plugins.api import Dataset, File, Source

if TYPE_CHECKING:
    from huggingface_hub.utils import tqdm as HubBar

INCOMING = ".incoming"


@dataclass(frozen=True)
class Origin:
    """A named source of a dataset, and the mirror that its files go to."""

    dataset: Dataset
    name: str
    mirror: Mirror

    @property
    def source(self) -> Source:
        """The source's entry in the registry."""
        return self.dataset.sources[self.name]

    def key(self, file: File) -> str:
        """Return the file's name in the mirror."""
        return f"{self.dataset.name}/{file.path}"

    def address(self, file: File) -> str:
        """Return the file's URL."""
        return self.source.address(file)

    def is_pinned(self, file: File) -> bool:
        """Return whether the file's URL contains a commit, so that its bytes cannot change."""
        commit = self.source.revision
        return bool(re.fullmatch("[0-9a-f]{40}", commit)) and commit in self.address(file)


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched, or that the mirror had already.

    Attributes:
        file: Its registry entry.
        path: Where it is now.
        address: Its URL, with the commit that the revision stood for.
        in_mirror: The mirror had it already.
    """

    file: File
    path: Path
    address: str
    in_mirror: bool = False


def fetch(origin: Origin, file: File) -> Fetched:
    """Download a file. Raises DataError if its checksum is wrong, and whatever the clients raise."""
    return _from_hub(origin, file) if origin.source.kind == "hub" else _from_url(origin, file)


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE is set."""
    # Imported here to keep --help fast: huggingface_hub takes 0.2 s.
    from huggingface_hub import constants

    return constants.is_offline_mode()


def _from_url(origin: Origin, file: File) -> Fetched:
    if is_offline():
        raise OSError("HF_HUB_OFFLINE is set")
    address = origin.address(file)
    partial = origin.mirror.path(f"{INCOMING}/{origin.key(file)}.partial")
    download(address, partial, origin.key(file))
    _require_checksum(origin, file, partial)
    return Fetched(file, partial, address)


def _from_hub(origin: Origin, file: File) -> Fetched:
    path = _hub_file(origin.source, file)
    if file.sha256 not in (UNVERIFIED, sha256_file(path)):
        path = _hub_file(origin.source, file, again=True)  # the copy in the client's cache may be damaged
    _require_checksum(origin, file, path)
    commit = path.parts[-1 - len(Path(file.path).parts)]  # the cache has a folder per commit
    pinned = origin.source.model_copy(update={"revision": commit})
    return Fetched(file, path, pinned.address(file))


def _hub_file(source: Source, file: File, *, again: bool = False) -> Path:
    """Return the file in the cache of the Hub's client, downloaded if necessary (or if `again`).

    Without network, only the cache is searched.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache  # see the note in is_offline

    if unreachable := _why_hub_is_unreachable(source, file):
        cached = try_to_load_from_cache(source.repo, file.path, repo_type="dataset", revision=source.revision)
        if not isinstance(cached, str):
            raise unreachable
        return Path(cached)
    path = hf_hub_download(
        source.repo,
        file.path,
        repo_type="dataset",
        revision=source.revision,
        force_download=again,
        tqdm_class=_hub_bar(),
    )
    return Path(path)


def _why_hub_is_unreachable(source: Source, file: File) -> OSError | None:
    """Return why the Hub cannot be reached, or None. Its client would retry for 30 s first."""
    from huggingface_hub import constants  # see the note in is_offline

    if is_offline():
        return OSError("HF_HUB_OFFLINE is set")
    try:
        if not urllib.request.getproxies():  # a proxy resolves names itself
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, None)
    except socket.gaierror as error:
        return error
    return why_unreachable(source.repo, file.path, source.revision, "dataset")


def _hub_bar() -> "type[HubBar]":
    """Return a progress bar for the Hub's client that is shown only if a download takes long."""
    from huggingface_hub.utils import tqdm  # see the note in is_offline

    class Bar(tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{"delay": BAR_DELAY, "leave": False, **options})

    return Bar


def _require_checksum(origin: Origin, file: File, path: Path) -> None:
    """Raise DataError, and delete a download, if its SHA-256 is not the registry's."""
    sha256 = sha256_file(path)
    if file.sha256 in (UNVERIFIED, sha256):
        return
    if origin.source.kind == "url":
        discard(path)
    raise DataError(
        f"{origin.dataset.name}: {origin.address(file)} has the wrong SHA-256: {sha256}; the registry "
        f"expects {file.sha256}. The download was deleted. A proxy or a change of the file may be the cause: "
        "try again, from another network or source, or `mergekit-finance data adopt` your own copy."
    )
