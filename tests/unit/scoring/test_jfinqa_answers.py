"""jfinqa's `score`: the answer that an output commits to, whatever its wording."""

from pathlib import Path

import pytest
import yaml

from mergekit_finance.scoring import metrics
from mergekit_finance.scoring.japanese_answers import judge

WORDINGS = yaml.safe_load((Path(__file__).parent / "jfinqa_wordings.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize("group", WORDINGS, ids=range(len(WORDINGS)))
def test_every_wording_is_judged_as_a_reader_would(group, reasoning):
    doc = {"question": group["question"], "answer": group["gold"]}
    misread = [
        text
        for label in ("right", "wrong")
        for text in group.get(label, [])
        if judge(group.get("after", "") + text, doc, reasoning=reasoning).right != (label == "right")
    ]
    assert not misread


RATIO = {"question": "東山製作所の2024年3月期の売上高営業利益率は何%か。", "answer": "12.5%"}
SALES = {"question": "光通信機は2023年3月期から2024年3月期にかけて増収か減収か。", "answer": "増収"}


@pytest.mark.parametrize(
    ("text", "doc", "source"),
    [
        ("250÷2,000\n答え：12.5%", RATIO, "marker"),
        ("12.5%", RATIO, "marker"),  # the first line answers the prompt's "Answer:"
        ("営業利益率は12.5%です。", RATIO, "fallback"),
        ("算出できません。", RATIO, "none"),
        ("営業利益率は12.5%です。\n答え：算出できません。", RATIO, "none"),
        ("答え：増収", SALES, "marker"),
        ("光通信機の売上高は増加しました。", SALES, "fallback"),
        ("", SALES, "none"),
    ],
)
def test_where_the_answer_was_read_is_recorded(text, doc, source):
    assert judge(text, doc).source == source
    scores = metrics.jfinqa(doc, [text])
    assert (scores["answer_from"], scores["no_answer"]) == (source, float(source == "none"))
    assert scores["marker_score"] == (scores["score"] if source == "marker" else 0.0)


def test_a_question_after_a_first_line_with_the_answer_ends_a_direct_answer():
    doc = {"question": "売上総利益率は何%か。", "answer": "21.4%"}
    assert judge("21.4%\n営業利益率は何%か。\nAnswer: 5.3%", doc).right
    assert not judge("売上総利益率は何%か。\n21.4%\nAnswer: 5.3%", doc).right


def test_with_reasoning_the_first_line_is_not_the_answer():
    text = "10%\nよって、営業利益率は12.5%です。"
    assert not judge(text, RATIO).right and judge(text, RATIO, reasoning=True).right


def test_the_last_marked_answer_counts():
    assert judge("Answer: 15%\n見直すと\nAnswer: 12.5%", RATIO).right
    assert not judge("Answer: 12.5%\n見直すと\nAnswer: 15%", RATIO).right


def test_a_marked_word_of_another_kind_is_an_answer_and_a_placeholder_is_not():
    reasoning = "売上高が増加したため、増収となりました。\n"
    for word in ("増益", "削除", "はい", "減収"):
        assert not judge(f"{reasoning}Answer: {word}", SALES).right
    for placeholder in ("値", "処理中...", "計算過程："):
        assert judge(f"{reasoning}Answer: {placeholder}", SALES).right


def test_units_of_the_table_decide_what_yen_without_a_scale_means():
    question = "北斗電機の2024年3月期の売上総利益はいくらか。"
    doc = {"question": question, "answer": "48,300", "table_headers": ["", "2024年3月期"]}
    assert judge("48,300円です。", doc).right and judge("48,300百万円", doc).right
    stated = doc | {"table_headers": ["項目", "金額(百万円)"]}
    assert not judge("48,300円です。", stated).right and judge("48,300百万円", stated).right
    assert not judge("48,300千円", doc).right


def test_numerical_match_stays_the_rule_of_lm_eval():
    scores = metrics.jfinqa({"question": "", "answer": "-3.5%"}, ["約△3.5%"])
    assert (scores["score"], scores["numerical_match"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        ("A社の売上高はB社の売上高を上回るか。", "上回っています。", "はい"),
        ("A社の売上高はB社の売上高を上回るか。", "下回っています。", "いいえ"),
        ("合計は内訳と異なるか。", "一致しています。", "いいえ"),
        ("合計は内訳と異なるか。", "異なります。", "はい"),
        ("この計算は正しいか。", "正しくありません。", "いいえ"),
    ],
)
def test_the_question_decides_what_its_predicate_means(question, answer, right):
    for gold in ("はい", "いいえ"):
        assert judge(answer, {"question": question, "answer": gold}).right == (gold == right)
