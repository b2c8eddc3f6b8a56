"""Taking the answer out of what a model wrote.

A chain of thought is full of numbers and letters; only a *marked* answer counts ("The answer is", "Answer:",
"####", \\boxed{}, 最終回答：, 答えは ...), and only before the model starts a question of its own. Text
without a marked answer has no answer: a number that happens to be right earns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mergekit_finance.tasks.choices import NO_ANSWER, final_choice
from mergekit_finance.tasks.cutting import cut_at_new_question
from mergekit_finance.tasks.numbers import DATE_UNITS, Number, Span, iter_numbers
from mergekit_finance.tasks.statements import (
    STATEMENT,
    Statement,
    answering_part,
    clean_markup,
    first_sentence,
    marked_statements,
    undress,
)

__all__ = [
    "Statement", "clean_markup", "cut_at_new_question", "direct_number", "direct_text", "final_choice",
    "final_number", "marked_statements",
]  # fmt: skip

_LEAD_IN = re.compile(
    r"(?:[\s*_\"'「『【~≈:=({\[]|approximately|approx\.?|about|around|roughly|nearly|exactly|simply"
    r"|therefore|thus|then|hence|equal to|,\s?[^,.0-9\n]{1,40},\s"
    r"|約|およそ|おおよそ|ほぼ|(?-i:[A-Z]{3}\s)|(?P<loss>an? (?:net |operating )?loss of\s)"
    r"|an? (?:(?:increase|decrease|change|total) of)?)*",
    re.IGNORECASE,
)
_LOSS_AFTER = re.compile(r"\s(?:net |operating )?loss\b|の(?:純|営業|経常)?(?:損失|赤字)", re.IGNORECASE)
_LINKED = re.compile(
    r"(?:\b(?:is|was|are|were|be|by|equals|equal to|gives|approximately|about|around)|[=≈:はが約])"
    r"[\s\"'「({]*$",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\s?(?:or|to|and|out of|または|もしくは|あるいは|から|か|[-~〜])\s?[-+$]?[0-9]", re.IGNORECASE
)
_TAIL = re.compile(
    r"[\s.,*_\"'」』】)}\]$。、]*(?:です|でした|である|だ|となります|となる|になります|になる|増|減|増加|減少)?"
    r"[\s.,*_\"'」』】)}\]$。、]*"
)
# What turns a number into an operand, even where no second one follows.
_OPERATION = re.compile(
    r"\s?(?:[+×÷]|[*/](?=\s?\S)|!|[a-z]\s?\^"
    r"|(?:plus|minus|divided by|multiplied by|squared|cubed|to the power)\b|(?:を|に)(?:足|引|掛|割|乗))",
    re.IGNORECASE,
)
# From here on a statement explains the number that it has given.
_EXPLAINS = re.compile(
    r"\b(?:because|since|as|which|where|rounded|compared|versus|vs|not|rather|from|given|based|calculated|using"
    r"|with|i\.?e|that is|up|down)\b|で[、,]|であり|です|となり|になり|なぜなら|理由",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<![,;*/+×÷-])(?<![,;*/+×÷-]\s)\([^()]*(?:\)|$)")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_BEFORE_YEAR = re.compile(
    r"(?:\b(?:in|for|during|of|from|to|since|by|and|between|through|until|over|than|fiscal|years?|end|ended|fy)"
    rf"|\b{_MONTH}\.?|\b{_MONTH}\.? [0-9]{{1,2}},)(?: the)?\s$",
    re.IGNORECASE,
)
_BEFORE_DAY = re.compile(rf"\b{_MONTH}\.?\s$", re.IGNORECASE)
_DURATION = re.compile(r"[\s-]?(?:years?|months?|quarters?|weeks?|days?|か月|ヶ月)\b", re.IGNORECASE)
# A sign that a result follows, and a second unknown after a first: x = 5, y = 6.
_RESULT = re.compile(r"=>|->|[≈≒→⇒]|(?<![<>!])=(?!=)")
_UNKNOWN = re.compile(r"[,;、](?:\s?and)?\s?[A-Za-z_][A-Za-z_ ]{0,30}$|\band\s[A-Za-z_][A-Za-z_ ]{0,30}$")


def final_number(text: str) -> Number | None:
    """The number of the last marked answer of a chain of thought, or None.

    Statements with no number in them ("the answer is correct") are passed over, so that a marker cut off by
    the token limit leaves an earlier complete answer standing; "cannot be determined" is final.
    """
    for statement in reversed(marked_statements(text)):
        sentence = first_sentence(statement.text)
        if NO_ANSWER.search(sentence):
            return None
        spans = list(iter_numbers(sentence))
        if spans and not _cut_short(sentence, spans[-1]):
            return _stated(sentence, spans, whole=statement.whole)
    return None


def direct_number(text: str) -> Number | None:
    """The number that a task without reasoning asked for: on the first line, as `direct_text` gives it.

    The line's own commitment: its result, the number that it starts with, one linked by a verb, or the only
    number there. "between 5 and 10", "from 100 to 120", "100 + 20" and "5, 6" commit to nothing.
    """
    line = direct_text(text)
    if line is None or NO_ANSWER.search(line):
        return None
    sentence = first_sentence(line[:STATEMENT])
    spans = list(iter_numbers(sentence))
    if not spans:
        return None
    stated = _stated(sentence, spans, whole=False)
    return _only(sentence, spans) if stated is None else stated


_LABEL = re.compile(
    r"(?:(?:final |the )?answer|a|最終回答|回答|解答|答え|答)\s?(?::|は、?|\s?is\b:?)\s*", re.IGNORECASE
)


def direct_text(text: str) -> str | None:
    """First non-empty line before any new question, without markup and a leading "Answer:", or None."""
    body = undress(answering_part(text))
    label = _LABEL.match(body)
    return undress(undress(body[label.end() :] if label else body).split("\n", 1)[0]) or None


def _cut_short(sentence: str, last: Span) -> bool:
    """Whether the output ended inside the number: "1," is 1,234 cut off by the token limit."""
    return len(sentence) - last.end == 1 and sentence.endswith(",")


def _stated(sentence: str, spans: Sequence[Span], *, whole: bool) -> Number | None:
    """The one number that a statement commits to, or None."""
    sentence = _without_asides(sentence, spans[0])
    spans = [span for span in spans if sentence[span.start : span.end].strip()]
    sides = _sides(sentence)
    if not sides:
        return None
    if len(sides) == 1:
        return _given(sentence, spans, 0, len(sentence), whole)
    right = _given(sentence, spans, sides[-1], len(sentence), whole)
    return right if right else _result_on_the_left(sentence, spans, sides[1], whole)


def _without_asides(sentence: str, first: Span) -> str:
    """Parentheses after the first number blanked out: the working in "7 (= 3 + 4)" is no second answer."""
    return sentence[: first.end] + _ASIDE.sub(lambda aside: " " * len(aside.group()), sentence[first.end :])


def _sides(sentence: str) -> list[int]:
    """Where the sides of equations start; [0] where there is none, [] where they are about two unknowns.

    An arrow from a lone number to another ("100 → 120") is a change and no result.
    """
    signs = [sign for sign in _RESULT.finditer(sentence) if sign.start()]
    if any(_UNKNOWN.search(sentence[: sign.start()]) for sign in signs[1:]):
        return []
    alone = re.fullmatch(r"[^-+*/×÷=^]*", sentence[: signs[0].start()]) if signs else None
    if alone and signs[0].group() in ("→", "->", "⇒", "=>") and re.search("[0-9]", alone.group()):
        return []
    return [0, *(sign.end() for sign in signs)]


def _result_on_the_left(sentence: str, spans: Sequence[Span], sign: int, whole: bool) -> Number | None:
    """35 of "35 = 20 + 15": a lone number before the first sign, where no number stands alone at the end."""
    end = next(match.start() for match in _RESULT.finditer(sentence) if match.end() == sign)
    left = [span for span in spans if span.start < end]
    return _given(sentence[:end], left, 0, end, whole) if len(left) == 1 and len(left) < len(spans) else None


def _given(sentence: str, spans: Sequence[Span], start: int, end: int, whole: bool) -> Number | None:
    """The number that one side of an equation, or a statement without any, comes to."""
    here = [span for span in spans if start <= span.start < end]
    if whole:
        return _alone(sentence, here, start)
    leading = _leading(sentence, here, start)
    return leading if leading or start else _linked(sentence, here)


def _alone(sentence: str, spans: Sequence[Span], start: int) -> Number | None:
    """After #### and inside \\boxed{}: the number and nothing else, for "#### Step 3" is a heading."""
    number = _leading(sentence, spans, start)
    return number if number and not re.search("[^\\W_]", sentence[spans[0].end :]) else None


def _leading(sentence: str, spans: Sequence[Span], start: int) -> Number | None:
    """The number at the front of the statement, unless it opens a range, a list or an expression."""
    if not spans or _RANGE.match(sentence, spans[0].end):
        return None
    if spans[0].number.unit in DATE_UNITS and len(spans) > 1:
        return None
    lead = _LEAD_IN.match(sentence, start)
    if spans[0].start > lead.end() or _is_contested(sentence, spans):
        return None
    number = spans[0].number
    is_loss = lead["loss"] or _LOSS_AFTER.match(sentence, spans[0].end)
    return replace(number, written=-abs(number.written)) if is_loss else number


def _is_contested(sentence: str, spans: Sequence[Span]) -> bool:
    """Whether another number, or an operation, stands beside the first one and does not explain it."""
    first = spans[0]
    if _OPERATION.match(sentence, first.end):
        return True
    explains = _EXPLAINS.search(sentence, first.end)
    end = explains.start() if explains else len(sentence)
    others = [span for span in spans[1:] if span.start < end]
    return any(not _is_date(sentence, span) and not _restates(first, span) for span in others)


def _is_date(sentence: str, span: Span) -> bool:
    """Whether a number says when and not how much: 2024年, in 2019, December 31, 12 months."""
    if span.number.unit in DATE_UNITS or _DURATION.match(sentence, span.end):
        return True
    before = sentence[max(0, span.start - 16) : span.start]
    digits = sentence[span.start : span.end]
    is_year = _YEAR.fullmatch(digits) and _BEFORE_YEAR.search(before)
    return bool(is_year or (re.fullmatch("[0-9]{1,2}", digits) and _BEFORE_DAY.search(before)))


def _restates(first: Span, other: Span) -> bool:
    """Whether two numbers are one: 0.125, or 12.5%; 5 million, that is 5,000,000."""
    a, b = (s.number.value / (100 if s.number.percent else 1) for s in (first, other))
    return first.number.percent != other.number.percent and abs(a - b) <= 0.005 * abs(a) or a == b


def _linked(sentence: str, spans: Sequence[Span]) -> Number | None:
    """The only number beside dates, when a verb or particle leads to it and the statement ends with it."""
    candidates = [span for span in spans if span.number.unit not in DATE_UNITS]
    if len(candidates) != 1:
        return None
    span = candidates[0]
    linked = _LINKED.search(sentence, max(0, span.start - 24), span.start)
    return span.number if linked and _TAIL.fullmatch(sentence, span.end) else None


def _only(sentence: str, spans: Sequence[Span]) -> Number | None:
    """The one number of a line, where nothing is done with it."""
    return spans[0].number if len(spans) == 1 and not _OPERATION.match(sentence, spans[0].end) else None
