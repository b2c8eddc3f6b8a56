"""Names of repositories, and a Hub that does not answer, or with an error: one line that says what arrived."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import huggingface_hub
import pytest
from helpers.hub_server import ROUTES, HubHandler, HubServer
from helpers.local_server import slow_server
from huggingface_hub import constants
from huggingface_hub.utils import _http

from mergekit_finance.errors import DataError
from mergekit_finance.hosts import hub_client
from mergekit_finance.share.hub import upload
from mergekit_finance.share.manifest import UploadPlan
from mergekit_finance.share.source_models import has_prefix


@pytest.mark.parametrize(
    ("name", "good"),
    [("Llama-3-x", True), ("Llama 3 x", True), ("Llama-38-x", False), ("llama-3-x", False), ("Llama3-x", False), ("Llama-3", False)],
)  # fmt: skip
def test_the_llama_3_prefix_must_be_spelled_exactly(name: str, good: bool) -> None:
    assert has_prefix(name, "Llama-3") is good


@pytest.fixture
def plan(tmp_path: Path) -> UploadPlan:
    (tmp_path / "mergekit_config.yml").write_text("x: 1\n")
    return UploadPlan(tmp_path, {"mergekit_config.yml": tmp_path / "mergekit_config.yml"}, {})


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_client, "UPLOAD_SECONDS", 1)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between attempts
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    yield
    huggingface_hub.set_client_factory(_http.default_client_factory)


def refusal(plan: UploadPlan, monkeypatch: pytest.MonkeyPatch, address: str) -> str:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        upload(plan, "me/merge", private=False)
    assert time.monotonic() - start < 10
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("kind", ["a closed port", "nothing", "a byte now and then"])
def test_a_hub_that_does_not_answer(kind: str, plan: UploadPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        slow = kind != "a closed port"
        address = stack.enter_context(slow_server(kind != "nothing")) if slow else "http://127.0.0.1:9"
        line = refusal(plan, monkeypatch, address)
    assert line.startswith("the Hub cannot be reached") and line.endswith("Nothing was committed.")


@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/commit/"])
@pytest.mark.parametrize("status", [500, 503])
def test_an_error_of_the_hub(
    part: str, status: int, plan: UploadPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer() as server:
        server.hub.fails = {part: status}
        assert f"answered {status}" in refusal(plan, monkeypatch, server.site.url)
        assert not server.hub.committed


def test_a_commit_that_is_not_answered_may_have_arrived(
    plan: UploadPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(handler: HubHandler, body: bytes) -> None:
        handler.hub.committed["mergekit_config.yml"] = b"x: 1\n"
        handler.site.resume.wait(10)

    monkeypatch.setitem(ROUTES, "/commit/", commit)
    with HubServer() as server:
        line = refusal(plan, monkeypatch, server.site.url)
        assert [r for r in server.hub.requests if "/commit/" in r] == [
            "POST /api/models/me/merge/commit/main"
        ]
    assert line.endswith("Look whether the commit arrived before you share again.")


def test_a_transfer_of_hf_xet_that_fails(plan: UploadPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf_xet raises a plain RuntimeError, and its client is not that of the other requests."""

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("Task error: File reconstruction error: CAS Client Error:\n 503 busy")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *arguments, **options: "address")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", fail)
    line = refusal(plan, monkeypatch, "http://127.0.0.1:9")
    assert line.startswith("the files could not be sent (Task error: File reconstruction error: CAS Client")
    assert line.endswith("503 busy). Nothing was committed.")
