"""`search`, `chain: best` and methods of mergekit in one study, with one process and with four that die.

Processes are forked with the loaded tasks: new ones would import torch and load them again.
"""

import os
import signal
from pathlib import Path

import pytest
from helpers import study as helpers

from mergekit_finance.errors import ModelError
from mergekit_finance.study import local_pool, worker
from mergekit_finance.study.worker import Worker

SETTINGS = {
    "chain": "best",
    "tasks": helpers.TASKS[:1],
    "limit": 4,
    "selection": {"share": 0.5},
    "operators": {"task_arithmetic": {"lambda": 0.4}, "slerp": {"t": 0.3}, "model_stock": {}},
    "search": {"method": "successive_rejects", "budget": 0.9},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory. The recipes of a chain name merges by their path, so all runs write to `out`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def forked(monkeypatch):
    monkeypatch.setattr(local_pool, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)


def test_a_search_among_methods_in_a_chain_ends_the_same_with_four_processes_that_die(
    tiny, folder, forked, monkeypatch
):
    out = Path("out")
    summary, _ = helpers.go(tiny, out, **SETTINGS)
    races = {name: race["winner"] for name, race in summary["races"].items()}
    assert races == {name: row["selected"] for name, row in summary["combinations"].items()}
    assert [race["settings"] for race in summary["races"].values()] == [
        2,
        2,
        3,
    ]  # model_stock takes three models
    pair = summary["points"][races["finance+math"]]
    assert pair["constituents"] == [races["finance"], races["math"]]
    first = helpers.normal(out)
    out.rename("first")

    store, names = Worker._store, sorted(path.name for path in Path("first/points").iterdir())
    killed, failed = names[::5], names[1]

    def dies(self, place, *rest):
        """Once for each of some models: the process is killed, or its command is stopped by an error."""
        mark = folder / place.name
        if place.name in {*killed, failed} and not mark.exists():
            mark.touch()
            if place.name == failed:
                raise ModelError("stopped")
            os.kill(os.getpid(), signal.SIGKILL)
        store(self, place, *rest)

    monkeypatch.setattr(Worker, "_store", dies)
    with pytest.raises(ModelError, match="stopped"):
        helpers.go(tiny, out, **SETTINGS, workers=4)
    assert not (out / "summary.json").exists()
    again, printed = helpers.go(tiny, out, **SETTINGS, workers=4)
    assert helpers.normal(out) == first and not helpers.leftovers(out)
    assert all((folder / name).exists() for name in (*killed, failed)), "each has died"
