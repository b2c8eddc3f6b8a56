"""Downloads that can be resumed: a file is `<name>.partial` until the last byte is there.

A broken download goes on where it stopped if the server says by a strong validator that the file is
still the same, and starts over otherwise. Transient faults are tried again, with growing pauses.
"""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ATTEMPTS = 4
BACKOFF = 1.0  # seconds before the second attempt; doubled before each further one
LONGEST_WAIT = 30.0  # what a server may ask for by Retry-After
TIMEOUT = 30.0  # seconds without a byte
QUIET = 2  # seconds before a progress bar shows


class Broken(OSError):
    """A download that stopped half-way, or an answer that cannot be used; another attempt may do."""


def download(url: str, partial: Path, label: str) -> None:
    """Stream `url` to `partial`, going on where an earlier call stopped; transient faults are retried."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(url, partial, label)
        except (OSError, http.client.HTTPException) as fault:
            if isinstance(fault, urllib.error.HTTPError):
                fault.close()  # it holds the connection
            if attempt == ATTEMPTS or not transient(fault):
                raise
            wait = _wait(fault, attempt)
        time.sleep(wait)


def transient(fault: object) -> bool:
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code in (408, 429) or fault.code >= 500
    if isinstance(fault, urllib.error.URLError):
        return transient(fault.reason)
    kinds = (TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError)
    return isinstance(fault, (*kinds, http.client.HTTPException, Broken))


def _wait(fault: object, attempt: int) -> float:
    """Seconds until the next attempt: what the server asks for, within reason, or ever longer."""
    asked = fault.headers.get("Retry-After", "") if isinstance(fault, urllib.error.HTTPError) else ""
    return min(float(asked), LONGEST_WAIT) if asked.isdigit() else BACKOFF * 2 ** (attempt - 1)


def _attempt(url: str, partial: Path, label: str) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    have, validator = _resumable(url, partial)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            _stream(answer, url, partial, _start(answer, have, validator, partial), label)
    except urllib.error.HTTPError as fault:
        if fault.code != 416 or not have:
            raise
        with fault:
            _refuse_unless_complete(fault, have, partial)


def _resumable(url: str, partial: Path) -> tuple[int, str]:
    """How many bytes of this very file are there, and what tells the server which file that is."""
    try:
        note = json.loads(_note(partial).read_text(encoding="utf-8"))
        if note["url"] == url and note["validator"]:
            return partial.stat().st_size, note["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _start(answer: Any, have: int, validator: str, partial: Path) -> int:
    """The offset of the answer's first byte. A server may send the whole file although asked for the rest."""
    if answer.status != 206:
        return 0
    sent = answer.headers.get("Content-Range", "")
    if have and sent.startswith(f"bytes {have}-") and _validator(answer) in ("", validator):
        return have
    discard(partial)
    raise Broken(f"the server sent another part than asked for ({sent or 'no Content-Range'})")


def _refuse_unless_complete(fault: urllib.error.HTTPError, have: int, partial: Path) -> None:
    """416 says that nothing follows: right, if the file ends where the partial one does."""
    if fault.headers.get("Content-Range", "") != f"bytes */{have}":
        discard(partial)
        raise Broken("the server has fewer bytes than were fetched before")


def _stream(answer: Any, url: str, partial: Path, start: int, label: str) -> None:
    from tqdm import tqdm

    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    options = {"unit": "B", "unit_scale": True, "delay": QUIET, "leave": False}
    with (
        partial.open("ab" if start else "wb") as file,
        tqdm(None, label, total, initial=start, **options) as bar,
    ):
        _note(partial).write_text(json.dumps({"url": url, "validator": _validator(answer)}), encoding="utf-8")
        while block := answer.read1(1 << 16):
            file.write(block)
            bar.update(len(block))
    size = partial.stat().st_size
    if total not in (None, size):
        raise Broken(f"the connection ended after {size} of {total} bytes")


def _validator(answer: Any) -> str:
    """What If-Range may name: a strong ETag, else the date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _note(partial: Path) -> Path:
    """The file beside a partial one that says what it is a part of."""
    return partial.with_name(partial.name + ".json")


def finish(partial: Path) -> Path:
    _note(partial).unlink(missing_ok=True)
    return partial.replace(partial.with_suffix(""))


def discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)
