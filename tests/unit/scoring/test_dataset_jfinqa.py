"""jfinqa: traps of its answers and versions."""

import pytest
from helpers.tasks import rows

from mergekit_finance.data import loader, registry
from mergekit_finance.scoring import matching
from mergekit_finance.scoring import metrics as scoring


@pytest.mark.parametrize(
    ("gold", "output", "right"),
    [
        ("11.36%", "11.36", True), ("11.36", "11.36%", True),  # % is ignored on both sides
        ("-3.5%", "△3.5%", True), ("-3.5%", "▲3.5", True), ("-3.5%", "3.5%", False),
        ("-3.5%", "約△3.5%", False),  # triangles are signs at the start only, as in the built-in task
        ("120百万円", "120百万円", True), ("120百万円", "120", True), ("1,200百万円", "１２００百万円", True),
        ("2.5ポイント", "2.5", True), ("100", "100.9", True), ("100", "101.1", False),
        ("0", "0", True), ("0", "0.001", False), ("0%", "0.0", True),  # 1 % of 0 is 0
        ("増収", "増収", True), ("増収", "増加", False), ("改善", "改善した", True), ("はい", "はい", True),
    ],
)  # fmt: skip
def test_jfinqa_answers(gold, output, right):
    assert matching.jfinqa_match(output, gold) is right
    scores = scoring.jfinqa({"answer": gold}, [f" {output}\n"])
    assert scores["numerical_match"] == right
    assert scores["score"] == (right or output == "約△3.5%")  # `score` reads the triangle anywhere


def report(answer, number=1, company="E1"):
    return {
        "id": f"n{number}", "subtask": "temporal_reasoning", "edinet_code": company,
        "source_doc_id": f"S{company}", "pre_text": ["抜粋。"], "post_text": [],
        "table_headers": ["", "当期"], "table_rows": [["売上", "△5"]], "question": "増収か。",
        "answer": answer,
        "program": ["x"], "gold_evidence": [1],
    }  # fmt: skip


def test_jfinqa_rows_name_their_company_and_neither_program_nor_evidence(prompt):
    """The two data versions differ in their companies, so a row's company shows which version it is from."""
    (row,) = rows("jfinqa", report("増収"))
    assert (
        row["edinet_code"] == "E1"
        and row["cluster_id"] == "SE1"
        and not {"program", "gold_evidence"} & row.keys()
    )
    assert "△5" in prompt("jfinqa_temporal", row) and "増収\n" not in prompt("jfinqa_temporal", row)


def test_jfinqa_pins_the_version_after_the_audit(mirror):
    (source,) = registry.dataset("jfinqa").sources.values()
    assert len(source.revision) == 40 and source.files[0].path.endswith("jfinqa_v1.json")
    loaded = [r for s in ("numerical_reasoning", "consistency_checking", "temporal_reasoning")
             for r in loader.load_rows("jfinqa", s, data_dir=str(mirror))]  # fmt: skip
    assert len({row["edinet_code"] for row in loaded}) > 40 and all(row["edinet_code"] for row in loaded)
    assert all(scoring.jfinqa(row, [f" {row['answer']}"])["score"] for row in loaded)


def test_jfinqa_stops_and_length_are_the_builtin_tasks(manager):
    for name in ("numerical", "consistency", "temporal"):
        task = manager.load([f"finance_bench_jfinqa_{name}"])["tasks"][f"finance_bench_jfinqa_{name}"]
        options = task.config.generation_kwargs
        assert options["until"] == ["\n\n", "Question:"] and options["max_gen_toks"] == 256


@pytest.mark.parametrize("name", ["numerical", "consistency", "temporal"])
def test_jfinqa_gold_in_the_words_of_a_chain_of_thought_is_right(manager, name):
    task = manager.load([f"finance_bench_jfinqa_{name}_cot"])["tasks"][f"finance_bench_jfinqa_{name}_cot"]
    for row in task.test_docs():
        prompt = task.doc_to_text(row)
        assert prompt.endswith("\n\n考え：") and f"問題：{row['question']}" in prompt
        for closing in (
            "最終回答：{}",
            "最終回答：{}です。",
            "よって、答えは{}である。",
            "したがって、{}となる。",
        ):
            output = f"表の値を使って計算する。\n{closing.format(row['answer'])}\n"
            scores = task.process_results(row, [output])
            assert (scores["score"], scores["no_answer"]) == (1.0, 0.0), output


def test_jfinqa_reasoning_without_an_answer_is_none():
    doc = {"question": "売上高は前期比で何%増減したか。", "answer": "4.2%"}
    for output in ("まず売上高を表から読む。", "", "最終回答："):
        assert scoring.jfinqa_cot(doc, [output])["no_answer"] == 1.0
