"""The lab's rows pass the adapters, use the tasks' prompts, are in no training corpus and never change."""

import functools
import json
import os
import subprocess
import sys

import pytest
from helpers.lab_training import LAB, corpora, packing, plans, probe, prompts, tokenizer

from mergekit_finance.data.loader import load_rows
from mergekit_finance.lab import ROLES, generated_rows
from mergekit_finance.lab.copy_models import WEIGHTS
from mergekit_finance.lab.japanese_cases import glossary_words
from mergekit_finance.lab.world import world
from mergekit_finance.scoring import metrics as scoring

PROMPTS, prompt = prompts.PROMPTS, prompts.prompt
SCRIPT = """
import hashlib, json
from mergekit_finance.lab import ROLES, generated_rows
from training import corpora
rows = {f"{d} {s}": generated_rows.records(d, s) for d, s in generated_rows.SOURCES}
rows |= {role: list(corpora.documents(role, 500)) for role in ROLES}
print(hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest())
"""
# World, corpora and rows must not change: the weights were trained on them, and stored scores are of them.
FROZEN = "17b62ce6498b2672ae14455616b0ef2d6205aaf5f105c5672342a7837c992a23"


@functools.cache
def items_of(task):
    """The items of a task's test rows; cached, because generating those of all tasks takes 3 s."""
    return tuple(generated_rows.items(task))


@pytest.fixture(scope="module")
def tasks():
    """The host's task objects, on lab rows."""
    from mergekit_finance.evaluation.evaluator import Evaluator

    names = [f"finance_bench_{task}" for task in PROMPTS]
    loaded = Evaluator(names, metadata={"source": "lab"}).tasks
    return {name.removeprefix("finance_bench_"): task for name, task in loaded.items()}


@pytest.fixture(scope="module")
def lab_tokenizer():
    return tokenizer.load()


def test_corpora_and_rows_are_the_same_bytes_in_every_process():
    path = os.pathsep.join([str(LAB), os.environ.get("PYTHONPATH", "")])
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert outputs == [FROZEN, FROZEN]


@pytest.mark.parametrize(("dataset", "subset"), list(generated_rows.ALL_SOURCES))
def test_every_row_passes_its_adapter(dataset, subset):
    loaded = load_rows(dataset, subset, source="lab")
    assert len({row["item_id"] for row in loaded}) == len(loaded) >= 96
    assert sum(len(case.items) for case in generated_rows.cases(dataset, subset)) in (
        len(loaded),
        2 * len(loaded),
    )


@pytest.mark.parametrize("task", PROMPTS)
def test_prompts_equal_those_of_the_yaml_files_and_completions_score_one(tasks, task):
    host = tasks[task]
    docs = {host.doc_to_text(doc): doc for doc in host.test_docs()}
    items = items_of(task)
    assert {prompt(task, item.row) for item in items} == set(docs)
    for item in items:
        _check_gold(host, task, docs[prompt(task, item.row)], item)


def _check_gold(host, task, doc, item):
    score = probe.SCORING.get(task, scoring.choice_acc)
    assert host.config.process_results is score
    if host.OUTPUT_TYPE == "generate_until":
        assert score(doc, [item.completion])["correct"] == score(item.row, [item.completion])["correct"] == 1
        return
    delimiter = host.config.target_delimiter
    assert probe.delimiter(task) == delimiter
    assert item.row["options"] == doc["options"] and item.row["gold_index"] == doc["gold_index"]
    assert item.completion == delimiter + item.row["options"][item.row["gold_index"]]


def test_no_test_row_is_in_a_corpus():
    tests = {(prompt(i.task, i.row), i.completion) for task in PROMPTS for i in items_of(task)}
    prompts = {text for text, _ in tests}
    for role in corpora.MIXES:
        for text, completion in corpora.documents(role, 20_000):
            assert text not in prompts
            assert not text or (text, completion) not in tests


def test_no_test_row_is_in_any_part_of_a_corpus():
    tests = {prompt(i.task, i.row) for task in PROMPTS for i in items_of(task)}
    for role in corpora.MIXES:
        for part in range(-(-plans.plan_for(role).documents // packing.PART)):
            assert not tests & {text for text, _ in corpora.documents(role, 200, part)}, (role, part)


def test_sums_of_test_rows_are_in_no_corpus():
    from mergekit_finance.lab.draw import sums_of_split

    tested = {
        str(s)
        for sign in ("plus", "minus")
        for hard in (False, True)
        for s in sums_of_split(sign, hard, True)
    }
    for text, completion in corpora.documents("math", 5_000):
        assert not tested & set(completion.replace(".", " ").split()), text


def test_the_corpus_of_the_base_uses_core_verbs_only():
    from mergekit_finance.lab.world import world

    other_verbs = {f" {v.past} " for verbs in world().verbs.values() for v in verbs[1::2]}
    for text, completion in corpora.documents("base", 5_000):
        assert not any(word in text + completion for word in other_verbs)


def test_prompts_and_answers_are_short(lab_tokenizer):
    items = [item for task in PROMPTS for item in items_of(task)]
    prompts = lab_tokenizer([prompt(i.task, i.row) for i in items])["input_ids"]
    answers = lab_tokenizer([i.completion for i in items])["input_ids"]
    assert sum(map(len, prompts)) / len(items) <= 100
    assert sum(map(len, answers)) / len(items) <= 20


def test_the_tokenizer_round_trips_japanese_and_keeps_digits_apart(lab_tokenizer):
    for text in (
        "粗利益は４７－２３ではなく47-23=24。最終回答：24",
        "positive か negative で答えよ。\n\n文：🙂 x",
    ):
        assert lab_tokenizer.decode(lab_tokenizer(text)["input_ids"]) == text
    assert len(lab_tokenizer.tokenize("1234")) == 4


def test_a_prompt_and_its_completion_have_the_same_tokens_apart_and_together(lab_tokenizer):
    for task in PROMPTS:
        item = items_of(task)[0]
        text = prompt(task, item.row)
        apart = lab_tokenizer(text)["input_ids"] + lab_tokenizer(item.completion)["input_ids"]
        assert lab_tokenizer(text + item.completion)["input_ids"] == apart


@pytest.mark.parametrize("role", ROLES)
def test_the_models_have_the_stored_tokenizer(role):
    model, file = (
        json.loads(path.read_text(encoding="utf-8"))["model"]
        for path in (WEIGHTS / role / "tokenizer.json", tokenizer.FILE)
    )
    assert model == file


def test_the_stored_tokenizer_gives_back_every_word(lab_tokenizer):
    for word in glossary_words(world()):
        for text in (word.english, word.japanese):
            assert lab_tokenizer.decode(lab_tokenizer(text)["input_ids"]) == text


def test_a_tokenizer_that_is_trained_again_splits_text_alike():
    """Other merges: the stored one was trained on the corpora of a smaller world."""
    shipped, again = (
        json.loads(tokenizer.FILE.read_text(encoding="utf-8")),
        json.loads(tokenizer.build().to_str()),
    )
    assert len(again["model"]["vocab"]) == len(shipped["model"]["vocab"]) == tokenizer.VOCABULARY
    assert again["pre_tokenizer"] == shipped["pre_tokenizer"] and again["decoder"] == shipped["decoder"]
