"""Errors of one line for files that could not be fetched: the reason and a remedy."""

import errno
import socket
import urllib.error

from mergekit_finance.data.download import BrokenDownload, is_transient
from mergekit_finance.data.mirror import VARIABLE
from mergekit_finance.data.sources import INCOMING, Origin, is_offline
from mergekit_finance.errors import DataError, first_line
from mergekit_finance.plugins.api import File


def pull_error(origin: Origin, file: File, error: Exception) -> DataError:
    """Return a one-line error for whatever a download raised."""
    name, address = origin.dataset.name, origin.address(file)
    if _is_gated(origin, error):
        text = f"{name}: access is gated. {_how_to_get_access(origin)}"
    elif _error_number(error) in (errno.ENOSPC, errno.EDQUOT):
        text = (
            f"{name}: no space left for {address}. {_where_the_part_is(origin)} "
            "Free some space and pull again; the download resumes."
        )
    else:
        text = f"{name}: could not fetch {address} ({_reason(error)[:160]}). {_remedy(origin, error)}"
    return DataError(" ".join(text.split()))


def _is_gated(origin: Origin, error: Exception) -> bool:
    # Imported here to keep --help fast: huggingface_hub takes 0.2 s.
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    refused = isinstance(error, RepositoryNotFoundError) or _http_status(error) in (401, 403)
    return isinstance(error, GatedRepoError) or bool(origin.source.gate and refused)


def _how_to_get_access(origin: Origin) -> str:
    source, name = origin.source, origin.dataset.name
    page = source.gate or f"https://huggingface.co/datasets/{source.repo}"
    if source.kind == "url":
        return f"Accept the terms at {page}, download the files there and `mergekit-finance data adopt` them."
    from huggingface_hub import get_token  # see the note in _is_gated

    account = " with the account whose token is in use" if get_token() else ""
    command = f"mergekit-finance data pull {name}"
    return f"Accept the terms at {page}{account}, run `hf auth login`, then run `{command}`."


def _where_the_part_is(origin: Origin) -> str:
    if origin.source.kind == "url":
        return f"The downloaded part is kept in {origin.mirror.folder / INCOMING}."
    from huggingface_hub.constants import HF_HUB_CACHE  # see the note in _is_gated

    return f"The Hub's client keeps the downloaded part in {HF_HUB_CACHE} (HF_HOME changes the place)."


def _remedy(origin: Origin, error: Exception) -> str:
    others = [name for name in origin.dataset.sources if name != origin.name]
    elsewhere = f"Another source: --source {' or '.join(others)}. " if others else ""
    if isinstance(error, BrokenDownload) or is_transient(error):
        return f"{elsewhere}Pull again later; the download resumes."
    if _http_status(error) in (401, 403, 404, 410):
        return (
            f"{elsewhere}The file was moved, withdrawn or closed. A newer mergekit-finance may have its new "
            "address; or `mergekit-finance data adopt` your own copy."
        )
    condition = "Unset it, or set" if is_offline() else "If this machine is offline, set"
    gate = f" The dataset is also gated: {_how_to_get_access(origin)}" if origin.source.gate else ""
    return (
        f"{elsewhere}{condition} {VARIABLE} to a mirror, or use the sample rows: "
        f'--metadata \'{{"source": "sample"}}\'.{gate}'
    )


def _http_status(error: Exception) -> int | None:
    """Return the HTTP status behind an error of urllib or of the Hub's client."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _error_number(error: BaseException | None) -> int | None:
    """Return the number of the first operating-system error in a chain of causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__
    return None


def _reason(error: Exception) -> str:
    if status := _http_status(error):
        return f"HTTP {status}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, socket.gaierror):
        return f"no network, or no such host: {cause.strerror}"
    return first_line(cause)
