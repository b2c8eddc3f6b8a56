"""Find the number that a statement gives as its answer: "about 42 (= 40 + 2)" -> 42; none in "5 to 10".

`stated_number` returns the number of a statement; `signed` makes decreases and losses negative.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mergekit_finance.scoring.numbers import DATE_UNITS, YEAR, Number, Span

# Words that may come before the number of an answer: "approximately ", "therefore, ", "EUR ", "a decrease
# of ", "約", ", in millions, ".
_LEAD_IN = re.compile(
    r"(?:[\s*_\"'「『【~≈:=({\[]|approximately|approx\.?|about|around|roughly|nearly|exactly|simply"
    r"|therefore|thus|then|hence|equal to|,\s?[^,.0-9\n]{1,40},\s"
    r"|just|only|(?:calculated|computed|estimated) (?:as|at|to be)"
    r"|約|およそ|おおよそ|ほぼ|(?-i:[A-Z]{3}\s)|an? (?:net |operating )?loss of\s"
    r"|(?:an? )?(?:increase|decrease|change|total|decline|drop|fall|reduction) of|an? "
    r"|(?:up|down)\s(?:by\s)?)*",
    re.IGNORECASE,
)

# Between a word for a direction and its number: "roughly ", "only about ", "~", "$".
_HEDGE = (
    r"(?:(?:about|approximately|approx\.?|around|roughly|nearly|almost|just|only|exactly|some|circa|[~≈])\s?){0,2}"
    r"[$€£]?$"
)
# Between a subject and its verb: words, and no numbers but years ("in costs from 2019 to 2020"). After a word
# for a fall they must not start another clause, as in "the decrease means that revenue was 5".
_BETWEEN = r"(?:[^.;:,0-9]|\b(?:19|20)[0-9]{2}\b)"
_SAME_CLAUSE = (
    r"(?:(?!\b(?:and|but|while|whereas|which|that|so|means?|increas|ris|rose|grew)"
    rf"|\bto\b(?! (?:19|20)[0-9]{{2}}\b)){_BETWEEN})"
)
_IS = r"\b(?:is|was|are|were|would be|will be|equals|totall?ed|amount(?:s|ed) to|c[ao]mes? to)\s"


class _Direction(NamedTuple):
    """Words for a direction or a loss, and where they stand.

    Attributes:
        before: directly before the number: "a decrease of 5%", "fell by about 5%".
        subject: the subject of the number: "The decrease in 2019 was 5%", or its verb: "fell in 2019 by 5%".
        after: directly after the number: "5% lower", 5%減.
        in_question: in a question that asks for the amount: "By how much did costs decrease?".
    """

    before: re.Pattern[str]
    subject: re.Pattern[str]
    after: re.Pattern[str]
    in_question: re.Pattern[str]

    def describes(self, sentence: str, span: Span) -> bool:
        """Return whether a number of a sentence has such a word."""
        start = max(0, span.start - 120)
        if self.before.search(sentence, start, span.start) or self.after.match(sentence, span.end):
            return True
        subject = self.subject.search(sentence, start, span.start)
        return bool(subject and not _BESIDE.search(sentence, max(0, subject.start() - 60), subject.start()))


def _direction(*patterns: str) -> _Direction:
    return _Direction(*(re.compile(pattern, re.IGNORECASE) for pattern in patterns))


# The decrease of "after the decrease", "after a 5% decrease" and "with the decrease" is not what a number is.
_BESIDE = re.compile(
    r"\b(?:after|before|with|without|of|for|from|to|by|despite|following|given|if|although)\s"
    r"(?:(?:the|an?|this|that|such|its|their)\s)?(?:[0-9.,]{1,12}\s?%\s)?(?:[a-z]{1,12}\s)?$",
    re.IGNORECASE,
)
_LOSS = _direction(
    rf"\bloss(?:es)?(?: of|:)\s{_HEDGE}",
    r"\b(?:net|operating|pre-?tax|comprehensive) loss(?:es)?\b(?! carryforwards?)"
    rf"{_BETWEEN}{{0,70}}(?:{_IS}|\bof\s){_HEDGE}",
    r"\s(?:net |operating )?loss\b|の(?:純|営業|経常)?(?:損失|赤字)",
    r"(?<!\()(?<!\bor )(?<!/)\bloss(?:es)?\b(?! carryforwards?)|損失|赤字",
)
_FALL_NOUN = r"\b(?:decrease|decline|drop|fall|reduction|contraction)\b"
_FALL = _direction(
    r"\b(?:decreased?|declined?|drop(?:ped)?|fall(?:en)?|fell|reduction|reduced|lower(?:ed)?|down|shr[aiu]nk"
    rf"|contracted|contraction)(?: of| by)?\s{_HEDGE}|{_FALL_NOUN}\s?[:=]\s?{_HEDGE}",
    rf"{_FALL_NOUN}{_SAME_CLAUSE}{{0,60}}{_IS}{_HEDGE}"
    rf"|\b(?:decreased|declined|dropped|fell|shrank|contracted)\s{_SAME_CLAUSE}{{0,60}}\bby\s{_HEDGE}",
    # 5%減, but not 減価 and 減損 (depreciation, impairment).
    r"\s(?:decrease|decline|drop|fall|reduction|lower|down)\b|\s?の?(?:減(?![価損])|低下|下落)"
    r"|\s?\((?:an? )?(?:decrease|decline|drop|fall|reduction)\)",
    r"\b(?:decreas|declin|drop|fall|fell|reduc|lower)|減(?![価損])|低下|下落",
)
_RISE_NOUN = r"\b(?:increase|rise|growth)\b"
_RISE = _direction(
    rf"\b(?:increased|rose|grew|risen|grown|increase|rise|growth|up)(?: of| by)?\s{_HEDGE}"
    rf"|{_RISE_NOUN}\s?[:=]\s?{_HEDGE}",
    rf"{_RISE_NOUN}{_BETWEEN}{{0,60}}{_IS}{_HEDGE}",
    r"\s?\((?:an? )?(?:increase|rise)\)",
    "(?!)",
)
# A question that leaves the direction open: it mentions a rise, or asks for a change ("the change if costs
# were 10% lower").
_EITHER_WAY = re.compile(
    r"\b(?:increas|ris(?:e|en|ing)\b|rose\b|grow|grew|change\b)|増|上昇|変化", re.IGNORECASE
)

# A verb or noun that links the only number of a statement to its subject: "was " of "Net income was 5",
# "margin of ", "は" of 売上は5億円, "利益".
_LINKED = re.compile(
    r"(?:\b(?:is|was|are|were|be|by|equals|equal to|gives|approximately|about|around"
    r"|(?:income|revenue|sales|profit|loss|earnings|value|rate|ratio|margin|change|difference|increase|decrease"
    r"|decline|growth)s? of)|[=≈:はが約]"
    r"|(?:売上高?|(?:前年|前期|前年同期)比|利益|増加率|減少率|成長率|比率|割合|合計))"
    r"[\s\"'「({]*$",
    re.IGNORECASE,
)
# Text that may follow that number up to the end of the statement: ".", "です", "」でした。", "増加".
_TAIL = re.compile(
    r"[\s.,*_\"'」』】)}\]$。、]*(?:です|でした|である|だ|となります|となる|になります|になる|増|減|増加|減少)?"
    r"[\s.,*_\"'」』】)}\]$。、]*"
)
# The start of a range or an alternative after a first number: "-10" of "5-10", " or 6", " to 120", から10.
_RANGE = re.compile(
    r"\s?(?:or|to|and|out of|または|もしくは|あるいは|から|か|[-~〜])\s?[-+$]?[0-9]", re.IGNORECASE
)
# An operator after a number, which makes it an operand even without a second number: " + x", "/y", "!",
# " squared", を足す. Not the "/" of "5/share".
OPERATION = re.compile(
    r"\s?(?:[+×÷]|[*/](?!(?<=/)(?:share|unit|year|month|day|ton|barrel|ounce|oz|kg|lb|hour)\b)(?=\s?\S)|!|[a-z]\s?\^"
    r"|(?:plus|minus|divided by|multiplied by|squared|cubed|to the power"
    r"|(?:less|more|fewer) than(?=\s?[$€£]?[0-9]))\b|(?:を|に)(?:足|引|掛|割|乗))",
    re.IGNORECASE,
)
# Words after which a statement explains its number: "5, because 10 - 5", "42, up from 40", 5で、.
_EXPLAINS = re.compile(
    r"\b(?:because|since|as|which|where|rounded|compared|versus|vs|not|rather|from|given|based|calculated|using"
    r"|with|i\.?e|that is|up|down)\b|で[、,]|であり|です|となり|になり|なぜなら|理由",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<![,;*/+×÷-])(?<![,;*/+×÷-]\s)\((?!\s?(?:or\b|または|あるいは))[^()]*(?:\)|$)")
# A month's name: "Mar", "March", "Sept".
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
# Text before the number of a year: "in ", "fiscal year ", "since the ", "December 31, ".
_BEFORE_YEAR = re.compile(
    r"(?:\b(?:in|for|during|of|from|to|since|by|and|between|through|until|over|than|fiscal|years?|end|ended|fy)"
    rf"|\b{_MONTH}\.?|\b{_MONTH}\.? [0-9]{{1,2}},)(?: the)?\s$",
    re.IGNORECASE,
)
_BEFORE_DAY = re.compile(rf"\b{_MONTH}\.?\s$", re.IGNORECASE)
_DURATION = re.compile(r"[\s-]?(?:years?|months?|quarters?|weeks?|days?|か月|ヶ月)\b", re.IGNORECASE)
# A sign after which a result follows, and a second unknown after a first: the ", y" of "x = 5, y = 6".
RESULT = re.compile(r"=>|->|[≈≒→⇒]|(?<![<>!])=(?!=)")
_UNKNOWN = re.compile(
    r"[,;、](?:\s?and)?\s?(?!(?:so|thus|hence|therefore|then|giving)\b)[A-Za-z_][A-Za-z_ ]{0,30}$"
    r"|\band\s[A-Za-z_][A-Za-z_ ]{0,30}$"
)
# Text before a number that is only a reference or a bound: "note 5", "table 2", "more than 5", "up to $5",
# 表3.
NAMES = re.compile(
    r"(?:\b(?:note|page|row|no\.?|line|table|item|column|section|figure|step|case|than|over|under|above|below"
    r"|least|most|plus|minus|up to|half of|out of)|(?:[×÷*]|注|頁|表|行|図))\s?[$€£¥]?$",
    re.IGNORECASE,
)


def signed(sentence: str, spans: Sequence[Span], question: str) -> list[Span]:
    """Return the numbers of a sentence; those next to a word for a decrease or a loss become negative.

    "a decrease of 10%" -> -10, "5.2%減少" -> -5.2. A number keeps its sign if the question asks for the size
    of the decrease or loss ("By how much did costs decrease?") and mentions no increase and no change.
    """
    return [_with_sign(sentence, span, question) for span in spans]


def _with_sign(sentence: str, span: Span, question: str) -> Span:
    negative = replace(span, number=replace(span.number, written=-abs(span.number.written)))
    for direction in (_LOSS, _FALL):
        asks_for_size = direction.in_question.search(question) and not _EITHER_WAY.search(question)
        if asks_for_size and direction is _FALL and _RISE.describes(sentence, span):
            return negative  # the opposite of what is asked
        if direction.describes(sentence, span):
            if asks_for_size:
                return replace(span, number=replace(span.number, sign_in_words=True))
            return negative
    return span


def stated_number(sentence: str, spans: Sequence[Span], *, whole: bool) -> Number | None:
    """Return the number that a statement gives as its answer, or None.

    It is the result of an equation ("20 + 15 = 35" and "35 = 20 + 15" -> 35), the number at the start of the
    statement ("about 42, up from 40" -> 42), or the only number that is not part of a date, if a verb or
    particle links it to its subject ("2024年の売上は42億円" -> 42). It is None for ranges, lists, expressions
    and equations with two unknowns.

    Args:
        sentence: one sentence of normalized text.
        spans: its numbers, at least one.
        whole: accept only a number without other words, as after "####" and in "\\boxed{}": "#### Step 3" is
            a heading.
    """
    # The calculation in "7 (= 3 + 4)" is not a second answer: parentheses after the first number are blanked.
    end = spans[0].end
    sentence = sentence[:end] + _ASIDE.sub(lambda aside: " " * len(aside.group()), sentence[end:])
    spans = [span for span in spans if sentence[span.start : span.end].strip()]
    signs = [sign for sign in RESULT.finditer(sentence) if sign.start()]
    if not signs:
        return _number_of_side(sentence, spans, 0, whole)
    if has_two_unknowns(sentence, signs) or is_change(sentence, signs[0]):
        return None
    right = _number_of_side(sentence, spans, signs[-1].end(), whole)
    if right:
        return right
    before_equals = [span for span in spans if span.start < signs[0].start()]
    if len(before_equals) != 1 or len(before_equals) == len(spans):
        return None
    return _number_of_side(sentence[: signs[0].start()], before_equals, 0, whole)


def has_two_unknowns(sentence: str, signs: Sequence[re.Match[str]]) -> bool:
    """Return whether the equations have two unknowns: x = 5, y = 6."""
    return any(_UNKNOWN.search(sentence[: sign.start()]) for sign in signs[1:])


def is_change(sentence: str, sign: re.Match[str]) -> bool:
    """Return whether the first sign is an arrow from one number to another: "100 → 120" has no result."""
    before_arrow = re.fullmatch(r"[^-+*/×÷=^]*", sentence[: sign.start()])
    return bool(
        before_arrow and sign.group() in ("→", "->", "⇒", "=>") and re.search("[0-9]", before_arrow.group())
    )


def _number_of_side(sentence: str, spans: Sequence[Span], start: int, whole: bool) -> Number | None:
    """Return the number of a statement without equation (`start` is 0), or of an equation's right side."""
    spans = [span for span in spans if span.start >= start]
    leading = _leading_number(sentence, spans, start)
    if whole:
        return leading if leading and not re.search("[^\\W_]", sentence[spans[0].end :]) else None
    return leading if leading or start else _linked_number(sentence, spans)


def _leading_number(sentence: str, spans: Sequence[Span], start: int) -> Number | None:
    """Return the number at the start of a statement, unless it starts a range, a list or an expression."""
    if not spans or _RANGE.match(sentence, spans[0].end):
        return None
    if spans[0].number.unit in DATE_UNITS and len(spans) > 1:
        return None
    lead_in = _LEAD_IN.match(sentence, start)
    if spans[0].start > (lead_in.end() if lead_in else start) or _is_contested(sentence, spans):
        return None
    return spans[0].number


def _is_contested(sentence: str, spans: Sequence[Span]) -> bool:
    """Return whether the first number is part of an operation, or another number could be the answer."""
    first = spans[0]
    if OPERATION.match(sentence, first.end):
        return True
    explanation = _EXPLAINS.search(sentence, first.end)
    end = explanation.start() if explanation else len(sentence)
    others = [span for span in spans[1:] if span.start < end]
    return any(not _is_date(sentence, span) and not _restates(first, span) for span in others)


def _is_date(sentence: str, span: Span) -> bool:
    """Return whether a number is a date or a duration: 2024年, in 2019, December 31, 12 months."""
    if span.number.unit in DATE_UNITS or _DURATION.match(sentence, span.end):
        return True
    before = sentence[max(0, span.start - 16) : span.start]
    digits = sentence[span.start : span.end]
    is_year = YEAR.fullmatch(digits) and _BEFORE_YEAR.search(before)
    return bool(is_year or (re.fullmatch("[0-9]{1,2}", digits) and _BEFORE_DAY.search(before)))


def _restates(first: Span, other: Span) -> bool:
    """Return whether two numbers are the same: 0.125 and 12.5%; 5 million and 5,000,000."""
    a, b = (s.number.value / (100 if s.number.percent else 1) for s in (first, other))
    is_percentage = first.number.percent != other.number.percent and abs(a - b) <= 0.005 * abs(a)
    return is_percentage or a == b


def _linked_number(sentence: str, spans: Sequence[Span]) -> Number | None:
    """Return the only number that is not a date, if a verb or particle links it and it ends the statement."""
    candidates = [span for span in spans if span.number.unit not in DATE_UNITS]
    if len(candidates) != 1:
        return None
    span = candidates[0]
    is_linked = _LINKED.search(sentence, max(0, span.start - 24), span.start)
    return span.number if is_linked and _TAIL.fullmatch(sentence, span.end) else None
