"""Fixtures for tests of datasets: a local file server, an empty mirror, and no data from the environment."""

from types import SimpleNamespace

import pytest

from helpers import local_server
from helpers.datasets import write_jsonl
from mergekit_finance.data import download, loader
from mergekit_finance.data.mirror import VARIABLE, Mirror


@pytest.fixture(autouse=True)
def no_ambient_data(monkeypatch, tmp_path):
    """No mirror from the environment, and an empty cache."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(loader, "default_folder", lambda: tmp_path / "cache")


@pytest.fixture
def online(monkeypatch):
    """Downloads are allowed, from the loopback interface without a proxy."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def site(online):
    """A file server; `site.faults` are wrong responses that it sends first."""
    with local_server.Server() as running:
        yield running.site


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The pauses between attempts, in seconds, which take no time here."""
    pauses = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


@pytest.fixture
def target(online, tmp_path):
    """An empty mirror."""
    return Mirror(tmp_path / "m")


@pytest.fixture
def raw(tmp_path):
    """A folder of raw rows of two datasets, in the layouts that `data adopt` knows."""
    folder = tmp_path / "raw"
    phrases = [{"id": i, "sentence": f"Sales rose by {i} % .", "label": "positive"} for i in range(12)]
    write_jsonl(folder / "fpb" / "test.jsonl", phrases[:6])
    write_jsonl(folder / "fpb" / "train.jsonl", phrases[6:])
    question = {
        "question_id": "q1",
        "question": "How much?",
        "paragraphs": ["Rent was 5."],
        "ground_truth": 5,
    }
    write_jsonl(folder / "docmath_schema" / "compshort.jsonl", [question])
    return folder
