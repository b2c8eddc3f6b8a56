"""The loader: rows of samples, adopted mirrors and the lab, in hash order; where rows come from."""

import hashlib
import json
import sys

import pytest
from helpers.datasets import adopt_into, write_jsonl

from mergekit_finance.data import loader
from mergekit_finance.data.mirror import VARIABLE
from mergekit_finance.errors import DataError

SUBSETS = [("fpb", "default"), ("docmath", "compshort"), ("jfinqa", "numerical_reasoning")]


@pytest.mark.parametrize(("name", "subset"), SUBSETS)
def test_sample_rows_have_ids_and_clusters(name, subset):
    rows = loader.load_rows(name, subset, source="sample")
    assert len({r["item_id"] for r in rows}) == len(rows) >= 5
    assert all(r["cluster_id"] for r in rows)


def test_lm_eval_reports_a_mistake_in_one_line_without_the_start_up_hook(monkeypatch, capsys):
    """`MERGEKIT_FINANCE_AUTOLOAD=0 lm_eval --include_path ...`: nothing of ours runs before the loader."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", ["lm_eval"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as if not run by `python -m pytest`
    with pytest.raises(DataError) as caught:
        loader.load("fpb", source="nowhere")
    sys.excepthook(DataError, caught.value, None)
    assert capsys.readouterr().err.startswith("Error: fpb: unknown source 'nowhere'.")


@pytest.mark.parametrize(("name", "subset"), SUBSETS)
def test_real_rows_load_from_an_adopted_mirror(mirror, name, subset):
    rows = loader.load_rows(name, subset, data_dir=str(mirror))
    assert len(rows) == {"fpb": 400, "docmath": 200, "jfinqa": 279}[name]
    clusters = len({r["cluster_id"] for r in rows})
    assert clusters == len(rows) if name == "fpb" else clusters < len(rows)


def test_rows_are_in_hash_order_so_a_limit_is_a_nested_random_sample(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    ids = [r["item_id"] for r in loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))]
    assert ids == sorted(ids, key=lambda i: hashlib.sha256(f"fpb/{i}".encode()).digest()) != sorted(ids)


def test_the_order_does_not_depend_on_the_order_in_the_file(raw, tmp_path):
    adopt_into(tmp_path / "a", raw)
    lines = (raw / "fpb" / "test.jsonl").read_text().splitlines(keepends=True)
    (raw / "fpb" / "test.jsonl").write_text("".join(reversed(lines)))
    adopt_into(tmp_path / "b", raw)
    a, b = (loader.load_rows("fpb", "default", data_dir=str(tmp_path / x)) for x in "ab")
    assert a == b


def test_shots_come_from_the_train_split_and_differ_between_items(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    rows = loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))
    texts = {r["text"] for r in rows}
    assert all(len(r["shots"]) == 5 and not texts & {s["text"] for s in r["shots"]} for r in rows)
    assert len({tuple(s["text"] for s in r["shots"]) for r in rows}) > 1


def test_adaptllm_rows_keep_their_own_demonstrations(tmp_path):
    row = {
        "id": 3,
        "input": "shots\n\nProfit fell.\nAnswer:",
        "options": ["negative", "positive"],
        "gold_index": 0,
    }
    write_jsonl(tmp_path / "raw" / "FPB" / "test.json", [row])
    adopt_into(tmp_path / "m", tmp_path / "raw")
    (row_loaded,) = loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))
    assert row_loaded["input"] == row["input"] and row_loaded["shots"] == [] and row_loaded["gold_index"] == 0


def test_both_jfinqa_layouts_give_the_same_rows(tmp_path):
    flat = {
        "id": "n1", "subtask": "numerical_reasoning", "source_doc_id": "d", "edinet_code": "E1", "pre_text": ["a"],
        "post_text": [], "table_headers": ["h"], "table_rows": [["1"]], "question": "q", "answer": "1%",
    }  # fmt: skip
    nested = {k: v for k, v in flat.items() if not k.startswith("table") and k not in ("question", "answer")}
    nested |= {"table": {"headers": ["h"], "rows": [["1"]]}, "qa": {"question": "q", "answer": "1%"}}
    write_jsonl(tmp_path / "flat" / "jfinqa" / "numerical_reasoning" / "test.jsonl", [flat])
    (tmp_path / "nested").mkdir()
    other = nested | {"id": "t1", "subtask": "temporal_reasoning"}
    (tmp_path / "nested" / "jfinqa_v1.json").write_text(json.dumps([nested, other], indent=1))
    for layout in ("flat", "nested"):
        adopt_into(tmp_path / f"m-{layout}", tmp_path / layout)
    rows = [
        loader.load_rows("jfinqa", "numerical_reasoning", data_dir=str(tmp_path / f"m-{x}"))
        for x in ("flat", "nested")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 1


def test_model_arguments_are_ignored():
    table = loader.load(fb_dataset="fpb", source="sample", revision="main", pretrained="x", version=1.0)
    assert len(table["test"]) == 10


@pytest.mark.parametrize("key", ["sourc", "Source", "datadir", "data_dirs"])
def test_a_misspelled_metadata_key_is_an_error(key):
    with pytest.raises(DataError, match=f"--metadata: unknown key '{key}'. Did you mean '(source|data_dir)'"):
        loader.load(fb_dataset="fpb", **{key: "sample"})


def test_metadata_takes_precedence_over_the_environment_variable(raw, tmp_path, monkeypatch):
    adopt_into(tmp_path / "m", raw)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    assert len(loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))) == 6
    assert len(loader.load_rows("fpb", "default", source="sample")) == 10
    with pytest.raises(DataError, match="nowhere"):
        loader.load_rows("fpb", "default")


@pytest.mark.parametrize("source", ["sample", "lab", "hub"])
def test_a_source_and_a_mirror_at_once_are_refused(source):
    """Before, `sample` and `lab` were taken and the folder ignored, and of other sources the folder was taken."""
    with pytest.raises(
        DataError, match=f"source {source} and data_dir m are both given. Leave one of them out"
    ):
        loader.load_rows("fpb", "default", source=source, data_dir="m")


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown source 'hubb'. Did you mean 'hub'.*sample"):
        loader.load_rows("fpb", "default", source="hubb")


def test_the_error_offline_without_data_has_a_remedy():
    with pytest.raises(DataError, match="could not fetch hf://datasets/AdaptLLM.*FINANCE_BENCH_DATA"):
        loader.load_rows("fpb", "default")
    with pytest.raises(DataError, match="could not fetch https://raw.*HF_HUB_OFFLINE"):
        loader.load_rows("jfinqa", "numerical_reasoning")


def test_the_offline_error_for_a_gated_dataset_mentions_network_then_gate():
    with pytest.raises(
        DataError, match="HF_HUB_OFFLINE is set.*Unset it.*FINANCE_BENCH_DATA.*also gated: Accept"
    ):
        loader.load_rows("docmath", "compshort")


def test_the_error_for_a_gated_dataset_has_the_page_with_its_terms():
    with pytest.raises(
        DataError, match="Accept the terms at https://huggingface.co/datasets/yale-nlp/DocMath-Eval"
    ):
        loader.load_rows("docmath", "compshort")
