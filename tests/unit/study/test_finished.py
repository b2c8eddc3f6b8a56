"""Counting what all processes have finished, from the names of files."""

from types import SimpleNamespace

import pytest

from mergekit_finance.evaluation.answer_store import Answer, write_part
from mergekit_finance.study.claims import Claims
from mergekit_finance.study.finished import Finished, Planned, requests_per_model
from mergekit_finance.study.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def models(store, names=("a", "b", "c", "d")):
    return {store.points / name: Planned(f"model {name}", store.folder / "answers" / name) for name in names}


def answer(store, name, *keys):
    write_part(store.folder / "answers" / name, {key: Answer("x", 1, 2) for key in keys})


def finish(store, name):
    (store.points / name).mkdir(parents=True)
    (store.points / name / "scores.json").touch()


def test_answers_of_finished_running_and_interrupted_models_count(store):
    finish(store, "a")
    answer(store, "b", "1", "2", "3")  # of an interrupted run
    finished = Finished(store, models(store), 10)
    other = Claims(store.folder / ".locks")
    other.acquire("c")
    answer(store, "c", "1", "2")
    answer(store, "c", "3", "4", "5")
    answer(store, "d", "1")  # nobody evaluates it: not looked at
    state = finished.state()
    assert (state.models, state.share, state.requests) == (1, pytest.approx(1.8), 10)
    assert state.running == ("model c",)


def test_where_models_get_different_numbers_of_answers_only_models_count(store):
    """As in a race: the first finished model does not tell how many answers the others get."""
    finished = Finished(store, models(store), 0)
    answer(store, "a", "1", "2")
    finish(store, "a")
    state = finished.state()
    assert (state.models, state.share, state.requests) == (1, 1.0, 0)


def test_a_model_never_counts_for_more_than_itself(store):
    answer(store, "b", *map(str, range(30)))  # of more tasks than this study's
    assert Finished(store, models(store), 10).state().share == 1


def test_the_first_model_that_is_finished_tells_how_many_answers_each_gets(store):
    answer(store, "a", "0")
    finished = Finished(store, models(store), 10)
    finish(store, "a")
    assert finished.state().requests == 10  # it had answers before, perhaps to other tasks
    answer(store, "b", "1", "2", "3", "4")
    finish(store, "b")
    state = finished.state()
    assert (state.models, state.share, state.requests) == (2, 2, 4)


def test_requests_are_options_and_answers_to_generate():
    def task(kind, docs, choices=None):
        return SimpleNamespace(
            eval_docs=docs, get_config=lambda name: kind, doc_to_choice=lambda doc: choices[doc]
        )

    def broken(doc):
        raise KeyError(doc)

    tasks = {
        "free": task("generate_until", range(7)),
        "choice": task("multiple_choice", [0, 1] * 10, [["a", "b"], ["a", "b", "c", "d"]]),
        "empty": task("multiple_choice", []),
        "broken": SimpleNamespace(
            eval_docs=[1, 2], get_config=lambda name: "multiple_choice", doc_to_choice=broken
        ),
    }
    evaluator = SimpleNamespace(tasks=tasks)
    assert requests_per_model(evaluator, None) == 7 + 60 + 0 + 2
    assert requests_per_model(evaluator, 4) == 4 + 12 + 0 + 2
