"""TAT-QA's rule, and the metrics of TAT-QA and GSM8K."""

import time

import pytest
from helpers.tasks import tatqa_matches
from hypothesis import given
from hypothesis import strategies as st

from mergekit_finance.scoring import metrics as scoring
from mergekit_finance.scoring.tatqa import tatqa_match, tatqa_normal


def doc(answer, kind="arithmetic", scale=""):
    return {"answer": answer if isinstance(answer, list) else [answer], "answer_type": kind, "scale": scale}


@pytest.mark.parametrize(
    ("output", "gold", "right"),
    [
        ("73", doc("73", scale="thousand"), True),
        ("73 thousand", doc("73", scale="thousand"), True),
        ("73,000", doc("73", scale="thousand"), True),
        ("73 million", doc("73", scale="thousand"), False),
        ("-12.6", doc("-12.6", scale="million"), True),
        ("(12.6)", doc("-12.6", scale="million"), True),
        ("12.6", doc("-12.6", scale="million"), False),
        ("17.7%", doc("17.7", scale="percent"), True),
        ("17.7", doc("17.7", scale="percent"), True),
        ("0.177", doc("17.7", scale="percent"), True),
        ("1.77", doc("17.7", scale="percent"), False),
        ("17.704", doc("17.7", scale="percent"), True),
        ("17.71", doc("17.7", scale="percent"), False),
        ("3", doc("3", "count"), True),
        ("three", doc("3", "count"), False),
        ("$592", doc("592", "span", "thousand"), True),
        ("the Americas.", doc("Americas", "span"), True),
        ("Europe", doc("Americas", "span"), False),
        ("2019; 2018", doc(["2018", "2019"], "multi-span"), True),
        ("2019", doc(["2018", "2019"], "multi-span"), False),
        ("", doc("5"), False),
        ("5 and 6", doc("5", "count"), False),
        ("2019 or 2018", doc("2019", "span"), False),
        ("2019", doc("2019", "span"), True),
        ("5%", doc("5", scale="million"), False),
        ("5%", doc("5", scale="percent"), True),
        ("5 thousand", doc("5", scale="percent"), False),
        ("sales and rent", doc(["rent", "sales"], "multi-span"), True),
        ("sales, rent", doc(["rent", "sales"], "multi-span"), True),
        ("sales and rent", doc(["rent", "costs"], "multi-span"), False),
        ("sales and rent; costs", doc(["sales and rent", "costs"], "multi-span"), True),
        ("1202; 5", doc(["$1,202", "$5"], "multi-span"), True),
        ("1202; 5%", doc(["$1,202", "$5"], "multi-span"), False),
    ],
)
def test_tatqa_match_by_hand(output, gold, right):
    assert tatqa_matches(output, gold) is right


@pytest.mark.parametrize("scale", ["", "percent"])
@pytest.mark.parametrize(
    "output", ["5 million", "5 or 6", "between 5 and 10", "not 5", "5 + 3", "from 5 to 10"]
)
def test_a_number_is_right_only_where_the_output_commits_to_it(output, scale):
    gold = doc("5", scale=scale)
    assert scoring.tatqa(gold, [f" {output}\n"])["score"] == 0
    assert scoring.tatqa_cot(gold, [f"The final answer is {output}."])["score"] == 0


def test_a_fall_is_negative_unless_the_question_asks_for_its_size():
    gold = doc("-10", scale="percent")
    assert scoring.tatqa({**gold, "question": "What is the change?"}, [" a decrease of 10%"])["score"] == 1
    gold = doc("10", scale="percent") | {"question": "By how much did costs decrease?"}
    assert scoring.tatqa_cot(gold, ["The final answer is a decrease of 10%."])["score"] == 1


def test_a_bulleted_list_is_a_list():
    gold = doc(["sales", "rent"], "multi-span")
    assert scoring.tatqa(gold, ["\n- sales\n- rent\n"])["score"] == 1
    assert scoring.tatqa_cot(gold, ["The final answer is\n- sales\n- rent\n\nDone."])["score"] == 1
    assert scoring.tatqa_cot(gold, ["The final answer is\n- sales\n- costs"])["score"] == 0


def test_years_before_the_items_of_a_list_decide_their_order():
    gold = doc(["$3", "$2"], "multi-span") | {"question": "What was rent in 2019 and 2018?"}
    assert scoring.tatqa(gold, ["2018: $2; 2019: $3"])["score"] == 1
    assert scoring.tatqa(gold, ["2019: $2; 2018: $3"])["score"] == 0


def test_the_table_decides_the_year_of_an_item_where_the_gold_has_another_order_than_the_question():
    table = "in thousands | 2019 | 2018\nTowage | 3 | 2\nSalvage | 7 | 8"
    gold = doc(["3", "2"], "multi-span") | {"question": "What was towage in 2018 and 2019?", "table": table}
    for right in ("2018: 2; 2019: 3", "3 in 2019 and 2 in 2018", "2; 3"):
        assert scoring.tatqa(gold, [right])["score"] == 1
    for wrong in ("2018: 3; 2019: 2", "3 in 2018 and 2 in 2019"):
        assert scoring.tatqa(gold, [wrong])["score"] == 0


def test_a_numbered_or_starred_list_is_a_list_of_items_and_no_number():
    for lines in ("1. 5\n2. 6", "* 5\n* 6", "(1) 5\n(2) 6"):
        text = f"The final answer is:\n{lines}"
        assert scoring.tatqa_cot(doc(["5", "6"], "multi-span"), [text])["score"] == 1
        assert scoring.tatqa_cot(doc("5"), [text])["no_answer"] == 1


@pytest.mark.parametrize(
    "gold", [doc(["$5 million", "$7 million", "rent"], "multi-span"), doc("5 years", "span")]
)
@pytest.mark.parametrize(
    "piece", ["5 ", "$5 million; ", "rent, ", "(1) rent and ", "2019 ", "- rent\n", "((((", "the "]
)
def test_long_answers_are_judged_in_seconds(gold, piece):
    gold = gold | {"question": "What was the rent in 2019 and 2018, and over how many years?"}
    started = time.perf_counter()
    for length in (4000, 100_000):
        assert not tatqa_match(piece * (length // len(piece)), None, gold)
        assert (
            scoring.tatqa_cot(gold, [f"The final answer is:\n{piece * (length // len(piece))}"])["score"] == 0
        )
    assert time.perf_counter() - started < 5


def test_an_inflection_of_a_short_verb_repeats_the_question():
    gold = doc("straight-line", "span") | {"question": "What method does it use?"}
    assert scoring.tatqa(gold, ["It uses the straight-line method."])["score"] == 1


def test_an_answer_that_is_taken_back_is_wrong():
    gold = doc("sales", "span")
    outputs = ["The final answer is sales.", "The final answer is sales. Wait, no.", "If the answer is sales"]
    assert [scoring.tatqa_cot(gold, [text])["score"] for text in outputs] == [1, 0, 0]


def test_reasoning_is_read_from_its_marker_or_its_last_sentence():
    gold = doc("73", scale="thousand")
    assert scoring.tatqa_cot(gold, ["592 - 519 = 73. The final answer is 73."])["score"] == 1
    marked = scoring.tatqa_cot(gold, ["592 - 519 = 73. The final answer is 73."])
    unmarked = scoring.tatqa_cot(gold, ["592 - 519 = 73, so the change is 73."])
    assert (marked["answer_from"], marked["marker_score"]) == ("marker", 1.0)
    assert (unmarked["answer_from"], unmarked["score"], unmarked["marker_score"]) == ("fallback", 1.0, 0.0)
    nothing = {"score": 0.0, "correct": 0.0, "no_answer": 1.0, "answer_from": "none", "marker_score": 0.0}
    assert scoring.tatqa_cot(gold, ["I am not sure."]) == nothing


def test_gsm8k_requires_the_exact_number():
    assert scoring.exact_number_cot({"ground_truth": 18.0}, ["9 + 9. The final answer is 18."])["score"] == 1
    assert scoring.exact_number_cot({"ground_truth": 18.0}, ["The final answer is 18.5."])["score"] == 0
    assert scoring.exact_number_cot({"ground_truth": 18.0}, ["18"])["answer_from"] == "fallback"
    assert scoring.exact_number_cot({"ground_truth": 18.0}, ["no idea"])["no_answer"] == 1


@given(st.text(max_size=200), st.sampled_from(["arithmetic", "count", "span", "multi-span"]))
def test_no_text_makes_tatqa_match_raise(output, kind):
    assert tatqa_matches(output, doc(["5", "x"] if kind == "multi-span" else "5", kind)) in (True, False)


@given(st.text(st.characters(exclude_characters="\\"), max_size=50))
def test_tatqa_normal_is_idempotent_or_shortens_text_without_latex(text):
    """With LaTeX it is not: a backslash and a line break become a LaTeX space only the second time."""
    once = tatqa_normal(text)
    assert tatqa_normal(once) == once or len(once) < len(text)
