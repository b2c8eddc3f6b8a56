"""The metrics of one document: score, correct, no_answer and those of each task."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tasks import jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import aggregate
from mergekit_finance.scoring import metrics as scoring

CHOICE_DOC = {"options": ["positive", "neutral", "negative"], "gold_index": 2, "class_id": 4}
LABELS = {"options": ["１", "２", "３", "４"], "gold_index": 2}
GENERATION = {
    "choice_cot": LABELS,
    "convfinqa": {"answer": "35.80", "executed_answer": 35.8},
    "docmath": {"question": "What is the difference?", "ground_truth": 3.97},
    "docmath_cot": {"question": "What is the difference?", "ground_truth": 3.97},
    "jfinqa": {"answer": "10.07%"},
    "entities": {"entities": [["Acme", "ORG"], ["Lender", "PER"]]},
}
CHOICE = ["choice_f1", "headline", "chabsa", "choice_acc"]


def likelihoods(*values):
    return [(value, False) for value in values]


@pytest.mark.parametrize("name", CHOICE)
@pytest.mark.parametrize("gold", [-1, 0, 2])
def test_choice_tasks_take_the_most_likely_option(name, gold):
    metrics = getattr(scoring, name)({**CHOICE_DOC, "gold_index": gold}, likelihoods(-3.0, -2.0, -1.0))
    assert metrics["correct"] == metrics["acc"] == float(gold == 2)
    scores = {
        "choice_f1": (gold, 2),
        "chabsa": (gold, 2),
        "headline": (4, gold, 2),
        "choice_acc": float(gold == 2),
    }
    assert metrics["score"] == scores[name]


def test_acc_norm_divides_by_characters_and_acc_token_by_tokens():
    doc = {"options": ["yes", "certainly"], "gold_index": 1, "option_tokens": [1, 2]}
    metrics = scoring.choice_acc(doc, likelihoods(-2.0, -3.0))
    assert (metrics["acc"], metrics["acc_norm"], metrics["acc_token"]) == (0.0, 1.0, 1.0)
    assert "acc_token" not in scoring.choice_acc({**doc, "option_tokens": None}, likelihoods(-2.0, -3.0))


def test_f1_token_is_the_gold_and_adaptllms_choice():
    doc = {"options": ["yes", "certainly"], "gold_index": 0, "class_id": 4, "option_tokens": [1, 2]}
    values = likelihoods(-2.0, -3.0)
    assert scoring.choice_f1(doc, values)["score"] == (0, 0)
    assert scoring.choice_f1(doc, values)["f1_token"] == (0, 1)
    assert scoring.headline(doc, values)["f1_token"] == (4, 0, 1)
    assert "f1_token" not in scoring.choice_f1({**doc, "option_tokens": None}, values)


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_f1_token_equals_scikit_learn_on_the_choice_by_mean_likelihood(data):
    """AdaptLLM's rule, computed here with numpy and scikit-learn."""
    metrics = pytest.importorskip("sklearn.metrics")
    golds = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=30))
    pairs, expected = [], []
    for gold in golds:
        values = data.draw(st.lists(st.floats(-50, -0.01), min_size=3, max_size=3))
        tokens = data.draw(st.lists(st.integers(1, 4), min_size=3, max_size=3))
        doc = {"options": ["a", "b", "c"], "gold_index": gold, "option_tokens": tokens}
        pairs.append(scoring.choice_f1(doc, likelihoods(*values))["f1_token"])
        expected.append(int(np.argmin(-np.array(values) / np.array(tokens))))
    f1 = metrics.f1_score(golds, expected, average="weighted", zero_division=0)
    assert aggregate.weighted_f1(pairs) == pytest.approx(f1)


@given(st.lists(st.floats(-50, -0.01), min_size=2, max_size=6), st.data())
@settings(deadline=None)
def test_choice_equals_the_host_arithmetic(values, data):
    options = [data.draw(st.text(min_size=1, max_size=9)) for _ in values]
    gold = data.draw(st.integers(-1, len(values) - 1))
    metrics = scoring.choice_acc({"options": options, "gold_index": gold}, likelihoods(*values))
    lengths = np.array([float(len(option)) for option in options])
    assert metrics["acc"] == float(np.argmax(values) == gold)
    assert metrics["acc_norm"] == float(np.argmax(np.array(values) / lengths) == gold)


def test_equal_likelihoods_nan_and_extra_results():
    doc = {"options": ["a", "b"], "gold_index": 0}
    assert scoring.choice_acc(doc, likelihoods(-1.0, -1.0))["acc"] == 1.0
    assert scoring.choice_acc(doc, likelihoods(-1.0, math.nan))["acc"] == 1.0
    assert scoring.choice_acc(doc, likelihoods(math.nan, -1.0))["acc"] == 0.0
    assert scoring.choice_acc(doc, likelihoods(-1.0, -2.0, -0.1, -0.1))["acc"] == 1.0
    assert scoring.choice_acc({**doc, "options": ["", "b"]}, likelihoods(-1.0, -2.0))["acc_norm"] == 1.0


@pytest.mark.parametrize(
    "name, output, score, no_answer",
    [
        ("choice_cot", "考えると…\nよって、正解は３です。", 1.0, 0.0),
        ("choice_cot", "よって、正解は２です。", 0.0, 0.0),
        ("choice_cot", "３だと思います。", 0.0, 1.0),
        ("convfinqa", " 35.8", 1.0, 0.0),
        ("convfinqa", " 35.9", 0.0, 0.0),
        ("convfinqa", " nothing", 0.0, 1.0),
        ("docmath", "3.97", 1.0, 0.0),
        ("docmath", "-3.97", 0.0, 0.0),
        ("docmath_cot", "2 + 1.97. Therefore, the answer is 3.97.", 1.0, 0.0),
        ("docmath_cot", "2 + 1.97 = 3.97", 1.0, 0.0),
        ("jfinqa", "Answer: 10.1%", 1.0, 0.0),
        ("jfinqa", "Answer: 10.3%", 0.0, 0.0),
        ("jfinqa", "", 0.0, 1.0),
        ("entities", "Lender (PER), Acme (ORG)", (2, 2, 2), 0.0),
        ("entities", "Acme (LOC)", (0, 1, 2), 0.0),
        ("entities", "none", (0, 0, 2), 1.0),
    ],
)
def test_generation_scores(name, output, score, no_answer):
    metrics = getattr(scoring, name)(GENERATION[name], [output])
    right = score in (1.0, (2, 2, 2))
    assert (metrics["score"], metrics["correct"], metrics["no_answer"]) == (score, float(right), no_answer)


@pytest.mark.parametrize("name", GENERATION)
@pytest.mark.parametrize("results", [[""], [], [[]], [["x"]], ["\n\n"], ["\x00" * 9]])
def test_generation_metrics_accept_empty_and_odd_results(name, results):
    metrics = getattr(scoring, name)(GENERATION[name], results)
    assert metrics["correct"] == 0.0 and {"score", "no_answer"} <= metrics.keys()


@given(st.sampled_from(sorted(GENERATION)), st.text())
@settings(max_examples=200, deadline=None)
def test_generation_never_raises_and_correct_needs_an_answer(name, output):
    metrics = getattr(scoring, name)(GENERATION[name], [output])
    assert metrics["correct"] in (0.0, 1.0)
    assert not (metrics["correct"] and metrics["no_answer"])


def test_a_gold_index_of_minus_one_is_always_wrong():
    assert scoring.choice_cot({**LABELS, "gold_index": -1}, ["正解は４です。"])["correct"] == 0.0
    assert scoring.choice_cot({**LABELS, "gold_index": 9}, ["正解は４です。"])["correct"] == 0.0


@pytest.mark.parametrize(
    "doc, output, score, loose",
    [
        ({"answer": "yes", "executed_answer": None}, " Yes.", 1.0, 0.0),
        ({"answer": "yes", "executed_answer": "yes"}, " no", 0.0, 0.0),
        ({"answer": "no", "executed_answer": None}, " No revenue was lost", 0.0, 0.0),
        ({"answer": "no", "executed_answer": None}, " No. 5", 0.0, 0.0),
        ({"answer": "no", "executed_answer": None}, " no, it did not", 1.0, 0.0),
        ({"answer": "yes", "executed_answer": None}, " yes, it did", 1.0, 0.0),
        ({"answer": "yes", "executed_answer": None}, " Yes it increased", 1.0, 0.0),
        ({"answer": "yes", "executed_answer": None}, " yes (increase)", 1.0, 0.0),
        ({"answer": "yes", "executed_answer": None}, " yes or no", 0.0, 0.0),
        ({"answer": "yes", "executed_answer": None}, " yes, it did not", 0.0, 0.0),
        ({"answer": "-10%", "executed_answer": -0.1, "question": "the change?"}, " 10% decrease", 1.0, 0.0),
        ({"answer": "10%", "executed_answer": 0.1, "input": "what decline?"}, " 10% decline", 1.0, 1.0),
        ({"answer": "10%", "executed_answer": -0.09709}, " 10%", 0.0, 1.0),
        ({"answer": "142.4%", "executed_answer": 1.42403}, " 142.4%\n", 1.0, 1.0),
        ({"answer": "0.97%", "executed_answer": 0.0097}, " 0", 0.0, 1.0),
        ({"answer": "14.1%", "executed_answer": None}, " 0.141", 1.0, 1.0),
        ({"answer": "35.80", "executed_answer": None}, " 35.8", 1.0, 1.0),
        ({"answer": "n/a", "executed_answer": None}, " 35.8", 0.0, 0.0),
        ({"answer": "0.14136", "executed_answer": 0.14136}, " 14.1", 0.0, 0.0),
        ({"answer": "0.14136", "executed_answer": 0.14136, "percent": True}, " 14.1", 1.0, 0.0),
        (
            {"answer": "0.14136", "executed_answer": 0.14136, "question": "what percentage?"},
            " 14.1",
            1.0,
            0.0,
        ),
    ],
)
def test_convfinqa(doc, output, score, loose):
    metrics = scoring.convfinqa(doc, [output])
    assert (metrics["score"], metrics["convfinqa_adaptllm"]) == (score, loose)


def test_convfinqa_yes_no_questions_report_no_answer():
    doc = {"answer": "yes", "executed_answer": None}
    assert [scoring.convfinqa(doc, [text])["no_answer"] for text in ("yes", "No.", "42", "")] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "doc, output, score, official",
    [
        ({"ground_truth": 14.07}, "0.1407", 0.0, 1.0),
        ({"ground_truth": 14.07, "percent": True}, "0.1407", 1.0, 1.0),
        ({"ground_truth": 14.07, "question": "By what percentage?"}, "0.1407", 1.0, 1.0),
        ({"ground_truth": 14.07, "question": "If it falls by 5%, what is it?"}, "0.1407", 1.0, 1.0),
        ({"ground_truth": 3.97}, "39.7", 0.0, 1.0),
        ({"ground_truth": 3.97}, "4.1", 0.0, 0.0),
    ],
)
def test_docmath(doc, output, score, official):
    metrics = scoring.docmath({"question": "What?", **doc}, [output])
    assert (metrics["score"], metrics["docmath_official"]) == (score, official)


def test_entities_reports_adaptllm_against_the_label_text_where_there_is_one():
    doc = {"entities": [["Acme Bank", "ORG"]], "label": "Acme Bank (organization)"}
    metrics = scoring.entities(doc, [" Acme Bank (organization)\n"])
    assert (metrics["score"], metrics["correct"], metrics["adaptllm_f1"]) == ((1, 1, 1), 1.0, 1.0)
    assert scoring.entities({"entities": doc["entities"]}, ["Big Bank (ORG)"])["adaptllm_f1"] == 1.0


def test_scores_feed_their_aggregations():
    docs = [{**CHOICE_DOC, "gold_index": gold} for gold in (0, 1, 2, -1)]
    results = likelihoods(-1.0, -2.0, -3.0)
    assert 0 < aggregate.weighted_f1([scoring.choice_f1(doc, results)["score"] for doc in docs]) < 1
    assert 0 < aggregate.headline_mean_f1([scoring.headline(doc, results)["score"] for doc in docs]) < 1
    assert 0 < aggregate.macro_f1_two_class([scoring.chabsa(doc, results)["score"] for doc in docs]) < 1
    outputs = ["Acme (ORG)", "Lender (PER), Acme (ORG)"]
    counts = [scoring.entities(GENERATION["entities"], [output])["score"] for output in outputs]
    assert aggregate.corpus_entity_f1(counts) == pytest.approx(6 / 7)


def test_real_docmath_golds_score_themselves(real_rows):
    paths = sorted((real_rows / "docmath_schema").glob("*.jsonl"))
    assert paths
    for path in paths:
        for row in jsonl(path):
            gold = row["ground_truth"]
            assert scoring.docmath(row, [f" {gold:,}"])["score"] == 1.0
            assert scoring.docmath_cot(row, [f"Therefore, the answer is {gold}."])["score"] == 1.0
            # further than half of the last digit of any gold with two digits: 1.617 rounds to a gold of 1.6
            assert scoring.docmath(row, [str(gold * 1.2 + math.copysign(0.1, gold))])["score"] == 0.0


def test_importing_scoring_imports_no_heavy_module():
    code = (
        "import sys, mergekit_finance.scoring.metrics, mergekit_finance.scoring.aggregate;"
        "print([m for m in ('torch', 'transformers', 'lm_eval', 'numpy', 'sklearn') if m in sys.modules])"
    )
    # -S and our path only: start-up hooks of the environment may import anything.
    path = str(Path(__file__).resolve().parents[3])
    run = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.parametrize(
    ("output", "correct", "source"),
    [
        ("最終回答：3", 1.0, "marker"),
        ("1は適切。2は適切。\nよって、3が不適切である。", 1.0, "fallback"),
        ("以上より、選択肢3が誤りである。", 1.0, "fallback"),
        ("1. 適切\n2. 適切\n3. 不適切\n4. 適切\n\n3", 1.0, "fallback"),
        ("3\n\n解説：控除額は40万円である。", 1.0, "fallback"),
        ("3が最も不適切です。なぜなら、控除額が違うからです。", 1.0, "fallback"),
        ("検討の結果、3のみが不適切である。", 1.0, "fallback"),
        ("最終回答：3\n\n4：適切", 1.0, "marker"),
        ("答え　３", 1.0, "marker"),
        ("综上所述，最不恰当的是选项3。", 1.0, "marker"),
        ("3が不適切です。なぜなら、控除額が違うからです。4が不適切です。4は古い。", 0.0, "none"),
        ("最終回答：3\n4", 0.0, "none"),
        ("答え 3つの記述を比べる", 0.0, "none"),
        ("3だけを確認すればよい。", 0.0, "none"),
        ("したがって、4が不適切である。", 0.0, "fallback"),
        ("2が適切で、3が不適切である。", 0.0, "none"),
        ("以上より、3または4が考えられる。", 0.0, "none"),
        ("1. 適切\n2. 適切\n3", 0.0, "none"),
        ("よって、3つの要件を満たす。", 0.0, "none"),
        ("最終回答：わかりません。よって、3が不適切である。", 0.0, "none"),
    ],
)
def test_without_a_marker_the_concluding_label_is_read(output, correct, source):
    document = {"options": list("1234"), "gold_index": 2}
    metrics = scoring.choice_cot(document, [output])
    assert (metrics["correct"], metrics["answer_from"]) == (correct, source)
    assert metrics["marker_score"] == (correct if source == "marker" else 0.0)
