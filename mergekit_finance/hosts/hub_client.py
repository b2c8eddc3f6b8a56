"""A time limit for every answer of the Hub, also after its first: its library has none for some requests.

With the library's own client a request without a timeout waits for ever, a file of which a byte comes now and
then is waited for without an end, and each file of a cached model is asked for anew at a Hub that is silent.

Large files come through hf_xet, if it is installed, which has a client of its own. It waits 300 seconds for
a byte, several times: with storage that is silent it had not ended after 590 s. With `XET_LIMITS` it ended
after 359 s (hf_xet 1.8, pauses between six attempts included). A byte now and then has no limit there; with
HF_HUB_DISABLE_XET=1 all files come through the client here.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Protocol, cast

from mergekit_finance.errors import HubUnreachableError

SLOWEST = 1000  # bytes a second; less for WINDOW seconds ends a download
WINDOW = 30.0
UPLOAD_SECONDS = 60.0  # for the answer to a request that sends something
LARGE = 10**6  # bytes of an upload whose time is not limited as long as it goes on
XET_LIMITS = {  # settings of hf_xet 1.8, which reads them when its first transfer begins
    "HF_XET_CLIENT_READ_TIMEOUT": "30s",
    "HF_XET_CLIENT_CONNECT_TIMEOUT": "10s",
}
# For so long the Hub is not asked about files that may be cached if it did not answer, and not for files if
# one came too slowly: hosts try several files, and some of them twice.
PAUSE_SECONDS = 300.0

_silent_until: dict[str, float] = {}  # by host
_slow: dict[str, tuple[float, str]] = {}  # by host of a file that came too slowly: until when, and the error


class Stream(Protocol):
    """The body of a response."""

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class Response(Protocol):
    """What is used of a response of httpx."""

    stream: Stream

    def read(self) -> bytes: ...


class Url(Protocol):
    """What is used of a URL of httpx."""

    netloc: bytes


class Request(Protocol):
    """What is used of a request of httpx."""

    method: str
    url: Url
    extensions: dict[str, object]
    headers: Mapping[str, str]


class Client(Protocol):
    """What is used of a client of httpx."""

    send: Callable[..., Response]
    timeout: object


def limit_answers() -> None:
    """Let huggingface_hub and hf_xet use time limits, where the user has set none."""
    for name, seconds in XET_LIMITS.items():
        os.environ.setdefault(name, seconds)
    from huggingface_hub import set_client_factory  # see `hub.why_unreachable`
    from huggingface_hub.utils import _http

    if _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory:
        set_client_factory(_limited_client)  # type: ignore[arg-type]


def is_silent() -> bool:
    """Return whether a host did not answer since `ask_again`."""
    return bool(_silent_until or _slow)


def ask_again() -> None:
    """Let hosts be asked again that did not answer."""
    _silent_until.clear()
    _slow.clear()


def _limited_client() -> Client:
    from huggingface_hub import constants  # see `hub.why_unreachable`
    from huggingface_hub.utils import _http

    client = cast("Client", _http.default_client_factory())
    client.timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT  # of requests that set none
    original = client.send

    def send(request: Request, *, stream: bool = False, **options: object) -> Response:
        response = _answer(original, request, options)
        response.stream = _limited(response.stream, request.url)
        if not stream:
            response.read()
        return response

    client.send = send
    return client


def _answer(send: Callable[..., Response], request: Request, options: dict[str, object]) -> Response:
    """Send a request and return the answer, its body unread.

    Raises:
        HubUnreachableError: there is no answer in time. Other errors are those of httpx.
    """
    from huggingface_hub import constants

    host = request.url.netloc.decode()
    until, problem = _slow.get(host, (0.0, ""))
    if request.method == "GET" and time.monotonic() < until:
        raise HubUnreachableError(problem)
    if request.method == "HEAD" and time.monotonic() < _silent_until.get(host, 0):
        raise _silent_error(f"{host} did not answer before")
    uploads = request.method in ("POST", "PUT", "PATCH", "DELETE")
    if uploads:
        limits = {"connect": constants.HF_HUB_ETAG_TIMEOUT, "pool": None}
        request.extensions["timeout"] = limits | dict.fromkeys(("read", "write"), UPLOAD_SECONDS)
    seconds = 2.0 * max(constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    seconds = UPLOAD_SECONDS if uploads else seconds
    try:
        if uploads and not int(request.headers.get("content-length", LARGE)) < LARGE:
            return send(request, stream=True, **options)
        return _within(seconds, lambda: send(request, stream=True, **options), str(request.url))
    except (HubUnreachableError, _httpx().TimeoutException) as error:
        _silent_until[host] = time.monotonic() + PAUSE_SECONDS
        if request.method == "POST" and not isinstance(error, _httpx().ConnectTimeout):
            raise HubUnreachableError(f"{request.url}: no answer in {UPLOAD_SECONDS:g} s") from error
        if request.method == "HEAD":
            raise _silent_error(f"{request.url}: no answer") from error
        raise


def _silent_error(message: str) -> HubUnreachableError:
    """Return an error after which huggingface_hub takes a cached file, as if the Hub were switched off."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    class Silent(OfflineModeIsEnabled, HubUnreachableError):
        """The Hub does not answer whether a file is the newest."""

    return Silent(message)


def _within(seconds: float, action: Callable[[], Response], name: str) -> Response:
    """Return what `action` returns in a thread: a timeout of httpx is for each packet, not for all."""
    results: list[Response] = []
    errors: list[BaseException] = []

    def act() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        raise error
    if not results:
        raise HubUnreachableError(f"{name}: no answer in {seconds:g} s")
    return results[0]


def _limited(stream: Stream, url: Url) -> Stream:
    """Return a body that raises HubUnreachableError if it comes too slowly."""

    class Limited(_httpx().SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            parts, size, waited = iter(stream), 0, 0.0
            while True:
                start = time.monotonic()
                part = next(parts, None)
                waited += time.monotonic() - start  # not the time that the reader takes
                if part is None:
                    return
                size += len(part)
                if waited > WINDOW:
                    if size < SLOWEST * waited:
                        problem = f"{url}: {size} bytes in {waited:.0f} s, which is too slow"
                        _slow[url.netloc.decode()] = time.monotonic() + PAUSE_SECONDS, problem
                        raise HubUnreachableError(problem)
                    size, waited = 0, 0.0
                yield part

        def close(self) -> None:
            stream.close()

    limited: Stream = Limited()
    return limited


def _httpx() -> ModuleType:
    """Return the HTTP library of huggingface_hub, httpx or its successor."""
    from huggingface_hub.errors import HfHubHTTPError

    return sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]
