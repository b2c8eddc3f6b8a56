"""Two processes that evaluate one model, because one of them was suspended for longer than its lease."""

import logging
from types import SimpleNamespace

import pytest

from mergekit_finance.study import store as store_module
from mergekit_finance.study.claims import Claims
from mergekit_finance.study.schema import Key, Timings
from mergekit_finance.study.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_write_host_files", lambda *_: None)
    return Store(tmp_path)


def write(store, place):
    store.write(place, SimpleNamespace(results={}, scores={}), Key(), Timings())


def test_the_first_of_two_results_stays_and_the_late_process_says_that_it_is_late(store, caplog):
    place = store.points / "m"
    with store.claim(place) as mine:
        assert mine
        other = Claims(store.claims.folder, ended=lambda process: True)
        assert other.acquire("m").deaths == 1
        place.mkdir(parents=True)
        (place / "scores.json").write_text("of the other process")
        with caplog.at_level(logging.WARNING):
            write(store, place)
    assert (place / "scores.json").read_text() == "of the other process"
    assert [record.getMessage() for record in caplog.records] == [
        "m: this process was suspended, and another one evaluates the model, too; the result that is stored "
        "first stays"
    ]
    assert store.claims.taken() == {"m": 1}  # the other process's
    other.release_all()


def test_a_process_that_keeps_its_claim_says_nothing(store, caplog):
    place = store.points / "m"
    with store.claim(place) as mine, caplog.at_level(logging.WARNING):
        assert mine
        write(store, place)
    assert store.stored([place]) == [place] and not caplog.records
    assert not store.claims.folder.exists()


def test_a_folder_in_the_way_that_holds_no_results_is_an_error(store):
    (store.points / "m" / "something").mkdir(parents=True)
    with pytest.raises(OSError):
        write(store, store.points / "m")
