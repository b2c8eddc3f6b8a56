"""Whether the Hub answers is said within the time that its library allows for one answer."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from helpers.local_server import slow_server
from huggingface_hub import constants

from mergekit_finance.hosts import hub


@pytest.fixture(autouse=True)
def _not_answered_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(hub, "PAUSE", 0)
    monkeypatch.setattr(hub, "_answered", set())


def ask(monkeypatch: pytest.MonkeyPatch, address: str) -> str:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    return str(hub.why_unreachable("owner/name", "config.json") or "")


@pytest.fixture
def statuses() -> Iterator[tuple[str, list[int]]]:
    """The address of a server, and the statuses of its answers, the last for all further requests."""
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("drips", [False, True])
def test_a_hub_that_does_not_finish_an_answer(drips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_server(drips) as address:
        start = time.monotonic()
        reason = ask(monkeypatch, address)
        assert time.monotonic() - start < 15  # without a limit it does not end
    assert reason in (f"no answer from {address} in 1 s",) or "timed out" in reason


def test_a_closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "refused" in ask(monkeypatch, "http://127.0.0.1:9")


def test_an_error_of_the_hub_is_asked_about_again(
    statuses: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answers = statuses
    answers[:] = [500]
    assert ask(monkeypatch, address).endswith("config.json answered HTTP 500")
    answers[:] = [503, 200]
    assert ask(monkeypatch, address) == ""


@pytest.mark.parametrize("status", [200, 401, 404])
def test_every_other_answer_counts_and_is_asked_for_once(
    status: int, statuses: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answers = statuses
    answers[:] = [status, 500]
    assert ask(monkeypatch, address) == ""
    assert ask(monkeypatch, address) == ""


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ask(monkeypatch, "http://127.0.0.1:9") == ""
