"""Public outputs of 51 models on FinanceMath, with the judgement that their authors published.

The rows are not part of this project: the tests run where FINANCE_BENCH_TEST_DATA has `outputs/`. A row is named
by a hash of its model and question.
"""

import hashlib
import json
import lzma
import math
import re

import pytest

from mergekit_finance.scoring import metrics
from mergekit_finance.scoring.answers import final_answer

# Rows that the publication accepts although sign or power of ten are not the gold's, read one by one:
# "0.37%" for a gold of 37 basis points, "$60" for 60,000, "-1.645" for 1.645.
AGAINST_SIGN_OR_POWER = frozenset(
    """
04906d6ee772 25b5688e22fb 293fa6c8a7e1 38191f94a223 47c92dfcfe57 5d4bc3de3bbc 8459b198d39e
90764a955985 97307b8f4b14 a46c3b69d5d0 bb07a3333cec c93e5188d4a2 cd8fddc4ee85 e2cd4cdd6952
e3695585d924 e7330a92c263 eb01d93cc5f6 ec78207e8db5 fb5c9942c6bb
""".split()
)


def name_of(row):
    return hashlib.sha256(f"{row['model']}/{row['question_id']}".encode()).hexdigest()[:12]


def judge(question, gold, output):
    return metrics.docmath_cot({"question": question, "ground_truth": gold}, [output])


@pytest.fixture(scope="module")
def judged(real_rows):
    """Each row that is not left out, with our metrics."""
    path = real_rows / "outputs" / "financemath_cot.jsonl.xz"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    kept = [row for row in rows if name_of(row) not in AGAINST_SIGN_OR_POWER]
    return [(row, judge(row["question"], row["ground_truth"], row["output"])) for row in kept]


def test_the_score_agrees_with_the_published_judgement(judged):
    right = [metrics_of_row["score"] == 1.0 for row, metrics_of_row in judged if row["published_correct"]]
    false_accepts = sum(
        metrics_of_row["score"] == 1.0 for row, metrics_of_row in judged if not row["published_correct"]
    )
    agreement = (sum(right) + len(judged) - len(right) - false_accepts) / len(judged)
    assert sum(right) / len(right) >= 0.95
    assert agreement >= 0.983
    assert false_accepts <= 20


def test_answers_without_a_marker_are_marked_as_such(judged):
    sources = [metrics_of_row["answer_from"] for _, metrics_of_row in judged]
    assert {"marker", "fallback", "none"} == set(sources)
    assert all(metrics_of_row["marker_score"] <= metrics_of_row["score"] for _, metrics_of_row in judged)


def written(number):
    return f"{number:.10f}".rstrip("0").rstrip(".")


def test_a_right_answer_with_another_sign_or_power_of_ten_is_wrong(judged):
    """Unless the unit says so: a percentage asked, or thousands asked and the whole amount given."""
    questions = {row["question"]: float(row["ground_truth"]) for row, _ in judged}
    accepted = []
    for question, gold in questions.items():
        for factor in (-1, 10, 100, 1000):
            output = f"The final answer is {written(gold * factor)}."
            if gold and judge(question, gold, output)["score"] == 1.0:
                accepted.append((factor, question))
    for factor, question in accepted:
        asks_unit = re.search(r"thousand|million", question)
        asks_percent = re.search(r"%|percent", question)
        assert factor > 0 and (asks_unit if factor == 1000 else asks_percent and factor == 100), question
    assert len(accepted) <= 4


def test_changing_the_number_inside_a_right_output_makes_it_wrong(judged):
    changed = 0
    for row, metrics_of_row in judged:
        number = final_answer(row["output"], row["question"]).number
        if metrics_of_row["score"] != 1.0 or number is None or not number.written or number.percent:
            continue
        digits = f"{abs(number.written):,.10f}".rstrip("0").rstrip(".")
        head, number_text, tail = row["output"].rpartition(digits)
        if not number_text or re.search(r"[0-9.,]$", head) or re.match(r"[0-9.,]?[0-9]", tail):
            continue
        output = f"{head}{written(abs(number.written) * 10)}{tail}"
        again = final_answer(output, row["question"]).number
        if again and math.isclose(again.written, number.written * 10, rel_tol=1e-9):
            assert judge(row["question"], row["ground_truth"], output)["score"] == 0.0, name_of(row)
            changed += 1
    assert changed >= 200


@pytest.mark.parametrize(
    "wording",
    [
        "The final answer is {}.",
        "Therefore, the answer is {}",
        "So it comes to {} in 2018.",
        "\\boxed{{{}}}",
        "### Result\nIn fiscal 2019, it was approximately {}.",
    ],
)
def test_the_gold_in_other_words_is_right(judged, wording):
    questions = {row["question"]: float(row["ground_truth"]) for row, _ in judged}
    for question, gold in questions.items():
        assert judge(question, gold, wording.format(written(gold)))["score"] == 1.0, question[-80:]
