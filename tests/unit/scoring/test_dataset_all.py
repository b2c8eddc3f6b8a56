"""Traps that all datasets share: loading scripts, gates, demonstrations, the order of rows."""

import json
import random

import pytest
from helpers.tasks import rows, run_silent, task_yaml

from mergekit_finance.data import loader, mirror, registry
from mergekit_finance.data.adopt import adopt
from mergekit_finance.data.rows import rows_of
from mergekit_finance.files import bundled


def test_no_task_asks_datasets_to_run_a_loading_script():
    """datasets 4 refuses loading scripts: no YAML names a dataset to look up, and no source is a script."""
    for path in bundled("lm_eval_tasks").rglob("*yaml"):
        fields = task_yaml(path)
        assert not fields.keys() & {"dataset_path", "dataset_name", "fewshot_split", "training_split"}, path
        loads = fields.get("custom_dataset", "mergekit_finance.data.loader.load")
        assert loads == "mergekit_finance.data.loader.load"
    files = [f.path for d in registry.datasets().values() for s in d.sources.values() for f in s.files]
    assert {name.rsplit(".", 1)[1] for name in files} <= {"json", "jsonl", "csv", "parquet", "xlsx"}


def test_sources_name_their_files_one_by_one():
    """Loading a whole repository would guess: two of TAT-QA's files match "test" and differ in schema."""
    for dataset in registry.datasets().values():
        for source in dataset.sources.values():
            assert source.files and not any(set(file.path) & set("*?[") for file in source.files)
    (tatqa,) = registry.dataset("tatqa").sources.values()
    assert [file.path.rsplit("/", 1)[1] for file in tatqa.files] == ["tatqa_dataset_test_gold.json"]


def test_only_docmath_is_behind_a_gate():
    """No source is one of TheFinAI's copies (en-fpb, jp-chabsa, ...), which are gated, or one that moved."""
    sources = [(d.name, s) for d in registry.datasets().values() for s in d.sources.values()]
    assert {name for name, source in sources if source.gate} == {"docmath"}
    assert not [s.repo for _, s in sources if s.repo.split("/")[0] in ("TheFinAI", "ChanceFocus", "takala")]


@pytest.mark.parametrize("task", ["fpb", "headline", "fin_ner", "convfinqa"])
def test_num_fewshot_cannot_double_the_demonstrations(manager, task):
    """Prompts contain their demonstrations; lm-eval does not override a num_fewshot of 0."""
    plain, _ = run_silent(manager, task, limit=2)
    asked, results = run_silent(manager, task, limit=2, num_fewshot=5)
    assert plain == asked and len(plain) >= 2 and results[f"finance_bench_{task}"]["score,none"] >= 0


def test_a_prompt_with_its_own_demonstrations_is_taken_as_it_is(prompt):
    text = "Sales fell.\nQuestion: up or down?\nAnswer: down\n\nSales rose.\nQuestion: up or down?\nAnswer:"
    (row,) = rows("adaptllm_choice", {"id": 1, "input": text, "options": ["down", "up"], "gold_index": 1})
    assert row["shots"] == [] and prompt("fpb", row) == text
    assert prompt("fiqa_sa", row) == text and prompt("headline", row) == text


def test_rows_have_one_order_whatever_the_order_of_files_and_lines(tmp_path):
    """chABSA has many files, which a glob lists in the order of the file system."""
    for folder, names in {"a": "abc", "b": "cba"}.items():
        for name, document in zip(names, ("E1", "E2", "E3"), strict=True):
            opinions = [{"target": "売上", "polarity": "positive", "from": n, "to": n + 2} for n in range(3)]
            sentence = {"sentence_id": 0, "sentence": "売上は伸びた", "opinions": opinions}
            annotation = {"header": {"document_id": document}, "sentences": [sentence]}
            path = tmp_path / folder / "chABSA-dataset" / f"{name}_ann.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(annotation, indent=1), encoding="utf-8")
        adopt(tmp_path / folder, mirror.Mirror(tmp_path / f"m-{folder}"), registry.datasets().values(), str)
    a, b = (loader.load_rows("chabsa", "default", data_dir=str(tmp_path / f"m-{x}")) for x in "ab")
    assert a == b and len(a) == 9
    assert [row["item_id"] for row in a] != sorted(row["item_id"] for row in a)


def test_the_order_of_the_train_rows_does_not_change_the_demonstrations():
    train = [{"id": n, "sentence": f"Sales rose by {n} % .", "label": "positive"} for n in range(40)]
    test = {"id": "x", "sentence": "Sales fell .", "label": "negative"}
    shuffled = random.Random(1).sample(train, len(train))
    assert rows("phrasebank", test, train=train) == rows("phrasebank", test, train=shuffled)


@pytest.mark.parametrize("dataset", ["headline", "chabsa", "convfinqa"])
def test_real_rows_have_one_order_whatever_the_order_of_files(mirror, dataset):
    places = loader.locate(registry.dataset(dataset), "default", None, str(mirror))
    forward = loader.load_rows(dataset, "default", data_dir=str(mirror))
    backward = {row["item_id"]: row for row in rows_of(list(reversed(places)))}
    assert [backward[row["item_id"]] for row in forward] == forward and len(backward) == len(forward)


def test_task_names_are_all_prefixed_because_lm_eval_has_jfinqa_tasks_too(manager):
    assert all(name.startswith("finance_bench") for name in manager.all_tasks)
