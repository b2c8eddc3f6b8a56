"""Wrong rows are reported by file, line and column, and nothing of their file is taken."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from helpers.datasets import adopt_into, write_jsonl
from helpers.fuzz_guard import cpu_limit

from mergekit_finance.data import records
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.errors import DataError


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
def test_a_wrong_row_is_reported_by_file_line_and_column(raw, tmp_path, change, message):
    path = raw / "fpb" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2] |= change
    write_jsonl(path, rows)
    with pytest.raises(DataError, match=message):
        adopt_into(tmp_path / "m", raw)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), 10**400, "  "], ids=["inf", "nan", "401 digits", "blank"]
)
def test_a_gold_value_that_no_answer_can_equal_is_refused(raw, tmp_path, value):
    row = {"question_id": "q", "question": "?", "paragraphs": ["p"], "ground_truth": value}
    write_jsonl(raw / "docmath_schema" / "compshort.jsonl", [row])
    problem = "not a row .a number of 401 characters" if value == 10**400 else "column 'ground_truth'"
    with pytest.raises(DataError, match=f"line 1: {problem}"):
        adopt_into(tmp_path / "m", raw)


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
def test_a_wrong_record_of_a_json_list_is_reported_by_its_number(tmp_path, layout, change, message):
    choices = [{"id": n, "text": text} for n, text in enumerate("１２")]
    rows = [{"id": n, "question": "?", "context": "１．甲", "choices": choices, "answer": 0} for n in (1, 2)]
    rows[1] |= change
    path = tmp_path / "data.json"
    path.write_text(LISTS[layout](rows), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        rows_of([Place(path, "data.json", "jlm_numbered", "test")])


def test_a_list_element_that_is_not_an_object_is_reported_by_its_number(tmp_path):
    (tmp_path / "data.json").write_text("[{}, 7]")
    with pytest.raises(DataError, match="data.json, record 2: expected an object, found int"):
        records.read(tmp_path / "data.json", "data.json")


def test_an_item_id_in_two_files_is_reported_with_both(tmp_path):
    row = {"id": 4, "sentence": "Sales rose.", "label": "positive"}
    write_jsonl(tmp_path / "a.jsonl", [row | {"id": 3}, row])
    write_jsonl(tmp_path / "b.jsonl", [row])
    places = [Place(tmp_path / name, name, "phrasebank", "test") for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(DataError, match="^a.jsonl, line 2 and b.jsonl, line 1: item_id '4' occurs twice"):
        rows_of(places)


def test_an_item_id_twice_in_one_record_is_reported(tmp_path):
    question = {"uid": "q", "question": "?", "answer": ["1"], "answer_type": "span", "scale": ""}
    context = {"table": {"uid": "t", "table": [["1"]]}, "paragraphs": [], "questions": [question, question]}
    (tmp_path / "t.json").write_text(json.dumps([context]))
    with pytest.raises(DataError, match="t.json, record 1 and record 1: item_id 'q' occurs twice"):
        rows_of([Place(tmp_path / "t.json", "t.json", "tatqa", "test")])


def test_a_number_with_too_many_digits_is_reported_in_one_line(raw, tmp_path):
    with (raw / "fpb" / "test.jsonl").open("a") as file:
        file.write('{"id": ' + "9" * 5000 + "}")
    with pytest.raises(
        DataError,
        match=r"test.jsonl, line 7: not a row \(a number of 5000 characters; at most 100 are read\)$",
    ):
        adopt_into(tmp_path / "m", raw)


@pytest.mark.parametrize("column", ["conv_answers", "executed_answers"])
def test_convfinqa_reports_the_list_that_is_too_short(tmp_path, column):
    lists = {"conv_questions": ["a?", "b?"], "conv_answers": ["1", "2"], "executed_answers": [1, 2]}
    lists[column] = lists[column][:1]
    row = {"id": "x", "doc": {"pre_text": "", "post_text": "", "table": {}}, "dialogue": lists}
    write_jsonl(tmp_path / "c.jsonl", [row])
    with pytest.raises(DataError, match=f"'dialogue.{column}': 1 answers for 2 questions"):
        rows_of([Place(tmp_path / "c.jsonl", "c.jsonl", "convfinqa", "test")])


def test_headline_reports_a_column_missing_in_the_header(tmp_path):
    (tmp_path / "h.csv").write_text("News,Price Direction Up\nGold rose,1\n")
    with pytest.raises(DataError, match="'Price Direction Constant': missing: not in the header"):
        rows_of([Place(tmp_path / "h.csv", "h.csv", "headline_columns", "test")])


def test_a_row_nested_too_deeply_is_reported_in_one_line(raw, tmp_path):
    (raw / "docmath_schema" / "compshort.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match="line 1: not a row|not JSON"):
        adopt_into(tmp_path / "m", raw)


def test_a_missing_column_is_reported(raw, tmp_path):
    write_jsonl(
        raw / "docmath_schema" / "compshort.jsonl",
        [{"question_id": "q", "question": "?", "paragraphs": ["p"]}],
    )
    with pytest.raises(DataError, match="line 1: column 'ground_truth': is missing"):
        adopt_into(tmp_path / "m", raw)


def test_a_line_that_is_not_json_is_reported(raw, tmp_path):
    with (raw / "fpb" / "test.jsonl").open("a") as file:
        file.write("{half\n")
    with pytest.raises(DataError, match=r"test.jsonl, line 7: not JSON"):
        adopt_into(tmp_path / "m", raw)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.xlsx", b"garbage", "not a spreadsheet"),
        ("x.xlsx", b"PK\x05\x06" + b"\0" * 18, "not a spreadsheet"),
        ("x.parquet", b"garbage", "not a parquet file"),
        ("x.csv", b'a,b\n"' + b"x" * 200_000 + b'",1\n', "not CSV"),
        ("x.jsonl", b'{"a": "\\ud800"}', "half of a surrogate pair"),
        ("x.jsonl", b'{"a":' * 100_000, "nested too deep"),
        ("x.jsonl", b'{"a":' * 150 + b"1" + b"}" * 150, "nested too deep"),
        ("x.jsonl", b"\xff", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_reported_in_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}.*{message}") as caught:
        rows_of([Place(tmp_path / name, name, "phrasebank", "test")])
    assert "\n" not in str(caught.value)


def test_a_parquet_file_with_text_that_is_not_utf_8_is_reported_in_one_line(tmp_path):
    table = pyarrow.table({"id": pyarrow.array([b"\x98"]).cast(pyarrow.string(), safe=False)})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="not a parquet file"):
        rows_of([Place(tmp_path / "x.parquet", "x.parquet", "phrasebank", "test")])


def test_many_opinions_on_the_same_words_have_ids_of_their_own_in_linear_time(tmp_path):
    opinion = {"target": "x", "polarity": "positive", "from": 1, "to": 2}
    sentence = {"sentence_id": 0, "sentence": "x", "opinions": [opinion] * 20_000}
    write_jsonl(tmp_path / "x.jsonl", [{"header": {"document_id": "d"}, "sentences": [sentence]}])
    with cpu_limit(5):
        rows = rows_of([Place(tmp_path / "x.jsonl", "x.jsonl", "chabsa", "test")])
    assert [row["item_id"] for row in rows[:4]] == ["d-0-1-2", "d-0-1-2-1", "d-0-1-2-2", "d-0-1-2-3"]
    assert len({row["item_id"] for row in rows}) == 20_000


@pytest.mark.parametrize("question", [["x"], 5, {"a": 1}])
def test_a_question_of_the_cpa_exam_that_is_not_text_is_refused(tmp_path, question):
    row = {"key": "k", "q_no": 1, "question": question, "a_no": 1, "1": "x", "2": "y"}
    write_jsonl(tmp_path / "x.jsonl", [row])
    with pytest.raises(DataError, match="line 1: column 'question'"):
        rows_of([Place(tmp_path / "x.jsonl", "x.jsonl", "cpa_audit", "test")])
