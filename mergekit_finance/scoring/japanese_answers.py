"""Score an answer in Japanese as a careful reader would: by the answer that the output commits to.

`judge` reads the output by what the gold answer is: a number (`japanese_numbers`), はい or いいえ, or a
direction such as 増収 (`japanese_words`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from mergekit_finance.scoring.documents import JfinqaDocument
from mergekit_finance.scoring.japanese_numbers import (
    JapaneseNumber,
    gold_number,
    japanese_match,
    sentence_number,
)
from mergekit_finance.scoring.japanese_text import AnswerSource, CandidateSentence, read_statements
from mergekit_finance.scoring.japanese_words import (
    NO_MATCH,
    direction_matches,
    gold_direction,
    gold_yes_no,
    is_other_word,
    is_refusal,
    sentence_direction,
    sentence_yes_no,
)
from mergekit_finance.scoring.matching import jfinqa_exact
from mergekit_finance.scoring.text import normalize

_Answer = TypeVar("_Answer")


class Judgement(NamedTuple):
    """Whether an output is right, and where its answer was read ("none" if it has no answer)."""

    right: bool
    source: AnswerSource


def judge(text: str, doc: JfinqaDocument, *, reasoning: bool = False) -> Judgement:
    """Return whether an output gives the gold answer of a jfinqa question.

    The last marked answer counts, else the first line if the prompt asks for the answer at once, else the
    last sentences.

    Args:
        text: the model's output.
        doc: the question with its gold answer.
        reasoning: whether the prompt asks for reasoning, so that the first line is not the answer.
    """
    gold, question = doc["answer"], normalize(str(doc.get("question") or ""))
    candidates = read_statements(text, reasoning=reasoning)
    number, yes_no, direction = gold_number(gold, question), gold_yes_no(gold), gold_direction(gold)
    if number:
        return _judge_number(candidates, number, doc, question)
    if yes_no:
        # いいえ after the marker is the answer here; elsewhere it retracts one.
        readable = (candidate._replace(denied=False) for candidate in candidates)
        word, source = _first(
            readable, lambda c: sentence_yes_no(c.text, question, whole=c.whole) or _other_word(c)
        )
        return Judgement(word == yes_no, source)
    if direction:
        word, source = _first(
            candidates,
            lambda c: sentence_direction(c.text, direction, question, whole=c.whole) or _other_word(c),
        )
        return Judgement(direction_matches(word, direction), source)
    phrase, source = _first(candidates, lambda c: c.text or None)
    return Judgement(phrase is not None and jfinqa_exact(phrase, gold), source)


def _other_word(candidate: CandidateSentence) -> str | None:
    """Return NO_MATCH if a marked answer is a word of another kind, else None."""
    is_marked = candidate.source == "marker" and not candidate.whole and not is_refusal(candidate.text)
    return NO_MATCH if is_marked and is_other_word(candidate.text) else None


def _judge_number(
    candidates: Iterator[CandidateSentence], gold: JapaneseNumber, doc: JfinqaDocument, question: str
) -> Judgement:
    number, source = _first(
        candidates,
        lambda c: sentence_number(
            c.text, question, gold.kind, whole=c.whole, any_unit=c.source == "marker" and not c.whole
        ),
    )
    headers = [str(header) for header in doc.get("table_headers") or []]
    context = " ".join([question, *headers, *(str(line) for line in doc.get("pre_text") or [])])
    return Judgement(number is not None and japanese_match(number, gold, context), source)


def _first(
    candidates: Iterator[CandidateSentence], read: Callable[[CandidateSentence], _Answer | None]
) -> tuple[_Answer | None, AnswerSource]:
    """Return the first answer that can be read, and its source.

    There is none if the model retracts its last marked answer, or says that the question has no answer.
    """
    for candidate in candidates:
        if candidate.denied:
            return None, "none"
        answer = read(candidate)
        if answer is not None:
            return answer, candidate.source
        if not candidate.whole and is_refusal(candidate.text):
            return None, "none"
    return None, "none"
