"""After its first answer the Hub becomes slow, or silent: downloads and requests end, cached files are used."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
from helpers.local_server import Fault, Server, slow_server
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import _http

from mergekit_finance.errors import HubUnreachableError, ModelError, model_errors
from mergekit_finance.hosts import hub_client

FILES = ("config.json", "generation_config.json", "tokenizer.json")


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "HF_HUB_ETAG_TIMEOUT": 1,
        "HF_HUB_DOWNLOAD_TIMEOUT": 1,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hub_client, "WINDOW", 0.3)
    monkeypatch.setattr(hub_client, "UPLOAD_SECONDS", 1)
    monkeypatch.setattr(hub_client, "_silent_until", {})
    hub_client.limit_answers()
    yield
    huggingface_hub.set_client_factory(_http.default_client_factory)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        running.site.headers = {"X-Repo-Commit": "0" * 40}
        running.site.files = {f"/owner/name/resolve/main/{name}": b"{" + b" " * 5000 + b"}" for name in FILES}
        yield running


def drip(seconds: float) -> Fault:
    """Send the headers, then a byte now and then."""

    def answer(handler, body):
        handler.start(200, len(body))
        for i in range(len(body)):
            if handler.site.resume.wait(seconds):
                return
            handler.wfile.write(body[i : i + 1])
            handler.wfile.flush()

    return answer


def fetch(address: str, folder: Path, name: str = FILES[0]) -> str:
    return huggingface_hub.hf_hub_download(
        "owner/name", name, cache_dir=folder, endpoint=address, etag_timeout=1
    )


def seconds(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def test_a_file_that_comes_byte_by_byte_is_given_up(server: Server, tmp_path: Path) -> None:
    server.site.faults = [drip(0.05)]

    def download() -> None:
        with pytest.raises(HubUnreachableError, match=r"config.json: \d+ bytes in \d+ s, which is too slow"):
            fetch(server.site.url, tmp_path)

    assert seconds(download) < 5


@pytest.mark.parametrize(
    ("parts", "problem", "passed"),
    [
        ([(10, 1000), (25, 1000), (10, 6), (25, 4)], "10 bytes in 35 s", [1000, 1000, 6]),
        ([(20, 17), (15, 17)], "34 bytes in 35 s", [17]),
        ([(20, 17), (15, 18), (31, 30)], "30 bytes in 31 s", [17, 18]),
    ],
)
def test_the_speed_of_a_body_is_that_of_each_window(
    parts: list[tuple[int, int]], problem: str, passed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast start does not count later, nor does the time that the reader takes.

    Args:
        parts: of the body, seconds before each and its bytes.
        problem: what is said of the window in which the body was too slow, with less than a byte a second.
        passed: bytes of the parts that the reader got.
    """
    clock = [0.0]

    def body() -> Iterator[bytes]:
        for waited, size in parts:
            clock[0] += waited
            yield b" " * size

    monkeypatch.setattr(hub_client, "WINDOW", 30)
    monkeypatch.setattr(hub_client, "SLOWEST", 1)
    monkeypatch.setattr(hub_client, "_slow", {})
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    received = []
    with pytest.raises(HubUnreachableError, match=rf"^https://hub/x: {problem}, which is too slow$"):
        for part in hub_client._limited(body(), hub_client._httpx().URL("https://hub/x")):
            received.append(len(part))
            clock[0] += 1000  # the reader's
    assert received == passed
    assert hub_client._slow.keys() == {"hub"}


def test_a_file_that_comes_in_time_is_whole(server: Server, tmp_path: Path) -> None:
    assert (
        Path(fetch(server.site.url, tmp_path)).read_bytes()
        == server.site.files["/owner/name/resolve/main/config.json"]
    )


@pytest.mark.parametrize("drips", [False, True])
def test_cached_files_cost_the_time_of_one_answer_only(drips: bool, server: Server, tmp_path: Path) -> None:
    paths = [fetch(server.site.url, tmp_path, name) for name in FILES]
    with slow_server(drips) as address:
        taken = seconds(lambda: [fetch(address, tmp_path, name) for name in FILES])
        assert [fetch(address, tmp_path, name) for name in FILES] == paths
    assert taken < 3  # without a limit 1 s for each, or without an end


def test_a_slow_host_is_not_asked_for_the_next_file(server: Server, tmp_path: Path) -> None:
    server.site.faults = [drip(0.05)] * 2
    for name in FILES[:2]:
        with pytest.raises(HubUnreachableError, match=f"{FILES[0]}: .* too slow"):
            fetch(server.site.url, tmp_path, name)
    assert [r.path for r in server.site.requests if r.method == "GET"] == [
        "/owner/name/resolve/main/config.json"
    ]


def test_what_a_library_makes_of_it_is_one_line_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"^model 'x': no config \(too slow\). Check the network") as caught:
        with model_errors("model 'x': no config"):
            try:
                raise HubUnreachableError("too slow")
            except OSError:
                raise ValueError("Can't load the configuration of 'x'")  # noqa: B904
    assert caught.value.id == "model.unreachable"


@pytest.mark.parametrize("drips", [False, True])
def test_a_request_without_a_timeout_of_its_own(drips: bool) -> None:
    with slow_server(drips) as address:

        def ask() -> None:
            with pytest.raises(Exception, match="timed out|no answer in"):
                HfApi(address).list_repo_files("owner/name")

        assert seconds(ask) < 5


def test_an_upload_that_is_not_answered() -> None:
    with slow_server(drips=False) as address:

        def create() -> None:
            with pytest.raises(HubUnreachableError, match="no answer in 1 s"):
                HfApi(address, token="hf_x").create_repo("owner/name")

        assert seconds(create) < 5


def test_transfers_of_hf_xet_have_time_limits_unless_the_user_sets_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hf_xet = pytest.importorskip("hf_xet")
    monkeypatch.delenv("HF_XET_CLIENT_READ_TIMEOUT", raising=False)
    monkeypatch.setenv("HF_XET_CLIENT_CONNECT_TIMEOUT", "7s")
    hub_client.limit_answers()
    limits = {name: limit.total_seconds() for name, limit in hf_xet.XetConfig() if name.endswith("_timeout")}
    assert limits["client.read_timeout"] == 30 and limits["client.connect_timeout"] == 7
