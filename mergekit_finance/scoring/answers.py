"""Taking the answer out of what a model wrote.

A chain of thought is full of numbers and letters; only a *marked* answer counts ("The answer is", "Answer:",
"####", \\boxed{}, 最終回答：, 答えは ...), and only before the model starts a question of its own. Text
without a marked answer has no answer: a number that happens to be right earns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mergekit_finance.scoring.choices import NO_ANSWER, final_choice
from mergekit_finance.scoring.cutting import cut_at_new_question
from mergekit_finance.scoring.numbers import DATE_UNITS, Number, Span, iter_numbers
from mergekit_finance.scoring.statements import (
    STATEMENT,
    UNFINISHED,
    Statement,
    answering_part,
    bulleted,
    clean_markup,
    first_sentence,
    marked_statements,
    undress,
)

__all__ = [
    "Statement", "clean_markup", "cut_at_new_question", "direct_items", "direct_number", "direct_text",
    "direct_yes_no", "final_choice", "final_number", "marked_statements",
]  # fmt: skip

_LEAD_IN = re.compile(
    r"(?:[\s*_\"'「『【~≈:=({\[]|approximately|approx\.?|about|around|roughly|nearly|exactly|simply"
    r"|therefore|thus|then|hence|equal to|,\s?[^,.0-9\n]{1,40},\s"
    r"|just|only|(?:calculated|computed|estimated) (?:as|at|to be)"
    r"|約|およそ|おおよそ|ほぼ|(?-i:[A-Z]{3}\s)|an? (?:net |operating )?loss of\s"
    r"|(?:an? )?(?:increase|decrease|change|total|decline|drop|fall|reduction) of|an? )*",
    re.IGNORECASE,
)
# Words that make a number negative, before and after it, and those by which a question asks for its size.
_LOSS = (
    r"\bloss(?:es)? of\s(?:about |approximately |around )?$",
    r"\s(?:net |operating )?loss\b|の(?:純|営業|経常)?(?:損失|赤字)",
    r"\bloss(?:es)?\b|損失|赤字",
)
_FALL = (
    r"\b(?:decreased?|declined?|drop(?:ped)?|fall(?:en)?|fell|reduction|reduced|lower(?:ed)?|down)"
    r"(?: of| by)?\s(?:about |approximately |around )?$",
    r"\s(?:decrease|decline|drop|fall|reduction|lower|down)\b|\s?の?(?:減(?![価損])|低下|下落)",
    r"\b(?:decreas|declin|drop|fall|fell|reduc|lower)|減(?![価損])|低下|下落",
)
_DIRECTIONS = [tuple(re.compile(word, re.IGNORECASE) for word in words) for words in (_LOSS, _FALL)]
_RISES = re.compile(r"\b(?:increas|ris(?:e|en|ing)\b|rose\b|grow|grew)|増|上昇", re.IGNORECASE)
_LINKED = re.compile(
    r"(?:\b(?:is|was|are|were|be|by|equals|equal to|gives|approximately|about|around"
    r"|(?:income|revenue|sales|profit|loss|earnings|value|rate|ratio|margin|change|difference|increase|decrease"
    r"|decline|growth)s? of)|[=≈:はが約]"
    r"|(?:売上高?|(?:前年|前期|前年同期)比|利益|増加率|減少率|成長率|比率|割合|合計))"
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
    r"\s?(?:[+×÷]|[*/](?!(?<=/)(?:share|unit|year|month|day|ton|barrel|ounce|oz|kg|lb|hour)\b)(?=\s?\S)|!|[a-z]\s?\^"
    r"|(?:plus|minus|divided by|multiplied by|squared|cubed|to the power)\b|(?:を|に)(?:足|引|掛|割|乗))",
    re.IGNORECASE,
)
# From here on a statement explains the number that it has given.
_EXPLAINS = re.compile(
    r"\b(?:because|since|as|which|where|rounded|compared|versus|vs|not|rather|from|given|based|calculated|using"
    r"|with|i\.?e|that is|up|down)\b|で[、,]|であり|です|となり|になり|なぜなら|理由",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<![,;*/+×÷-])(?<![,;*/+×÷-]\s)\((?!\s?(?:or\b|または|あるいは))[^()]*(?:\)|$)")
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


def final_number(text: str, question: str = "") -> Number | None:
    """The number of the last marked answer of a chain of thought, or None.

    Statements with no number in them ("the answer is correct") are passed over, so that a marker cut off by
    the token limit leaves an earlier complete answer standing; "cannot be determined" is final, and so is an
    answer that the model takes back, asks or gives as a list.

    A number called a fall or a loss is negative (a decrease of 10%, 5.2%減少), except where `question` asks
    for the size of just that ("By how much did costs decrease?") and names no rise.
    """
    for statement in reversed(marked_statements(text)):
        sentence = _ROUNDED.sub("", first_sentence(statement.text))
        if NO_ANSWER.search(sentence) or _DOUBT.search(sentence) or _is_no_number(statement):
            return None
        spans = list(iter_numbers(sentence))
        if spans and not _cut_short(sentence, spans[-1]):
            return _stated(sentence, _signed(sentence, spans, question), whole=statement.whole)
    return None


def _is_no_number(statement: Statement) -> bool:
    return statement.denied or statement.numbered or len(statement.items) > 1


def direct_number(text: str, question: str = "") -> Number | None:
    """The number that a task without reasoning asked for: on the first line, as `direct_text` gives it.

    The line's own commitment: its result, the number that it starts with, one linked by a verb, or the only
    number there. "between 5 and 10", "from 100 to 120", "100 + 20" and "5, 6" commit to nothing, nor does the
    number of a page or a list. Falls and losses as in `final_number`.
    """
    line = direct_text(text)
    if line is None or NO_ANSWER.search(line) or _NO_ANSWER_LINE.match(line) or _ends_in_operator(text):
        return None
    sentence = first_sentence(line[:STATEMENT])
    spans = _signed(sentence, list(iter_numbers(sentence)), question)
    if not spans or _DOUBT.search(sentence) or line.startswith("?", len(sentence)):
        return None
    stated = _stated(sentence, spans, whole=False)
    return _only(sentence, spans) if stated is None else stated


def _ends_in_operator(text: str) -> bool:
    lines = answering_part(text).lstrip().split("\n", 1)
    return bool(UNFINISHED.search(lines[0][:STATEMENT]))


def _signed(sentence: str, spans: Sequence[Span], question: str) -> list[Span]:
    """Numbers that a word beside them calls a fall or a loss made negative, by the rule of `final_number`."""
    return [
        replace(span, number=replace(span.number, written=-abs(span.number.written)))
        if any(_has_direction(sentence, span, words, question) for words in _DIRECTIONS)
        else span
        for span in spans
    ]


def _has_direction(sentence: str, span: Span, words: Sequence[re.Pattern[str]], question: str) -> bool:
    before, after, asked = words
    if asked.search(question) and not _RISES.search(question):
        return False
    head = max(0, span.start - 40)
    return bool(before.search(sentence, head, span.start) or after.match(sentence, span.end))


# A list's label, a question, or words that say that there is no number.
_NO_ANSWER_LINE = re.compile(r"\(?[0-9]{1,2}[.)]\s+[-+$€£¥(△▲]{0,3}[0-9]|n/a\b|none\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"[0-9円%]\s?(?:以[上下]|未満|超)|かもしれ|とは限ら|でしょうか|だろうか|ですか", re.IGNORECASE
)
_ROUNDED = re.compile(
    r"\(?(?:rounded )?to (?:[0-9]{1,2}|one|two|three|four) "
    r"(?:decimals?|decimal places?|significant figures)\)?:?",
    re.IGNORECASE,
)
# Before a number that names something, or bounds the answer.
_NAMES = re.compile(
    r"(?:\b(?:note|page|row|no\.?|line|table|item|column|section|figure|step|case|than|over|under|above|below"
    r"|least|most|plus|minus|up to|half of|out of)|(?:[×÷*]|注|頁|表|行|図))\s?[$€£¥]?$",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:(?:final |the )?answer|a|最終回答|回答|解答|答え|答)\s?(?::|は、?|\s?is\b:?)\s*", re.IGNORECASE
)


def direct_text(text: str) -> str | None:
    """First non-empty line before any new question, without markup and a leading "Answer:", or None."""
    body = undress(answering_part(text))
    label = _LABEL.match(body)
    return undress(undress(body[label.end() :] if label else body).split("\n", 1)[0]) or None


def direct_items(text: str) -> list[str]:
    """The first line as `direct_text` gives it, or the items of the bulleted list that begins there."""
    items = bulleted(answering_part(text).lstrip()[:STATEMENT])
    return items if len(items) > 1 else [line] if (line := direct_text(text)) else []


# After "yes" an end, or a clause that says it again; "No revenue was lost" and "No. 5" are no answer.
_YES_NO = re.compile(
    r"(yes|no)(?:$|[,!;:(]|\.(?!\s?[0-9])|\s\(|\s(?:it|they|this|that|there|we|he|she)\b)", re.IGNORECASE
)


def direct_yes_no(text: str) -> str | None:
    """ "yes" or "no" where the first line opens with it as its answer and does not contradict it, or None."""
    line = direct_text(text) or ""
    match = _YES_NO.match(line)
    if not match:
        return None
    said, rest = match[1].lower(), line[match.end(1) :].lower()
    against = r"\b(?:no|not)\b|n't" if said == "yes" else r"\byes\b"
    return None if re.search(against, rest) else said


def _cut_short(sentence: str, last: Span) -> bool:
    """Whether the output ended inside the number: "1," is 1,234 cut off by the token limit."""
    fraction = "." in sentence[last.start : last.end]
    return len(sentence) - last.end == 1 and sentence.endswith(",") and not fraction


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
    return spans[0].number


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
    if len(spans) > 1 or _OPERATION.match(sentence, spans[0].end):
        return None
    return None if _NAMES.search(sentence, max(0, spans[0].start - 24), spans[0].start) else spans[0].number
