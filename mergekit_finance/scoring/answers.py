r"""Extract the answer from a model's output: a number, a line of text, a list, yes or no.

With a chain of thought, the last marked answer counts ("The answer is 5", "Answer: 5", "#### 5",
"\boxed{5}", 最終回答：5). Without a marker it is the number that the last sentence commits to ("So it was 5
in 2018"). Both must come before the model starts another question. Tasks without reasoning are answered on
the first line.

The label of an option is read by `choices.final_choice`, entities by `entities.parse_entities`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mergekit_finance.scoring.choices import NO_ANSWER
from mergekit_finance.scoring.committed import committed_number, merged_restatements
from mergekit_finance.scoring.japanese_text import AnswerSource, kanji_to_digits
from mergekit_finance.scoring.markers import (
    CONDITION,
    MAX_STATEMENT,
    STATES_CONDITION,
    UNFINISHED,
    answering_part,
    bulleted_items,
    located_statements,
)
from mergekit_finance.scoring.new_question import find_unrelated_question
from mergekit_finance.scoring.number_words import with_digits
from mergekit_finance.scoring.numbers import Number, Span, is_year, iter_numbers
from mergekit_finance.scoring.periods import asks_when, asks_year, without_periods
from mergekit_finance.scoring.stated_number import signed, stated_number
from mergekit_finance.scoring.text import first_sentence, sentences, strip_decoration

# The next question on the line of an answer: the second heading of "0.64 Question: What is ...? Answer: 1.3".
_NEXT_QUESTION = re.compile(r"(?<=[\w.%)])\s+(?:Question|Q|問題|質問)\s?:\s?(?=\w)")
# A line that does not answer a question for a number: a list item ("1. 5"), "n/a", "none".
_NO_NUMBER_LINE = re.compile(r"\(?[0-9]{1,2}[.)]\s+[-+$€£¥(△▲]{0,3}[0-9]|n/a\b|none\b", re.IGNORECASE)
# A number that is only a bound, a guess or a question: 5以上, 5%未満, 5かもしれない, 5でしょうか.
_DOUBT = re.compile(
    r"[0-9円%]\s?(?:以[上下]|未満|超)|かもしれ|とは限ら|(?:でしょう|だろう|です)か(?!ら)", re.IGNORECASE
)
# A remark on rounding; its number is not the answer: "rounded to 2 decimal places".
_ROUNDED = re.compile(
    r"\(?(?:rounded )?to (?:[0-9]{1,2}|one|two|three|four) "
    r"(?:decimals?|decimal places?|significant figures)\)?:?",
    re.IGNORECASE,
)
# A label before the answer: "Answer:", "The final answer is", 最終回答：, 答えは.
_LABEL = re.compile(
    r"(?:(?:final |the )?answer|a|最終回答|回答|解答|答え|答)\s?(?::|は、?|\s?is\b:?)\s*", re.IGNORECASE
)
# "yes" or "no" before the end of the line or a clause that confirms it: "Yes.", "no, it did not", "yes it
# increased". Not "No revenue was lost" and "No. 5".
_YES_NO = re.compile(
    r"(yes|no)(?:$|\s?[,!;:(]|\s?\.(?!\s?[0-9])|\s?-\s|\s(?:it|they|this|that|there|we|he|she)\b)",
    re.IGNORECASE,
)


# A ratio to one, "1.86:1" or "1.86 to 1", the end of an amount in rupees, "500/-", and the letters of FY2009.
_RATIO = re.compile(r"(?<=[0-9])(?:\s?(?::|to)\s?1(?:\.0+)?(?![0-9.,]*[0-9%])|/-)", re.IGNORECASE)
_FISCAL_YEAR = re.compile(r"\bFY\s?(?=(?:19|20)[0-9]{2}\b)", re.IGNORECASE)
# A sentence without a marker that gives no answer: "Suppose it is 5.", "The wrong answer is 5.", 誤答は5です.
_NOT_MEANT = re.compile(
    r"^(?:suppose|supposing|imagine|whether|what if)\b|\b(?:wrong|incorrect|mistaken)\b"
    r"|(?:n't|\bnot) (?:think|believe|say|mean)\b|誤答|誤り|間違い"
    r"|\b(?:is|are|was|were) not (?:asked(?: for)?|needed|required|relevant|included|used|considered)$",
    re.IGNORECASE,
)
# Text before a number that the sentence denies: "was not ", "isn't exactly $", "did not increase by ".
_DENIES = re.compile(
    r"(?:(?:\b(?:is|was|are|were|be)|['’]s) (?:not|never)\b|\b(?:is|was|are|were)n['’]t\b"
    r"|\b(?:did|does|do)(?: not|n['’]t) (?:equal|total|amount to|cost|[a-z]{2,12} by)\b)"
    r"\s(?:exactly |precisely |equal to |about |approximately )?[^\w\s]{0,3}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"\s(?:(?:is|was|are|were)(?: not|n['’]t)|(?:is|was|would be) (?:incorrect|wrong))\b", re.IGNORECASE
)
# The heading of a remark that follows the answer.
_EXPLANATION = re.compile(r"\n[ \t*#]{0,6}Explanation[ \t*]{0,4}:", re.IGNORECASE)
# A sentence that takes back what stands before it: "No, that is not right.", 違います。
_WITHDRAWS = re.compile(
    r"^(?:(?:but|no|wait|hmm),? ){0,2}(?:that|this|it)(?:(?:'s| is| was) (?:not (?:right|correct|true)"
    r"|wrong|incorrect)|(?: isn't| wasn't| cannot be| can't be) (?:right|correct|true))[.!]?$"
    r"|^(?:いや、?|いいえ、?)?(?:違う|違います|正しくない|正しくありません)。?$",
    re.IGNORECASE,
)
# A box that the token limit cut open: its number may be longer.
_CUT_BOX = re.compile(r"\\boxed\s?\{[^{}]*$")
_CODE_BLOCK = re.compile(r"```.*?(?:```|$)", re.DOTALL)
# The end of an output that is searched for an answer without a marker.
_MAX_ENDING, _MAX_SENTENCES = 1500, 12


class FinalAnswer(NamedTuple):
    """A number, and what led to it: "marker", "fallback" (the last committed number) or "none"."""

    number: Number | None
    source: AnswerSource


NONE = FinalAnswer(None, "none")


def final_answer(text: str, question: str = "") -> FinalAnswer:
    """Return the number that a chain of thought commits to, and where it was found.

    "40 + 2 = 42. The answer is 42." -> 42, "最終回答：5.2%減少" -> -5.2 with `percent`, "5 + 2 = 7" -> None.

    The last marked statement with a number counts. Without one, or after one that the model takes back, it is
    the number of the last sentence that commits to one. Statements without a number ("the answer is correct")
    are skipped: a complete answer counts even if a later one was cut off by the token limit. The number is
    None if the last answer is "cannot be determined", a question or a list; earlier ones are then not used.

    Args:
        text: the model's output.
        question: the question. It decides the sign of a decrease or a loss: "a decrease of 10%" is -10, but
            10 if the question is "By how much did costs decrease?".
    """
    body, start = answering_part(kanji_to_digits(text)), 0
    body = body[: find_unrelated_question(body, question)] if question else body
    for position, statement in reversed(list(located_statements(body))):
        sentence = _ROUNDED.sub("", first_sentence(statement.text))
        if statement.conditional and question and not STATES_CONDITION.search(question):
            continue
        if NO_ANSWER.search(sentence) or _DOUBT.search(sentence):
            return NONE
        if statement.numbered or len(statement.items) > 1:
            return NONE
        if statement.denied:
            start = body.find(sentence, position) + len(sentence)
            break
        if _has_number(sentence, question):
            number = _read(sentence, question, whole=statement.whole, is_marked=True)
            return FinalAnswer(number, "marker") if number else NONE
    return _last_committed(body[start:], question)


def _last_committed(body: str, question: str) -> FinalAnswer:
    """Return the number of the last sentence that commits to one: "So it was 5 in 2018."

    An answer before the heading "Explanation:" counts before any number after it.
    """
    explanation = _EXPLANATION.search(body)
    answer = _last_committed(body[: explanation.start()], question) if explanation else NONE
    if answer.number:
        return answer
    body = _CUT_BOX.sub("", _CODE_BLOCK.sub("", body)[-_MAX_ENDING:])
    read = sentences(body)
    if UNFINISHED.search(body):
        read.pop()
    for sentence, is_complete in reversed(read[-_MAX_SENTENCES:]):
        sentence = _ROUNDED.sub("", sentence)
        if NO_ANSWER.search(sentence) or _DOUBT.search(sentence) or _WITHDRAWS.search(sentence):
            return NONE
        if _has_number(sentence, question) and _is_meant(sentence, question):
            number = _read(sentence, question, is_complete=is_complete)
            if number:
                return FinalAnswer(number, "fallback")
    return NONE


def _is_meant(sentence: str, question: str) -> bool:
    """Return whether a sentence is no condition that the question does not have, and no wrong answer."""
    is_condition = CONDITION.match(sentence) and not STATES_CONDITION.search(question)
    return not (is_condition or _NOT_MEANT.search(sentence))


def _read(
    sentence: str, question: str, *, whole: bool = False, is_marked: bool = False, is_complete: bool = True
) -> Number | None:
    """Return the number that a sentence states, or else the one that it commits to."""
    sentence = with_digits(_blank_notation(sentence, question), question)
    numbers = [span for span in iter_numbers(sentence) if not _is_denied(sentence, span)]
    every = signed(sentence, numbers, question)
    year = _only_year(every) if asks_year(question) else None
    if year and not whole:
        return year
    spans = merged_restatements(sentence, without_periods(sentence, every, question))
    if not spans:  # only dates: "2018" may be the answer, "revenue in 2018 was higher" is none
        return stated_number(sentence, every, whole=whole) if every else None
    number = stated_number(sentence, spans, whole=whole)
    if number or whole:
        return number
    return committed_number(sentence, spans, is_complete=is_complete, is_marked=is_marked, question=question)


def _is_denied(sentence: str, span: Span) -> bool:
    """Return whether a sentence says that the value is another one: "was not 5", "did not increase by 5"."""
    is_denied = _DENIES.search(sentence, max(0, span.start - 40), span.start)
    return bool(is_denied or _DENIED_AFTER.match(sentence, span.end))


def _only_year(spans: Sequence[Span]) -> Number | None:
    """Return the year of a sentence that names one and no other: "In 2018, when the gap was $3.1 million"."""
    years = [span.number for span in spans if is_year(span.number)]
    return years[0] if len({year.written for year in years}) == 1 else None


def _blank_notation(sentence: str, question: str) -> str:
    """Replace by spaces what makes a number look like a name: the ":1" of "1.86:1", the FY of FY2009."""
    sentence = _RATIO.sub(lambda match: " " * len(match.group()), sentence)
    if asks_when(question):
        sentence = _FISCAL_YEAR.sub(lambda match: " " * len(match.group()), sentence)
    return sentence


def _has_number(sentence: str, question: str) -> bool:
    """Return whether a sentence has a number that the token limit did not cut short: "1," may be 1,234."""
    sentence = with_digits(_blank_notation(sentence, question), question)
    spans = list(iter_numbers(sentence))
    if not spans:
        return False
    last = spans[-1]
    has_fraction = "." in sentence[last.start : last.end]
    return not (len(sentence) - last.end == 1 and sentence.endswith(",") and not has_fraction)


def direct_number(text: str, question: str = "") -> Number | None:
    """Return the number on the first line, for tasks without reasoning, or None.

    " 42\n" -> 42, "20 + 15 = 35" -> 35, "Net income was $5.2 million." -> 5.2 with multiplier 1e6. The result
    is None for ranges and lists ("between 5 and 10", "from 100 to 120", "5, 6"), sums ("100 + 20"),
    references ("see note 5") and numbered items ("1. 5").

    Args:
        text: the model's output.
        question: the question. It decides the sign of a decrease or a loss as in `final_answer`.
    """
    line = direct_text(text)
    if line is None or NO_ANSWER.search(line) or _NO_NUMBER_LINE.match(line):
        return None
    raw_line = answering_part(text).lstrip().split("\n", 1)[0]
    if UNFINISHED.search(raw_line[:MAX_STATEMENT]):
        return None
    sentence = first_sentence(line[:MAX_STATEMENT])
    if _DOUBT.search(sentence) or line.startswith("?", len(sentence)):
        return None
    return _read(sentence, question)


def direct_text(text: str) -> str | None:
    r"""Return the first non-empty line without markup and without a leading "Answer:", or None.

    "\nAnswer: **Rent**\n\nQuestion: ..." -> "Rent".
    """
    body = strip_decoration(answering_part(text))
    label = _LABEL.match(body)
    body = strip_decoration(body[label.end() :] if label else body)
    line = _NEXT_QUESTION.split(body.split("\n", 1)[0], maxsplit=1)[0]
    return strip_decoration(line) or None


def direct_items(text: str) -> list[str]:
    r"""Return the items of the bulleted list at the start of the output, or else its first line.

    "- a\n- b" -> ["a", "b"], "a, b" -> ["a, b"].
    """
    items = bulleted_items(answering_part(text).lstrip()[:MAX_STATEMENT])
    if len(items) > 1:
        return items
    line = direct_text(text)
    return [line] if line else []


def direct_yes_no(text: str) -> str | None:
    """Return "yes" or "no" if the first line starts with it and does not contradict it, else None.

    "Yes, it did." -> "yes"; "yes or no", "yes, it did not" and "No. 5" -> None.
    """
    line = direct_text(text) or ""
    match = _YES_NO.match(line)
    if not match:
        return None
    answer, remainder = match[1].lower(), line[match.end(1) :].lower()
    contradiction = r"\b(?:no|not)\b|n't" if answer == "yes" else r"\byes\b"
    return None if re.search(contradiction, remainder) else answer
