"""A file server on the loopback interface, which can send wrong responses and stands in for the Hub."""

import contextlib
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from helpers.commands import HANG

Fault = Callable[["Handler", bytes], None]


@dataclass(frozen=True)
class Request:
    """One request and the status of its response."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    status: int


@dataclass
class Site:
    """The server's files, the requests that it got, and its wrong responses.

    Attributes:
        files: By path.
        headers: Sent with every file.
        refused: Status and headers by path prefix.
        faults: One for each of the next GET requests.
        requests: All requests so far.
        resume: Ends a `stall`.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    refused: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    resume: threading.Event = field(default_factory=threading.Event)

    def gets(self, path: str) -> list[Request]:
        return [r for r in self.requests if r.method == "GET" and r.path == path]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(lambda handler, body: handler.start(200, len(body)))

    def do_GET(self):
        self.answer(self.site.faults.pop(0) if self.site.faults else serve)

    def answer(self, fault: Fault):
        refused = next((r for prefix, r in self.site.refused.items() if self.path.startswith(prefix)), None)
        if refused:
            self.start(refused[0], 0, **refused[1])
        elif self.path not in self.site.files:
            self.start(404, 0, **{"X-Error-Code": "EntryNotFound"})
        else:
            fault(self, self.site.files[self.path])

    def start(self, status: int, length: int | None, **headers: str):
        """Status line and headers; each request is noted here."""
        request_headers = self.headers.get("Range"), self.headers.get("If-Range")
        self.site.requests.append(Request(self.command, self.path, *request_headers, status))
        self.send_response(status)
        if self.path in self.site.files:
            headers = {"ETag": etag(self.site.files[self.path]), **self.site.headers, **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def offset(self, body: bytes) -> int:
        """Return the first byte of the requested range; 0 if the file is not the one that If-Range names."""
        requested_range, same = self.headers.get("Range"), self.headers.get("If-Range", etag(body))
        return (
            int(requested_range.removeprefix("bytes=").split("-")[0])
            if requested_range and same == etag(body)
            else 0
        )

    def start_part(self, body: bytes) -> bytes:
        """Send the headers of a correct response; return the bytes that should follow."""
        start = self.offset(body)
        if not start:
            self.start(200, len(body))
        elif start >= len(body):
            self.start(416, 0, **{"Content-Range": f"bytes */{len(body)}"})
        else:
            part = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            self.start(206, len(body) - start, **part)
        return body[start:]


def etag(body: bytes) -> str:
    return f'"{hashlib.sha1(body).hexdigest()}"'


# --- ways to answer a GET


def serve(handler: Handler, body: bytes) -> None:
    """Answer correctly, with ranges."""
    handler.wfile.write(handler.start_part(body))


def cut(after: int) -> Fault:
    """Announce the whole length, send `after` bytes, close the connection."""
    return lambda handler, body: handler.wfile.write(handler.start_part(body)[:after])


def reset(after: int) -> Fault:
    """Send `after` bytes, then reset the connection."""

    def answer(handler, body):
        handler.wfile.write(handler.start_part(body)[:after])
        time.sleep(0.3)  # a reset discards data that the client has not read
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return answer


def stall(after: int) -> Fault:
    """Send `after` bytes and the rest when `site.resume` is set."""

    def answer(handler, body):
        part = handler.start_part(body)
        handler.wfile.write(part[:after])
        handler.site.resume.wait(HANG)
        try:
            handler.wfile.write(part[after:])
        except OSError:
            pass  # the client has closed the connection, as the test intends

    return answer


def status(code: int, **headers: str) -> Fault:
    """An error without a body; `_` in header names stands for `-`."""
    return lambda handler, body: handler.start(
        code, 0, **{k.replace("_", "-"): v for k, v in headers.items()}
    )


def whole(handler: Handler, body: bytes) -> None:
    """Send the whole file whatever range was requested."""
    handler.start(200, len(body))
    handler.wfile.write(body)


def other_part(handler: Handler, body: bytes) -> None:
    """Send a range that was not requested."""
    handler.start(206, 10, **{"Content-Range": f"bytes 5-14/{len(body)}"})
    handler.wfile.write(body[5:15])


def other_file(handler: Handler, body: bytes) -> None:
    """Send the requested range of a file that has changed."""
    start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
    part = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}", "ETag": '"another"'}
    handler.start(206, len(body) - start, **part)
    handler.wfile.write(b"#" * (len(body) - start))


def announce_more(extra: int) -> Fault:
    """Announce `extra` bytes more than are sent."""

    def answer(handler, body):
        start = handler.offset(body)
        part = (
            {"Content-Range": f"bytes {start}-{len(body) + extra - 1}/{len(body) + extra}"} if start else {}
        )
        handler.start(206 if start else 200, len(body) - start + extra, **part)
        handler.wfile.write(body[start:])

    return answer


def unsized(handler: Handler, body: bytes) -> None:
    """Send no Content-Length and no ETag: the file ends where the connection does."""
    handler.start(200, None, ETag="")
    handler.wfile.write(body)


class Server(ThreadingHTTPServer):
    """The server in a thread of its own; a context manager."""

    daemon_threads = True

    def __init__(self) -> None:
        self.site = Site()
        super().__init__(("127.0.0.1", 0), type("Bound", (Handler,), {"site": self.site}))
        self.site.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.site.resume.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        pass  # clients hang up on purpose here


@contextmanager
def slow_server(drips: bool) -> Iterator[str]:
    """Serve on the loopback interface, yielding the address: send nothing, or headers byte by byte without an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def send(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Filler: ")
            while not stop.wait(0.1):
                connection.sendall(b"a")

    connections = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                if drips:
                    threading.Thread(target=send, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in (listener, *connections):
        connection.close()
