"""Published answers of two models to jfinqa's questions, with the judgement of their authors.

The file is `outputs/jfinqa_predictions.jsonl.xz` of ajtgjmdjp/jfinqa, 1,000 answers each of qwen2.5-3b-instruct
and gpt-4o-mini, in the folder of real rows.
"""

import json
import lzma
import re

import pytest

from mergekit_finance.scoring import metrics
from mergekit_finance.scoring.japanese_answers import judge

ANSWERED = re.compile(r"[-−△▲]?\s?([0-9][0-9,]*\.?[0-9]*)(?=[^0-9\n]*$)")


@pytest.fixture(scope="module")
def predictions(real_rows):
    path = real_rows / "outputs" / "jfinqa_predictions.jsonl.xz"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def document(prediction):
    return {"question": prediction["question"], "answer": prediction["gold"]}


def test_numerical_match_equals_the_published_judgement(predictions):
    scores = [metrics.jfinqa(document(p), [p["raw_response"]])["numerical_match"] for p in predictions]
    assert scores == [float(p["correct"]) for p in predictions] and len(scores) == 2000


def test_score_keeps_published_answers_and_accepts_other_wordings(predictions):
    right = [judge(p["raw_response"], document(p)).right for p in predictions]
    published = [p["correct"] for p in predictions]
    kept = sum(a and b for a, b in zip(right, published, strict=True))
    assert sum(published) == 1073 and kept >= 1068
    # Every answer that is right under `score` only was read: another wording, or more digits than the gold.
    assert 270 <= sum(right) - kept <= 290


def test_a_wrong_sign_or_power_of_ten_scores_0(predictions):
    changed, accepted = 0, []
    for p in predictions:
        head, marker, below = p["raw_response"].rpartition("Answer:")
        last = below.partition("\n")[0]
        number = ANSWERED.search(last) if marker and p["gold"][-1] not in "えい収益加少善化" else None
        if not number or not judge(p["raw_response"], document(p)).right:
            continue
        value = float(number[0].replace(",", "").translate(str.maketrans("−△▲", "---")).replace(" ", ""))
        for factor in (-1, 10, 100, 1000) if value else ():
            answer = f"{last[: number.start()]}{value * factor:.6f}{last[number.end() :]}"
            changed += 1
            if judge(head + marker + answer, document(p)).right:
                accepted.append((p["id"], answer))
    assert changed > 3500 and not accepted
