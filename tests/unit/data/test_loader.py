"""Registry, mirror, adapters, loader: rows in, named errors out."""

import hashlib
import json

import pytest

from mergekit_finance.data import loader, mirror, records, registry
from mergekit_finance.errors import DataError

SUBSETS = [("fpb", "default"), ("docmath", "compshort"), ("jfinqa", "numerical_reasoning")]


@pytest.fixture(autouse=True)
def no_ambient_data(monkeypatch, tmp_path):
    monkeypatch.delenv(mirror.VARIABLE, raising=False)
    monkeypatch.setattr(loader, "default_folder", lambda: tmp_path / "cache")


@pytest.fixture
def raw(tmp_path):
    """A folder of raw rows in two layouts, written here; a function changes one of its lines."""
    folder = tmp_path / "raw"
    phrases = [{"id": i, "sentence": f"Sales rose by {i} % .", "label": "positive"} for i in range(12)]
    write(folder / "fpb" / "test.jsonl", phrases[:6])
    write(folder / "fpb" / "train.jsonl", phrases[6:])
    question = {
        "question_id": "q1",
        "question": "How much?",
        "paragraphs": ["Rent was 5."],
        "ground_truth": 5,
    }
    write(folder / "docmath_schema" / "compshort.jsonl", [question])
    return folder


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def adopt(folder, target):
    return mirror.adopt(folder, mirror.Mirror(target), registry.datasets().values(), lambda text: None)


# --- registry


def test_every_dataset_states_licence_citation_and_whether_its_text_may_be_shared():
    for dataset in registry.datasets().values():
        assert dataset.licence and dataset.citation and isinstance(dataset.text_may_be_shared, bool)
        assert dataset.adopts or dataset.sources


def test_hub_and_url_addresses_name_the_pinned_revision():
    fpb, jfinqa = registry.dataset("fpb"), registry.dataset("jfinqa")
    hub, url = fpb.sources["hub"], jfinqa.sources["github"]
    assert hub.address(hub.files[0]) == f"hf://datasets/AdaptLLM/finance-tasks@{hub.revision}/FPB/test.json"
    assert f"/{url.revision}/" in url.address(url.files[0])
    assert len(hub.revision) == len(url.revision) == 40


def test_an_unknown_dataset_names_the_nearest():
    with pytest.raises(DataError, match="unknown dataset 'fbp'. did you mean 'fpb'"):
        registry.dataset("fbp")


def test_a_wrong_registry_entry_is_named():
    with pytest.raises(DataError, match="extra.yml: dataset 'x': license"):
        registry.parse("x: {title: X, homepage: h, citation: c, text_may_be_shared: true}", "extra.yml")


# --- rows


@pytest.mark.parametrize(("name", "subset"), SUBSETS)
def test_sample_rows_load_with_ids_and_clusters(name, subset):
    rows = loader.load_rows(name, subset, source="sample")
    assert len({r["item_id"] for r in rows}) == len(rows) >= 5
    assert all(r["cluster_id"] for r in rows)


@pytest.mark.parametrize(("name", "subset"), SUBSETS)
def test_real_rows_load_from_an_adopted_mirror(mirror, name, subset):
    rows = loader.load_rows(name, subset, data_dir=str(mirror))
    assert len(rows) == {"fpb": 400, "docmath": 200, "jfinqa": 279}[name]
    clusters = len({r["cluster_id"] for r in rows})
    assert clusters == len(rows) if name == "fpb" else clusters < len(rows)


def test_rows_come_in_hash_order_so_that_a_limit_is_a_nested_random_sample(raw, tmp_path):
    adopt(raw, tmp_path / "m")
    ids = [r["item_id"] for r in loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))]
    assert ids == sorted(ids, key=lambda i: hashlib.sha256(f"fpb/{i}".encode()).digest()) != sorted(ids)


def test_the_order_does_not_depend_on_the_order_in_the_file(raw, tmp_path):
    adopt(raw, tmp_path / "a")
    lines = (raw / "fpb" / "test.jsonl").read_text().splitlines(keepends=True)
    (raw / "fpb" / "test.jsonl").write_text("".join(reversed(lines)))
    adopt(raw, tmp_path / "b")
    a, b = (loader.load_rows("fpb", "default", data_dir=str(tmp_path / x)) for x in "ab")
    assert a == b


def test_shots_come_from_the_train_split_and_differ_between_items(raw, tmp_path):
    adopt(raw, tmp_path / "m")
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
    write(tmp_path / "raw" / "FPB" / "test.json", [row])
    adopt(tmp_path / "raw", tmp_path / "m")
    (found,) = loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))
    assert found["input"] == row["input"] and found["shots"] == [] and found["gold_index"] == 0


def test_both_jfinqa_layouts_give_the_same_rows(tmp_path):
    flat = {
        "id": "n1", "subtask": "numerical_reasoning", "source_doc_id": "d", "edinet_code": "E1", "pre_text": ["a"],
        "post_text": [], "table_headers": ["h"], "table_rows": [["1"]], "question": "q", "answer": "1%",
    }  # fmt: skip
    nested = {k: v for k, v in flat.items() if not k.startswith("table") and k not in ("question", "answer")}
    nested |= {"table": {"headers": ["h"], "rows": [["1"]]}, "qa": {"question": "q", "answer": "1%"}}
    write(tmp_path / "flat" / "jfinqa" / "numerical_reasoning" / "test.jsonl", [flat])
    (tmp_path / "nested").mkdir()
    other = nested | {"id": "t1", "subtask": "temporal_reasoning"}
    (tmp_path / "nested" / "jfinqa_v1.json").write_text(json.dumps([nested, other], indent=1))
    for layout in ("flat", "nested"):
        adopt(tmp_path / layout, tmp_path / f"m-{layout}")
    rows = [
        loader.load_rows("jfinqa", "numerical_reasoning", data_dir=str(tmp_path / f"m-{x}"))
        for x in ("flat", "nested")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 1


def test_the_model_arguments_that_lm_eval_passes_along_are_ignored():
    table = loader.load(fb_dataset="fpb", source="sample", revision="main", pretrained="x", version=1.0)
    assert len(table["test"]) == 10


@pytest.mark.parametrize("key", ["sourc", "Source", "datadir", "data_dirs"])
def test_a_key_of_the_metadata_that_is_nearly_ours_is_an_error(key):
    with pytest.raises(DataError, match=f"--metadata: unknown key '{key}'. Did you mean '(source|data_dir)'"):
        loader.load(fb_dataset="fpb", **{key: "sample"})


# --- bad rows: file, line, column


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "great"}, "test.jsonl, line 3: column 'label'"),
        ({"sentence": ""}, "test.jsonl, line 3: column 'sentence': is empty"),
        ({"sentence": "\u200b \ufeff"}, "test.jsonl, line 3: column 'sentence': is empty"),
        ({"sentence": 7}, "test.jsonl, line 3: column 'sentence'"),
        ({"id": 0}, "test.jsonl, line 1 and line 3: item_id '0' occurs twice"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_column(raw, tmp_path, change, message):
    path = raw / "fpb" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2] |= change
    write(path, rows)
    with pytest.raises(DataError, match=message):
        adopt(raw, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, "  "])
def test_a_gold_value_that_no_answer_can_equal_is_refused(raw, tmp_path, value):
    row = {"question_id": "q", "question": "?", "paragraphs": ["p"], "ground_truth": value}
    write(raw / "docmath_schema" / "compshort.jsonl", [row])
    with pytest.raises(DataError, match="line 1: column 'ground_truth'"):
        adopt(raw, tmp_path / "m")


LISTS = {
    "a list": lambda rows: json.dumps(rows, indent=1),
    "a list under data": lambda rows: json.dumps({"data": rows}, indent=1),
}


@pytest.mark.parametrize("layout", LISTS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "x"}, "data.json, record 2: column 'answer'"),
        ({"context": " "}, "data.json, record 2: column 'context': empty"),
        ({"id": 1}, "data.json, record 1 and record 2: item_id '1' occurs twice"),
    ],
)
def test_a_bad_record_of_a_json_list_is_named_by_its_number_and_not_by_a_line(
    tmp_path, layout, change, message
):
    choices = [{"id": n, "text": text} for n, text in enumerate("１２")]
    rows = [{"id": n, "question": "?", "context": "１．甲", "choices": choices, "answer": 0} for n in (1, 2)]
    rows[1] |= change
    path = tmp_path / "data.json"
    path.write_text(LISTS[layout](rows), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        loader.rows_of([(path, "data.json", "jlm_numbered", "test")])


def test_a_json_list_of_something_else_names_the_record(tmp_path):
    (tmp_path / "data.json").write_text("[{}, 7]")
    with pytest.raises(DataError, match="data.json, record 2: expected an object, found int"):
        records.read(tmp_path / "data.json", "data.json")


def test_an_item_id_in_two_files_names_both(tmp_path):
    row = {"id": 4, "sentence": "Sales rose.", "label": "positive"}
    write(tmp_path / "a.jsonl", [row | {"id": 3}, row])
    write(tmp_path / "b.jsonl", [row])
    places = [(tmp_path / name, name, "phrasebank", "test") for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(DataError, match="^a.jsonl, line 2 and b.jsonl, line 1: item_id '4' occurs twice"):
        loader.rows_of(places)


def test_an_item_id_twice_in_one_record_names_it(tmp_path):
    question = {"uid": "q", "question": "?", "answer": ["1"], "answer_type": "span", "scale": ""}
    context = {"table": {"uid": "t", "table": [["1"]]}, "paragraphs": [], "questions": [question, question]}
    (tmp_path / "t.json").write_text(json.dumps([context]))
    with pytest.raises(DataError, match="t.json, record 1 and record 1: item_id 'q' occurs twice"):
        loader.rows_of([(tmp_path / "t.json", "t.json", "tatqa", "test")])


def test_a_number_longer_than_python_reads_is_one_line(raw, tmp_path):
    with (raw / "fpb" / "test.jsonl").open("a") as file:
        file.write('{"id": ' + "9" * 5000 + "}")
    with pytest.raises(DataError, match=r"test.jsonl, line 7: not a row \(a number with too many digits\)$"):
        adopt(raw, tmp_path / "m")


@pytest.mark.parametrize("column", ["conv_answers", "executed_answers"])
def test_convfinqa_the_list_that_is_too_short_is_the_one_named(tmp_path, column):
    lists = {"conv_questions": ["a?", "b?"], "conv_answers": ["1", "2"], "executed_answers": [1, 2]}
    lists[column] = lists[column][:1]
    row = {"id": "x", "doc": {"pre_text": "", "post_text": "", "table": {}}, "dialogue": lists}
    write(tmp_path / "c.jsonl", [row])
    with pytest.raises(DataError, match=f"'dialogue.{column}': 1 answers for 2 questions"):
        loader.rows_of([(tmp_path / "c.jsonl", "c.jsonl", "convfinqa", "test")])


def test_headline_a_column_that_the_header_lacks_is_said_to_be_missing(tmp_path):
    (tmp_path / "h.csv").write_text("News,Price Direction Up\nGold rose,1\n")
    with pytest.raises(DataError, match="'Price Direction Constant': missing: not in the header"):
        loader.rows_of([(tmp_path / "h.csv", "h.csv", "headline_columns", "test")])


def test_a_row_nested_too_deeply_is_one_line(raw, tmp_path):
    (raw / "docmath_schema" / "compshort.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match="line 1: not a row|not JSON"):
        adopt(raw, tmp_path / "m")


def test_a_missing_column_is_named(raw, tmp_path):
    write(
        raw / "docmath_schema" / "compshort.jsonl",
        [{"question_id": "q", "question": "?", "paragraphs": ["p"]}],
    )
    with pytest.raises(DataError, match="line 1: column 'ground_truth': field required"):
        adopt(raw, tmp_path / "m")


def test_a_line_that_is_not_json_is_named(raw, tmp_path):
    with (raw / "fpb" / "test.jsonl").open("a") as file:
        file.write("{half\n")
    with pytest.raises(DataError, match=r"test.jsonl, line 7: not JSON"):
        adopt(raw, tmp_path / "m")


# --- mirrors


def test_a_mirror_states_checksum_origin_and_adapter_of_each_file(raw, tmp_path):
    names = adopt(raw, tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "MANIFEST.json").read_text())["files"]
    assert sorted(names) == sorted(manifest)
    entry = manifest["fpb/fpb/test.jsonl"]
    assert entry["sha256"] == hashlib.sha256((raw / "fpb" / "test.jsonl").read_bytes()).hexdigest()
    assert (entry["adapter"], entry["split"], entry["verified"]) == ("phrasebank", "test", False)


def test_an_altered_file_is_refused_by_name(raw, tmp_path):
    adopt(raw, tmp_path / "m")
    path = tmp_path / "m" / "fpb" / "fpb" / "test.jsonl"
    path.write_text(path.read_text().replace("rose", "fell", 1))
    with pytest.raises(DataError, match=r"fpb/test\.jsonl: altered.*data adopt"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))


def test_a_missing_file_is_refused_by_name(raw, tmp_path):
    adopt(raw, tmp_path / "m")
    (tmp_path / "m" / "fpb" / "fpb" / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"fpb/test\.jsonl: missing"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))


def test_a_folder_without_manifest_is_no_mirror(tmp_path):
    with pytest.raises(DataError, match="no MANIFEST.json.*data adopt"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path))


def test_a_mirror_without_the_wanted_rows_says_what_it_has(raw, tmp_path):
    adopt(raw, tmp_path / "m")
    with pytest.raises(
        DataError, match=r"no rows of jfinqa/numerical_reasoning \(it has docmath/compshort, fpb/default"
    ):
        loader.load_rows("jfinqa", "numerical_reasoning", data_dir=str(tmp_path / "m"))


def test_a_manifest_cannot_lead_outside_its_mirror(raw, tmp_path):
    adopt(raw, tmp_path / "m")
    path = tmp_path / "m" / "MANIFEST.json"
    path.write_text(path.read_text().replace("fpb/fpb/test.jsonl", "../raw/fpb/test.jsonl"))
    with pytest.raises(DataError, match="leads outside the mirror"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))


def test_adopting_again_replaces_the_older_rows_of_a_subset(raw, tmp_path):
    adopt(raw, tmp_path / "m")
    row = {"id": 3, "input": "x\nAnswer:", "options": ["negative", "positive"], "gold_index": 0}
    write(tmp_path / "new" / "FPB" / "test.json", [row])
    adopt(tmp_path / "new", tmp_path / "m")
    assert len(loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))) == 1
    assert len(loader.load_rows("docmath", "compshort", data_dir=str(tmp_path / "m"))) == 1


def test_a_datasets_own_folder_can_be_adopted(raw, tmp_path):
    assert sorted(adopt(raw / "fpb", tmp_path / "m")) == ["fpb/fpb/test.jsonl", "fpb/fpb/train.jsonl"]


# --- where rows come from


def test_metadata_goes_before_the_variable(raw, tmp_path, monkeypatch):
    adopt(raw, tmp_path / "m")
    monkeypatch.setenv(mirror.VARIABLE, str(tmp_path / "nowhere"))
    assert len(loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))) == 6
    assert len(loader.load_rows("fpb", "default", source="sample")) == 10
    with pytest.raises(DataError, match="nowhere"):
        loader.load_rows("fpb", "default")


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown source 'hubb'. did you mean 'hub'.*sample"):
        loader.load_rows("fpb", "default", source="hubb")


def test_offline_without_data_says_what_to_do():
    with pytest.raises(DataError, match="could not fetch hf://datasets/AdaptLLM.*FINANCE_BENCH_DATA"):
        loader.load_rows("fpb", "default")
    with pytest.raises(DataError, match="could not fetch https://raw.*HF_HUB_OFFLINE"):
        loader.load_rows("jfinqa", "numerical_reasoning")


def test_a_gated_dataset_offline_names_the_network_before_the_gate():
    with pytest.raises(
        DataError, match="HF_HUB_OFFLINE is set.*Unset it.*FINANCE_BENCH_DATA.*gated too: accept"
    ):
        loader.load_rows("docmath", "compshort")


def test_a_gated_dataset_names_the_page_to_accept():
    with pytest.raises(
        DataError, match="accept the terms at https://huggingface.co/datasets/yale-nlp/DocMath-Eval"
    ):
        loader.load_rows("docmath", "compshort")
