r"""Extract the answer from a model's output: a number, a line of text, a list, yes or no.

With a chain of thought, only a marked answer counts ("The answer is 5", "Answer: 5", "#### 5", "\boxed{5}",
最終回答：5), and only if it comes before the model starts another question. Other numbers in the reasoning
are never read as the answer. Tasks without reasoning are answered on the first line.

The label of an option is read by `choices.final_choice`, entities by `entities.parse_entities`.
"""

from __future__ import annotations

import re

from mergekit_finance.scoring.choices import NO_ANSWER
from mergekit_finance.scoring.markers import (
    MAX_STATEMENT,
    UNFINISHED,
    answering_part,
    bulleted_items,
    marked_statements,
)
from mergekit_finance.scoring.numbers import Number, Span, iter_numbers
from mergekit_finance.scoring.stated_number import only_number, signed, stated_number
from mergekit_finance.scoring.text import first_sentence, strip_decoration

# A line that does not answer a question for a number: a list item ("1. 5"), "n/a", "none".
_NO_NUMBER_LINE = re.compile(r"\(?[0-9]{1,2}[.)]\s+[-+$€£¥(△▲]{0,3}[0-9]|n/a\b|none\b", re.IGNORECASE)
# A number that is only a bound, a guess or a question: 5以上, 5%未満, 5かもしれない, 5でしょうか.
_DOUBT = re.compile(
    r"[0-9円%]\s?(?:以[上下]|未満|超)|かもしれ|とは限ら|でしょうか|だろうか|ですか", re.IGNORECASE
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
    r"(yes|no)(?:$|[,!;:(]|\.(?!\s?[0-9])|\s\(|\s(?:it|they|this|that|there|we|he|she)\b)", re.IGNORECASE
)


def final_number(text: str, question: str = "") -> Number | None:
    """Return the number of the last marked answer of a chain of thought, or None.

    "40 + 2 = 42. The answer is 42." -> 42, "最終回答：5.2%減少" -> -5.2 with `percent`, "5 + 2 = 7" -> None.

    Statements without a number ("the answer is correct") are skipped: a complete answer counts even if a
    later one was cut off by the token limit. The result is None if the last answer is "cannot be determined",
    a question or a list, or if the model retracts it; earlier answers are then not used.

    Args:
        text: the model's output.
        question: the question. It decides the sign of a decrease or a loss: "a decrease of 10%" is -10, but
            10 if the question is "By how much did costs decrease?".
    """
    for statement in reversed(marked_statements(text)):
        sentence = _ROUNDED.sub("", first_sentence(statement.text))
        if NO_ANSWER.search(sentence) or _DOUBT.search(sentence):
            return None
        if statement.denied or statement.numbered or len(statement.items) > 1:
            return None
        spans = list(iter_numbers(sentence))
        if spans and not _is_cut_short(sentence, spans[-1]):
            return stated_number(sentence, signed(sentence, spans, question), whole=statement.whole)
    return None


def _is_cut_short(sentence: str, last: Span) -> bool:
    """Return whether the output ends inside the last number: "1," may be 1,234 cut off by the token limit."""
    has_fraction = "." in sentence[last.start : last.end]
    return len(sentence) - last.end == 1 and sentence.endswith(",") and not has_fraction


def direct_number(text: str, question: str = "") -> Number | None:
    """Return the number on the first line, for tasks without reasoning, or None.

    " 42\n" -> 42, "20 + 15 = 35" -> 35, "Net income was $5.2 million." -> 5.2 with multiplier 1e6. The result
    is None for ranges and lists ("between 5 and 10", "from 100 to 120", "5, 6"), sums ("100 + 20"),
    references ("see note 5") and numbered items ("1. 5").

    Args:
        text: the model's output.
        question: the question. It decides the sign of a decrease or a loss as in `final_number`.
    """
    line = direct_text(text)
    if line is None or NO_ANSWER.search(line) or _NO_NUMBER_LINE.match(line):
        return None
    raw_line = answering_part(text).lstrip().split("\n", 1)[0]
    if UNFINISHED.search(raw_line[:MAX_STATEMENT]):
        return None
    sentence = first_sentence(line[:MAX_STATEMENT])
    spans = signed(sentence, list(iter_numbers(sentence)), question)
    if not spans or _DOUBT.search(sentence) or line.startswith("?", len(sentence)):
        return None
    return stated_number(sentence, spans, whole=False) or only_number(sentence, spans)


def direct_text(text: str) -> str | None:
    r"""Return the first non-empty line without markup and without a leading "Answer:", or None.

    "\nAnswer: **Rent**\n\nQuestion: ..." -> "Rent".
    """
    body = strip_decoration(answering_part(text))
    label = _LABEL.match(body)
    body = strip_decoration(body[label.end() :] if label else body)
    return strip_decoration(body.split("\n", 1)[0]) or None


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
