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
    assert sum(published) == 1073 and kept >= 1069
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


def in_the_words_of_the_question(question, gold):
    """Return statements that turn the question into its gold answer."""
    if gold in ("はい", "いいえ"):
        endings = ("一致します。", "一致する。") if gold == "はい" else ("一致しません。", "一致していない。")
        return [question.replace("一致するか。", ending) for ending in endings]
    if gold[-1] in "収益加少善化":
        return [
            re.sub("[^はてで]*か[^か]*か。$", f"{gold}{ending}", question)
            for ending in ("です。", "となった。")
        ]
    size, asked = gold.lstrip("-"), "何%|何ポイント|何倍|いくら"
    signs = ("-", "△", "▲", "マイナス") if gold[0] == "-" else ("",)
    stated = [re.sub(asked, sign + size, question) for sign in signs]
    if re.search("(?:変化|増減)したか", question):
        direction = "減少した。" if gold[0] == "-" else "増加した。"
        stated.append(re.sub(f"(?:{asked})(?:変化|増減)したか。", size + direction, question))
    return stated


def test_gold_in_the_words_of_the_question_is_right(predictions):
    misread, count = [], 0
    for p in predictions[:1000]:
        for words in in_the_words_of_the_question(p["question"], p["gold"]):
            statement = re.sub("か。$", "。", words)
            for reasoning in (False, True):
                count += 1
                if not judge(statement, document(p), reasoning=reasoning).right:
                    misread.append(statement)
    assert count > 3000 and not misread
