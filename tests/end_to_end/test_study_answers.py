"""A study that is changed: which requests reach a model again, and which are answered from the store."""

import logging
import shutil

import pytest
from helpers import study as helpers

from mergekit_finance.evaluation import keys, live_models
from mergekit_finance.evaluation.answer_store import count_answers
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.study.store import Store

CHOICE, FREE = helpers.TASKS
MODELS = 6  # three models, three merges


@pytest.fixture
def no_models(monkeypatch):
    """Neither a model nor a tokenizer is loaded to be asked, and nothing is merged."""
    for name in ("load_model", "load_tokenizer"):
        monkeypatch.setattr(live_models, name, lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setattr(MergeSession, "open", lambda *_, **__: pytest.fail("merged"))


def of_tasks(requests):
    """Requests as (task, item) pairs without duplicates, with their count."""
    return {(one.task_name, one.doc_id) for one in requests}, len(requests)


def test_scores_that_were_deleted_are_computed_from_answers_alone(
    tiny, study_copy, evaluated, asked, no_models
):
    before = helpers.normal(study_copy)
    shutil.rmtree(study_copy / "points")
    helpers.go(tiny, study_copy)
    assert len(evaluated) == MODELS and asked == []
    assert helpers.normal(study_copy) == before


def changed_code(part, monkeypatch):
    original = getattr(keys, part)
    monkeypatch.setattr(
        keys, part, lambda tree: {**original(tree), "score_code": "other", "request_code": "other"}
    )


def test_a_corrected_scorer_asks_for_nothing(tiny, study_copy, evaluated, asked, no_models, monkeypatch):
    changed_code("code_key", monkeypatch)
    helpers.go(tiny, study_copy)
    assert len(evaluated) == MODELS and asked == []


def test_a_changed_task_file_with_the_same_prompts_asks_for_nothing(
    tiny, study_copy, evaluated, asked, no_models, monkeypatch
):
    monkeypatch.setattr(keys, "definition_hash", lambda path, tree: "another")
    helpers.go(tiny, study_copy)
    assert len(evaluated) == MODELS and asked == []


def test_another_metric_asks_for_nothing(tiny, study_copy, evaluated, asked, no_models):
    helpers.go(tiny, study_copy, tasks=[{"task": CHOICE, "metric": "acc"}, FREE])
    assert len(evaluated) == MODELS and asked == []


def test_another_batch_size_scores_nothing_again(tiny, study_copy, evaluated, asked, no_models):
    helpers.go(tiny, study_copy, evaluation={"batch_size": 16, "max_gen_toks": 4, "threads": 2})
    assert evaluated == [] and asked == []


def test_samples_that_were_not_stored_are_made_from_answers(tiny, study_copy, evaluated, asked, no_models):
    before = helpers.normal(study_copy)
    shutil.rmtree(study_copy / "points")
    for samples in ("none", "all"):
        helpers.go(tiny, study_copy, evaluation={"batch_size": 32, "max_gen_toks": 4, "samples": samples})
        assert bool(list(study_copy.rglob("samples_*.jsonl"))) == (samples == "all")
    assert asked == [] and helpers.normal(study_copy) == before


def test_another_task_asks_for_its_answers_only(tiny, study_copy, asked):
    more = "finance_bench_fiqa_sa"
    summary, _ = helpers.go(tiny, study_copy, tasks=[*helpers.TASKS, more])
    pairs, count = of_tasks(asked)
    assert pairs == {(more, item) for item in range(4)} and count % (4 * MODELS) == 0
    whole = study_copy.with_name("whole")
    undisturbed, _ = helpers.go(tiny, whole, tasks=[*helpers.TASKS, more])
    assert summary == undisturbed


def test_a_larger_limit_asks_for_the_new_items_only(tiny, study_copy, asked):
    summary, _ = helpers.go(tiny, study_copy, limit=6)
    pairs, _ = of_tasks(asked)
    assert pairs == {(task, item) for task in helpers.TASKS for item in (4, 5)}
    undisturbed, _ = helpers.go(tiny, study_copy.with_name("whole"), limit=6)
    assert summary == undisturbed


def test_longer_answers_are_generated_again_and_choices_are_not(tiny, study_copy, asked):
    helpers.go(tiny, study_copy, evaluation={"batch_size": 32, "max_gen_toks": 5})
    assert of_tasks(asked) == ({(FREE, item) for item in range(4)}, 4 * MODELS)


@pytest.mark.parametrize("evaluation", [{"batch_size": 32, "max_gen_toks": 4, "dtype": "float32"}])
def test_another_dtype_asks_every_model_again(tiny, study_copy, asked, evaluation):
    helpers.go(tiny, study_copy, evaluation=evaluation)
    assert of_tasks(asked)[0] == {(task, item) for task in helpers.TASKS for item in range(4)}
    assert len(list((study_copy / "answers").glob("*-*"))) == 2 * MODELS


def test_another_answering_code_asks_every_model_again(tiny, study_copy, asked, monkeypatch):
    monkeypatch.setattr(keys, "answer_code", lambda tree: "other")
    helpers.go(tiny, study_copy)
    assert len(list((study_copy / "answers").glob("*-*"))) == 2 * MODELS and asked


def test_a_damaged_file_of_answers_costs_its_answers_only(tiny, study_copy, asked, caplog):
    before = helpers.normal(study_copy)
    (folder,) = (study_copy / "answers").glob("math-*")
    part = min(folder.glob("*.jsonl.gz"))
    lost = count_answers(folder) - sum(int(p.name.split("-")[0]) for p in folder.glob("*.gz") if p != part)
    part.write_bytes(part.read_bytes()[:-4])
    shutil.rmtree(study_copy / "points")
    with caplog.at_level(logging.WARNING):
        helpers.go(tiny, study_copy)
    assert len(asked) == lost and helpers.normal(study_copy) == before
    assert [r.getMessage() for r in caplog.records if part.name in r.getMessage()][0].endswith(
        "asked for again"
    )


def test_a_run_uses_the_answers_of_a_study(tiny, study_copy, evaluated, asked):
    """With other tasks and another limit; its merge has another recipe than the study's, and is asked."""
    from mergekit_finance.recipe.load import load_recipe
    from mergekit_finance.study import config
    from mergekit_finance.study.single import SingleRun
    from mergekit_finance.study.study_evaluator import study_evaluator

    study = config.parse_study(helpers.content(tiny, tasks=[CHOICE]), "study.yml")
    recipe = study_copy / "recipe.yml"
    (place,) = (study_copy / "points").glob("stage1-math-*")
    shutil.copy(place / "recipe.yml", recipe)
    SingleRun(
        load_recipe(recipe),
        study_evaluator(study, "cpu", quiet=True),
        study_copy,
        limit=2,
        quiet=True,
        say=print,
    ).run()
    assert len(evaluated) == 3 and of_tasks(asked) == ({(CHOICE, 0), (CHOICE, 1)}, 6)


def test_temporary_files_of_killed_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    """A process holds the claim of the answers' folder while it writes."""
    store = Store(tmp_path)
    scratch = [store.answers.folder / name for name in ("m-1/.9-ab.gz.x/9-ab.gz", "n-1/.9-ab.gz.x/9-ab.gz")]
    for path in (*scratch, store.answers.folder / ".batch_size.json.x" / "batch_size.json"):
        path.parent.mkdir(parents=True)
        path.touch()
    with store.hold("m-1"):
        store.clean()
        assert [path.exists() for path in scratch] == [True, False]
    store.clean()
    assert not list(store.answers.folder.rglob(".*"))
