"""Japanese examinations: traps of their choices, explanations and blank rows."""

import json
from collections import Counter

import pytest
from helpers.tasks import jsonl, rows, run_silent

from mergekit_finance.data import loader
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.errors import DataError
from mergekit_finance.scoring import metrics as scoring


def exam(number=1, choices=("甲", "乙", "丙", "丁"), answer=2, **more):
    listed = [{"id": n, "text": text} for n, text in enumerate(choices)]
    return {"id": number, "question": "問", "context": "文", "choices": listed, "answer": answer, **more}


def test_exam_choices_are_a_list_of_objects_and_the_old_layout_is_named():
    """The harness's code expects an object of lists, as older versions of datasets made of these files."""
    (row,) = rows("jlm_exam", exam())
    assert (
        row["choices"] == ["甲", "乙", "丙", "丁"]
        and row["options"] == list("ABCD")
        and row["gold_index"] == 2
    )
    old = exam() | {"choices": {"id": [0, 1], "text": ["甲", "乙"]}}
    with pytest.raises(DataError, match="line 1: column 'choices'"):
        rows("jlm_exam", old)


def test_exam_fp2_scores_full_width_numerals_and_the_others_letters(prompt, manager):
    (row,) = rows("jlm_numbered", exam(choices="１２３４", context="１．甲\n２．乙\n３．丙\n４．丁"))
    assert row["options"] == ["１", "２", "３", "４"] and "３．丙" in prompt("fp2", row)
    (letters,) = rows("jlm_exam", exam())
    assert "\nC. 丙\n" in prompt("cma_basics", letters) and "\nC. 丙\n" in prompt("security_sales_1", letters)
    for name in ("cma_basics", "cpa_audit", "fp2", "security_sales_1", "chabsa"):
        task = manager.load([f"finance_bench_{name}"])["tasks"][f"finance_bench_{name}"]
        assert task.config.target_delimiter == ""


def test_exam_full_width_and_half_width_labels_are_one_in_the_cot_task():
    (row,) = rows("jlm_numbered", exam(choices="１２３４", answer=2))
    outputs = ("最終回答：３", "最終回答：3", "最終回答：③", "最終回答：２", "３だと思う")
    assert [scoring.choice_cot(row, [text])["correct"] for text in outputs] == [1, 1, 1, 0, 0]


def test_exam_the_explanation_of_the_answer_reaches_neither_row_nor_prompt(prompt):
    secret = "丙が正しい理由"
    for name, task in (("jlm_exam", "cma_basics"), ("jlm_exam", "security_sales_1"), ("jlm_numbered", "fp2")):
        (row,) = rows(name, exam(comment=secret))
        assert secret not in json.dumps(row, ensure_ascii=False) and secret not in prompt(task, row)


def test_exam_no_explanation_of_the_real_rows_reaches_a_prompt(real_rows, mirror, prompt):
    seen = 0
    for name in ("cma_basics", "fp2", "security_sales_1"):
        raw = json.loads((real_rows / "jlm_fin_harness" / name / "data.json").read_text(encoding="utf-8"))[
            "data"
        ]
        loaded = {row["item_id"]: row for row in loader.load_rows(name, "default", data_dir=str(mirror))}
        for record in raw:
            row = loaded[str(record["id"])]
            comment = record["comment"] or ""
            if len(comment) > 20 and comment not in record["question"] + record["context"]:
                seen += 1
                assert comment not in prompt(name, row)
    assert seen > 50


def test_exam_security_sales_mixes_true_false_with_four_choices(mirror, prompt):
    (row,) = rows("jlm_exam", exam(choices="○×", answer=1))
    assert row["options"] == ["A", "B"] and "A. ○\nB. ×\n" in prompt("security_sales_1", row)
    loaded = loader.load_rows("security_sales_1", "default", data_dir=str(mirror))
    assert {len(row["options"]) for row in loaded} == {2, 4}
    assert sum(row["gold_index"] < 2 for row in loaded) > 0.8 * len(loaded)  # answers lean to the first two


def statements(number=1, answer=2, flag=0, **more):
    pairs = dict(zip("123456", ("アイ", "アウ", "アエ", "イウ", "イエ", "ウエ"), strict=True))
    texts = {"ア": "一", "イ": "二", "ウ": "三", "エ": "四", "オ": None, "カ": None}
    return {
        "key": "k",
        "q_no": number,
        "question": "問",
        "a_no": answer,
        "abnormal_flg": flag,
        **pairs,
        **texts,
        **more,
    }


def test_cpa_abnormal_rows_blank_rows_and_answers_of_a_dash_are_left_out():
    adapted = rows(
        "cpa_audit", statements(1), statements(2, flag=1), statements(3, answer="-"),
        statements(4, answer=None), statements(5, question=None), statements(6, question=""),
    )  # fmt: skip
    assert [row["item_id"] for row in adapted] == ["k-1"] and adapted[0]["gold_index"] == 1


def test_cpa_a_missing_sixth_choice_is_no_choice(prompt):
    (row,) = rows("cpa_audit", statements(**{"6": None}))
    assert row["options"] == list("ABCDE") and "None" not in prompt("cpa_audit", row)
    assert "E. イエ\n" in prompt("cpa_audit", row) and "F." not in prompt("cpa_audit", row)
    with pytest.raises(DataError, match="a_no.*6 is not one of 5 choices"):
        rows("cpa_audit", statements(answer=6, **{"6": None}))


def test_cpa_of_the_real_rows_as_many_stay_as_are_not_abnormal(real_rows, mirror):
    raw = jsonl(real_rows / "jlm_fin_harness" / "cpa_audit" / "cpa_audit.jsonl")
    loaded = loader.load_rows("cpa_audit", "default", data_dir=str(mirror))
    normal = [r for r in raw if r["abnormal_flg"] == 0]
    assert len(loaded) == len(normal) < len(raw) and any(r["a_no"] == "-" for r in raw)
    five = sum(len(row["options"]) == 5 for row in loaded)
    assert five == sum(r["6"] is None for r in normal) > 0
    guess = sum(1 / len(row["options"]) for row in loaded) / len(loaded)
    assert 1 / 6 < guess < 0.175  # published scores of 8B models are at this level
    assert max(Counter(row["gold_index"] for row in loaded).values()) / len(loaded) < 0.2


def test_exam_workbook_and_lines_give_the_same_rows(real_rows):
    pytest.importorskip("openpyxl")
    folder = real_rows / "jlm_fin_harness" / "cpa_audit"
    lines, workbook = [
        rows_of([Place(folder / name, name, "cpa_audit", "test")])
        for name in ("cpa_audit.jsonl", "CPA_AUDIT.xlsx")
    ]
    assert lines == workbook


def test_exam_accuracy_comes_with_its_standard_error(manager):
    """The sets are small: of 38 items, one is worth 2.6 points."""
    sets = ("cma_basics", "cpa_audit", "fp2", "security_sales_1")
    _, results = run_silent(manager, *sets, bootstrap_iters=10)
    for name in sets:
        loaded = results[f"finance_bench_{name}"]
        p, n = loaded["score,none"], len(loader.load_rows(name, "default", source="sample"))
        assert loaded["score_stderr,none"] == pytest.approx((p * (1 - p) / (n - 1)) ** 0.5)
