"""Downloads that can be resumed: a file is named `<name>.partial` until it is complete.

An interrupted download continues where it stopped if the server confirms by a strong validator (RFC 9110,
section 13) that the file is unchanged, and starts over otherwise. Transient errors are retried, with growing
pauses.
"""

import http.client
import ssl
import time
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

from tqdm import tqdm

from mergekit_finance.files import parse_json, write_json

ATTEMPTS = 4
BACKOFF = 1.0  # seconds before the second attempt; doubled before each further one
MAX_WAIT = 30.0  # seconds that a server may ask for by Retry-After
TIMEOUT = 30.0  # seconds without a byte
BAR_DELAY = 2  # seconds before a progress bar is shown
TRANSIENT = (TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError)


class BrokenDownload(OSError):
    """A download that stopped early, or a response that cannot be used; another attempt may succeed."""


def download(url: str, partial: Path, label: str) -> None:
    """Download `url` to the file `partial`, continuing an earlier interrupted download of the same file.

    Args:
        url: What to download.
        partial: The file to write; `<partial>.json` beside it records the URL and validator. `finish`
            gives it its final name, `discard` deletes both.
        label: The progress bar's text.

    Raises:
        OSError, http.client.HTTPException: an error that is not transient, or a transient one in the last of
            ATTEMPTS attempts.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(url, partial, label)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            if attempt == ATTEMPTS or not is_transient(error):
                raise
            wait = _wait(error, attempt)
        time.sleep(wait)


def is_transient(error: object) -> bool:
    """Return whether another attempt may succeed after this error."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    if isinstance(error, urllib.error.URLError):
        return is_transient(error.reason)
    return isinstance(error, (*TRANSIENT, http.client.HTTPException, BrokenDownload))


def _wait(error: Exception, attempt: int) -> float:
    """Return the seconds until the next attempt: the server's Retry-After, up to a limit, or the backoff."""
    requested = error.headers.get("Retry-After", "") if isinstance(error, urllib.error.HTTPError) else ""
    return min(float(requested), MAX_WAIT) if requested.isdigit() else BACKOFF * 2 ** (attempt - 1)


def _attempt(url: str, partial: Path, label: str) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    size, validator = _resumable(url, partial)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if size:
        request.add_header("Range", f"bytes={size}-")
        request.add_header("If-Range", validator)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            start = _start(response, size, validator, partial)
            _stream(response, url, partial, start, label)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not size:
            raise
        # 416: no bytes follow. Correct if the file ends where the partial one does.
        with error:
            if error.headers.get("Content-Range", "") != f"bytes */{size}":
                discard(partial)
                raise BrokenDownload("the server has fewer bytes than were downloaded before") from None


def _resumable(url: str, partial: Path) -> tuple[int, str]:
    """Return how many bytes of this file were downloaded before, and its validator; (0, "") for none."""
    try:
        note = parse_json(_note(partial).read_text(encoding="utf-8"))
        if isinstance(note, dict) and note["url"] == url and note["validator"]:
            return partial.stat().st_size, str(note["validator"])
    except (OSError, ValueError, KeyError):
        pass
    return 0, ""


def _start(response: HTTPResponse, size: int, validator: str, partial: Path) -> int:
    """Return the offset of the response's first byte: `size`, or 0 if the server sends the whole file."""
    if response.status != 206:
        return 0
    sent = response.headers.get("Content-Range", "")
    if size and sent.startswith(f"bytes {size}-") and _validator(response) in ("", validator):
        return size
    discard(partial)
    raise BrokenDownload(f"the server sent another part than requested ({sent or 'no Content-Range'})")


def _stream(response: HTTPResponse, url: str, partial: Path, start: int, label: str) -> None:
    """Write the response's body into the partial file, from offset `start`."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    with (
        partial.open("ab" if start else "wb") as file,
        tqdm(
            desc=label, total=total, initial=start, unit="B", unit_scale=True, delay=BAR_DELAY, leave=False
        ) as bar,
    ):
        write_json(_note(partial), {"url": url, "validator": _validator(response)})
        while block := response.read1(1 << 16):
            file.write(block)
            bar.update(len(block))
    size = partial.stat().st_size
    if total not in (None, size):
        raise BrokenDownload(f"the connection ended after {size} of {total} bytes")


def _validator(response: HTTPResponse) -> str:
    """Return the validator for If-Range: a strong ETag, else the date of the last change, else ""."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _note(partial: Path) -> Path:
    """Return the file beside a partial file that records its URL and validator."""
    return partial.with_name(partial.name + ".json")


def finish(partial: Path) -> Path:
    """Give a complete file its name without `.partial`; return the new path."""
    _note(partial).unlink(missing_ok=True)
    return partial.replace(partial.with_suffix(""))


def discard(partial: Path) -> None:
    """Delete a partial file."""
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)
