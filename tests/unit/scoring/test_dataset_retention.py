"""Retention tasks and SVAMP: rows in both layouts, and requests equal to those of lm-eval's built-in tasks."""

import json
from pathlib import Path

import lm_eval
import pytest
from helpers.tasks import rows
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from mergekit_finance.data.loader import load_rows
from mergekit_finance.errors import DataError
from mergekit_finance.files import bundled
from mergekit_finance.scoring import metrics

BUILT_IN = {
    "arc_easy": "arc/arc_easy.yaml",
    "piqa": "piqa/piqa.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "winogrande": "winogrande/default.yaml",
    "lambada": "lambada/lambada_openai.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
}


def requests(task):
    """The (context, continuation) pairs of all documents, by document."""
    task.build_all_requests()
    by_document = {}
    for instance in task.instances:
        by_document.setdefault(instance.doc_id, []).append(instance.args)
    return sorted(by_document.values())


def sample(dataset):
    """The project's own raw rows of a dataset."""
    (path,) = bundled("mergekit_finance/data/samples").glob(f"{dataset}-default.*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", BUILT_IN)
def test_requests_equal_those_of_the_built_in_task(manager, name):
    from datasets import Dataset, DatasetDict

    raw = sample(name)
    if name == "boolq":  # the built-in task reads SuperGLUE's copy
        raw = [row | {"label": int(row["answer"])} for row in raw]
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / BUILT_IN[name], resolve_func=True)
    splits = DatasetDict(dict.fromkeys(("train", "validation", "test"), Dataset.from_list(raw)))
    config = {
        key: value for key, value in config.items() if key not in ("dataset_path", "dataset_name", "tag")
    }
    settings = {**config, "custom_dataset": lambda **_: splits}
    if hasattr(ConfigurableTask, "from_config"):  # lm-eval 0.5, which has a class for each type of output
        built_in = ConfigurableTask.from_config(settings)
    else:
        built_in = ConfigurableTask(config=settings)
    ours = manager.load([f"finance_bench_retention_{name}"])["tasks"][f"finance_bench_retention_{name}"]
    assert requests(ours) == requests(built_in)


def test_every_layout_gives_the_row_that_the_hub_layout_gives():
    """Ids aside, which the second layout does not have."""
    pairs = [
        ("arc", sample("arc_easy")[0], "choice_query", lambda r: {
            "query": f"Question: {r['question']}", "choices": r["choices"]["text"], "gold": 0}),
        ("openbookqa", sample("openbookqa")[0], "choice_query", lambda r: {
            "query": r["question_stem"], "choices": r["choices"]["text"], "gold": 0}),
        ("boolq", sample("boolq")[0], "passage_query", lambda r: {
            "query": f"Passage: {r['passage']}\nQuestion: {r['question']}?", "choices": ["no", "yes"], "gold": 0}),
        ("winogrande", sample("winogrande")[1], "context_options", lambda r: {
            "context_options": [r["sentence"].split("_")[0] + r[f"option{n}"] for n in (1, 2)],
            "continuation": r["sentence"].split("_")[1].strip(), "gold": 0}),
        ("lambada", sample("lambada")[0], "continuation", lambda r: dict(
            zip(("context", "continuation"), r["text"].rsplit(" ", 1), strict=True))),
    ]  # fmt: skip
    for adapter, record, other, convert in pairs:
        (first,), (second,) = rows(adapter, record), rows(other, convert(record))
        ids = {"item_id", "cluster_id"} if "id" in record else set()
        assert {k: v for k, v in first.items() if k not in ids} == {
            k: v for k, v in second.items() if k not in ids
        }


@pytest.mark.parametrize(
    ("adapter", "record", "column"),
    [
        ("arc", {"answerKey": "E"}, "answerKey"),
        ("choice_query", {"query": "x", "choices": ["a", "b"], "gold": 2}, "gold"),
        ("context_options", {"context_options": ["a", "b"], "continuation": "c", "gold": 2}, "gold"),
        ("passage_query", {"query": "Passage: x", "choices": ["no", "yes"], "gold": 1}, "query"),
        ("winogrande", {"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}, "sentence"),
        ("winogrande", {"sentence": "a _ b", "option1": "a", "option2": "b", "answer": ""}, "answer"),
        ("lambada", {"text": "word"}, "text"),
        ("piqa", {"goal": "g", "sol1": "a", "sol2": "b", "label": -1}, "label"),
        ("svamp", {"ID": "1", "Body": "b", "Question": "q", "Answer": "many"}, "Answer"),
        ("mgsm_text", {"question": "q", "answer": "4a"}, "answer"),
    ],
)
def test_a_wrong_column_is_named(adapter, record, column):
    if adapter == "arc":
        record = sample("arc_easy")[0] | record
    with pytest.raises(DataError, match=f"column '{column}'"):
        rows(adapter, record)


def test_the_last_word_counts_if_greedy_decoding_writes_it():
    assert metrics.last_word({}, [(-1.5, True)]) == {
        "score": 1.0, "acc": 1.0, "perplexity": -1.5, "correct": 1.0,
    }  # fmt: skip
    assert metrics.last_word({}, [(-0.1, False)])["score"] == 0.0


def test_questions_about_one_passage_are_one_cluster():
    clusters = [row["cluster_id"] for row in load_rows("boolq", "default", source="sample")]
    assert len(clusters) == 3 and len(set(clusters)) == 2


COUNTS = {  # rows of the samples in the given folder
    "arc": 937, "arc_easy": 1000, "piqa": 1000, "boolq": 1000, "winogrande": 1000, "lambada": 1000,
    "openbookqa": 400, "svamp": 800, "gsm8k": 1000, "mgsm_ja": 200, "jcommonsenseqa": 895,
}  # fmt: skip


@pytest.mark.parametrize("dataset", COUNTS)
def test_real_rows_are_read_and_their_ids_are_unique(mirror, dataset):
    loaded = load_rows(dataset, "default", data_dir=str(mirror))
    assert len(loaded) == len({row["item_id"] for row in loaded}) == COUNTS[dataset]
