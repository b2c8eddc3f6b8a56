"""The number, choice or text that is read from an output: golden cases, every marker, hostile text."""

import json
import re
from pathlib import Path

import pytest
from helpers.fuzz_guard import cpu_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import answers
from mergekit_finance.scoring.choices import _any_of, committed_choice, final_choice
from mergekit_finance.scoring.markers import marked_statements
from mergekit_finance.scoring.new_question import cut_at_new_question

GOLDEN = json.loads((Path(__file__).parent / "golden" / "extractions.json").read_text(encoding="utf-8"))
MARKERS = [
    "The answer is {}.",
    "Answer: {}",
    "#### {}",
    "\\boxed{{{}}}",
    "最終回答：{}",
    "答えは{}です。",
    "**Answer:** **{}**",
]


def final_number(text, question=""):
    return answers.final_answer(text, question).number


def check_number(number, case):
    if case["expected"] is None:
        assert number is None
        return
    assert number is not None
    assert number.written == pytest.approx(case["expected"], rel=1e-12)
    assert number.value == pytest.approx(case.get("value", case["expected"]), rel=1e-12)
    assert number.percent == case.get("percent", False)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['kind']}-{case['why']}")
def test_golden_extraction(case):
    if case["kind"] == "final_choice":
        assert final_choice(case["text"], case["labels"]) == case["expected"]
    elif case["kind"] == "direct_text":
        assert answers.direct_text(case["text"]) == case["expected"]
    else:
        read = final_number if case["kind"] == "final_number" else answers.direct_number
        check_number(read(case["text"], case.get("question", "")), case)


def test_golden_file_is_large_and_has_rejections_of_every_kind():
    assert len(GOLDEN) >= 150
    for kind in ("final_number", "final_choice", "direct_number", "direct_text"):
        assert any(case["expected"] is None for case in GOLDEN if case["kind"] == kind)
        assert any(case["expected"] is not None for case in GOLDEN if case["kind"] == kind)


@pytest.mark.parametrize("marker", MARKERS)
@given(value=st.integers(-(10**9), 10**9))
@settings(max_examples=40, deadline=None)
def test_final_number_reads_every_marker(marker, value):
    text = f"Step 1: 17 plus 4.\n{marker.format(f'{value:,}')}\n\nQuestion: 3 + 4?\nAnswer: 7"
    assert final_number(text).written == value


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("label", "ABCD")
def test_final_choice_reads_every_marker(marker, label):
    assert final_choice("A or B? C, D?\n" + marker.format(label), list("ABCD")) == label


@given(st.text(alphabet="0123456789 .,%$-+=()\nabcXYZ売上高約円", max_size=200))
@settings(max_examples=300, deadline=None)
def test_without_a_marker_there_is_no_choice_and_a_number_is_a_fallback(text):
    answer = answers.final_answer(text)
    assert answer.source == ("none" if answer.number is None else "fallback")
    assert final_choice(text, list("1234")) is None


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_no_text_raises_and_cutting_is_idempotent(text):
    for prefix in ("", "The answer is ", "最終回答：", "\\boxed{"):
        final_number(prefix + text)
        answers.direct_number(prefix + text)
        final_choice(prefix + text, ["１", "A", "(", "[", ".*"])
    once = cut_at_new_question(text)
    assert cut_at_new_question(once) == once
    assert text.startswith(once)


@given(st.text(alphabet="Answer:the is 42.#\\boxed{}\n答え最終回答：は３", max_size=80))
@settings(max_examples=300, deadline=None)
def test_a_recited_shot_never_changes_the_answer(text):
    shot = "\nQuestion: What is 5 + 5?\nThe answer is 10."
    assert final_number(text + shot) == final_number(text + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "answer is ",
        "Answer:",
        "#### ",
        "\\boxed{",
        "{",
        "答えは",
        "【",
        "### x\n",
        "* ",
        "\n",
        " ",
        "Q1:",
        "1,",
        "(",
        "the ",
        "問題",
        "<|",
        "\u0300\u0316",
        "A",
        "a ",
        "is 1 ",
        "answer",
        "約",
        "Question ",
        "最終",
        "\\text{",
        "\\frac{1}{",
        "<1",
        "answer, ",
        "answer in ",
        "now ",
        ". next ",
        "次の",
        "第2",
        "問二",
        "not 5 ",
        "ではなく",
        "答えはではなく",
        "x = ",
        "=",
        "1 (",
        "3と",
        "３は誤り、",
        "最終回答：３は誤り、",
        "正しいのは",
        "$",
        "1 234 ",
        "以下の通り",
        "\n\n",
        "\n-\n",
        "\n\na ",
        "What ",
        "\nWhat ",
        "if the ",
        "not the ",
        "the answer is 5\n",
        "最終回答：1\n",
        ", ",
        "1. ",
        "\n- ",
        "最終回答 3",
        "①",
        "3が正解",
        "第1",
        "decrease of ",
        "<b>",
        "rounded to 2 decimals",
    ],
)
def test_hostile_text_takes_linear_time(text):
    hostile = (text * 100_000)[:100_000]
    with cpu_limit(15):
        final_number(hostile)
        answers.direct_number(hostile)
        final_choice(hostile, list("ABCD"))


@pytest.mark.fuzz
@pytest.mark.parametrize("filler", [" ", "\t", "\n", "a ", "5 ", "1 234 ", "=", "-", "\nHow ", "\n表"])
@pytest.mark.parametrize(
    "start",
    [
        "Question",
        "Problem 1",
        "問題",
        "第2",
        "Now",
        "The answer is",
        "\n\\boxed{",
        "Answer: 5\n\n",
        "答え：5\n以下",
    ],
)
def test_a_long_text_after_the_beginning_of_a_pattern_takes_linear_time(start, filler):
    hostile = (start + filler * 100_000)[:100_000]
    with cpu_limit(15):
        final_number(hostile)
        answers.direct_number(hostile)
        final_choice(hostile, list("1234"))


@pytest.mark.parametrize(
    ("text", "number"),
    [("The answer is 35 = 20 + 15.", 35), ("The answer is x = 42.", 42), ("The answer is 42 = x.", None)],
)
def test_the_left_side_of_an_equation_is_the_answer_only_if_the_right_side_has_numbers(text, number):
    result = final_number(text)
    assert (result and result.written) == number


def test_without_labels_there_is_no_choice():
    assert final_choice("The answer is A.", []) is None
    assert final_choice("The answer is A.", [""]) is None


def test_marked_statements_lists_them_in_order():
    texts = [statement.text for statement in marked_statements("Answer: 1\n#### 2\n答えは3です。")]
    assert texts == ["1", "2", "3です。"]


@pytest.mark.parametrize(
    "text, rest",
    [
        ("x\nQuestion: y", "x\n"),
        ("x\n### Instruction\ny", "x\n"),
        ("x\n### Step 2\ny", "x\n### Step 2\ny"),
        ("### Growth\ny", "### Growth\ny"),
        ("the question: y", "the question: y"),
        ("x\n問題1: y", "x\n"),
    ],
)
def test_cut_at_new_question(text, rest):
    assert cut_at_new_question(text) == rest


@pytest.mark.parametrize(
    "text", ["次の問題について考えます。\n最終回答：３", "\n以下の問題を解く。最終回答：３"]
)
def test_an_answer_may_open_by_naming_the_question(text):
    assert final_choice(text, ["３"]) == "３"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Profit did not change.\nThe answer is 42.", 42),
        ("If the tax is 10, the answer is 42.", 42),
        ("The answer is 41.\n\nWait, is that right? No. The answer is 42.", 42),
        ("Answer: Let's see.\n\nWhat do we know? Sales are 5.\n\nThe answer is 42.", 42),
        ("The final answer is 42.\n\nThis means that sales rose. Is this right? Yes.", 42),
        ("The answer is 42%. No further steps.", 42),
        ("最終回答：42億円（前年比5.2%減）", 42),
        ("The answer is 0.125 (or 12.5%).", 0.125),
    ],
)
def test_doubt_elsewhere_keeps_the_number(text, number):
    assert final_number(text).written == number


@pytest.mark.parametrize(
    "text",
    [
        "最終回答：3\n\n1. 誤り\n2. 誤り",
        "最終回答：3。1が正解ではない理由は次の通り",
        "もし2なら矛盾する。したがって正解は3である。",
        "正解は3だと思います。",
        "最終回答：3が不適切です。1、2、4は適切。",
        "最終回答：3である。問題文では「最も適切なものはどれか」とある。",
        "1. 適切\n2. 適切\n3. 不適切\n4. 適切\nしたがって最終回答：3",
    ],
)
def test_doubt_elsewhere_keeps_the_choice(text):
    assert final_choice(text, list("1234")) == "3"


@pytest.mark.parametrize("others", ["1、2、4はいずれも不適切である。", "他の選択肢は正しくない。"])
def test_a_last_sentence_about_the_other_options_does_not_hide_the_choice(others):
    assert committed_choice(f"3が適切である。{others}", list("1234")).label == "3"


def test_a_label_that_begins_like_another_is_read_whole():
    assert re.match(_any_of(["1", "12", "2"]), "12が正解").group() == "12"
    assert final_choice("12が正解です", [str(n) for n in range(1, 13)]) == "12"
