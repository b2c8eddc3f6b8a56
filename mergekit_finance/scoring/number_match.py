"""Decide whether a number is the gold number: sign, tolerance, percent against fraction, scale, years.

within 0.15 % of the gold, or equal to it at the gold's last digit     3.975 or 3.9704 for 3.97
x % for a gold of x / 100, and the reverse, where percent is written   21.45% for 0.2145
a scale against the unit that the question states                      $5.21 million for 5210 "in thousands"
a year exactly                                                         2018 is wrong for 2017
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from mergekit_finance.scoring.numbers import CURRENCIES, Number, asks_percent, has_percent_sign, iter_numbers
from mergekit_finance.scoring.periods import NAMED_BY_NUMBER, asks_year
from mergekit_finance.scoring.text import normalize

TOLERANCE = 0.0015  # relative; that of DocMath-Eval's repository
_ROUNDING = 1e-9  # allows for binary rounding at the edge of a tolerance
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_ABBREVIATIONS = {"mm": 1e6, "mn": 1e6, "bn": 1e9, "m": 1e6, "b": 1e9, "k": 1e3, "000": 1e3, "000s": 1e3}
# The unit of a question or table: "in millions", "(in thousands of dollars)", "in $ billions", "(Millions)",
# "expressed in US$ thousands", "(in $000s)".
_UNIT = re.compile(
    r"\b(?:in|as)\s(?:(?:the )?nearest\s)?"
    r"(?:[a-z]{0,3}[$€£¥]|(?:us |u\.s\. )?dollars?|usd|eur(?:os?)?|gbp|rmb|units? of)?"
    r"\s?\(?(hundred|thousand|million|billion|trillion)s?\b"
    r"|\(\s?[a-z]{0,3}[$€£¥]?\s?(?:(?:us )?dollars? )?(?:in )?(thousand|million|billion|trillion)s?\b"
    r"[^()\n]{0,40}\)"
    r"|\b(?:in|as)\s(?:us)?[$€£]\s?(mm|mn|bn|m|b|k|000s)\b|\([$€£]\s?(mm|mn|bn|m|b|k|000s)\)",
    re.IGNORECASE,
)
# A cell of a table's heading that ends in a unit: "€m", "US$'000", "RMB'Million", "$ million".
_UNIT_CELL = re.compile(
    r"(?:^|\|)[^|\n0-9]{0,40}?(?:[$€£¥]|\b(?:rmb|usd|eur|gbp|hkd|chf|cny|jpy))\s?['’‘`]?\s?"
    r"(000s?|mm|mn|bn|m|k|thousand|million|billion)s?[ \t]?(?=\||$)",
    re.IGNORECASE | re.MULTILINE,
)
_PERCENT = re.compile(r"[%％]|\bper ?cent|パーセント", re.IGNORECASE)
_MAX_PERCENT = 1000  # a larger gold is no percentage, unless the question writes percent
_MAX_RATIO = 10  # a larger gold of a ratio may be in percent
_YEAR_RANGE = (1900, 2100)
_YEAR = re.compile(r"(?<![0-9.,])(?:19|20)[0-9]{2}(?![0-9]|[.,][0-9])")
# What a question is about: a rate; money, a duration or a count; a duration or a number of times; a decimal.
_RATE = re.compile(
    r"\b(?:rates?|returns?|growth|margins?|yields?|ratios?|portion|proportion|fraction"
    r"|share of|percent\w*)\b|%",
    re.IGNORECASE,
)
_TIMES = r"(?:calendar |trading |business )?(?:years|months|weeks|days|hours|times|turns)"
_COUNTED = re.compile(
    rf"\bin {_TIMES}\b{NAMED_BY_NUMBER}|\bhow many {_TIMES}\b"
    r"|\bcost of (?:equity|capital)\b(?! (?:issu|rais|expend))|\bwacc\b",
    re.IGNORECASE,
)
_COUNT = re.compile(r"\bhow many\b|\bnumber of\b", re.IGNORECASE)
_SCALE_WORD = re.compile(r"\b(?:thousand|million|billion|trillion)s?\b|\b000s\b", re.IGNORECASE)
_QUANTITY = re.compile(
    rf"\bin {_TIMES}\b{NAMED_BY_NUMBER}|\bhow many\b|\bhow much (?:money|cash)\b"
    r"|\bin (?:us |u\.s\. |canadian )?(?:dollars|euros?|yen|pounds|usd|eur|rupees)\b",
    re.IGNORECASE,
)
# "the ratio of current assets to current liabilities", which is no amount, and 1.37 or 137% but not 1.37%.
_RATIO = re.compile(r"\bratio of\s[^?]{1,100}\sto\s", re.IGNORECASE)
# Any ratio, "the current ratio", which may be in percent: 1.84 is also 184%.
_NAMES_RATIO = re.compile(r"\bratio\b", re.IGNORECASE)
# Money without a scale: "in dollars", but not "in millions of dollars" and "in dollars (thousands)".
_WHOLE_MONEY = re.compile(
    r"\bin (?:us |u\.s\. |canadian )?(?:dollars|euros?|pounds|usd|eur)\b"
    r"(?!\s?\(?(?:in )?(?:thousand|million|billion))",
    re.IGNORECASE,
)
_BASIS_POINTS = re.compile(r"\b(?:basis points|bps)\b", re.IGNORECASE)
_DECIMAL = re.compile(
    r"\b(?:as|in) (?:a )?decimal\b(?! places?)|\bdecimal (?:number|fraction|form|value|notation)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Asked:
    """What the question says about its answer.

    Attributes:
        percent: whether it asks for a percentage.
        writes_percent: whether it has a percent sign or word at all: "rates of 1.00% and 0.63%".
        year: whether it asks for a year, which is compared exactly.
        unit: the scale in which the answer is asked, 1e6 for "in millions"; None if it is not stated.
        table_unit: the scale of the document's tables, if all state the same.
        amount_unit: the scale of the question's amounts: 1e6 for "if revenue was $640 million instead".
        rate: whether it is about a rate, return, margin or the like, which may be written as a percentage.
        quantity: whether it asks for money, a duration or a count, which no percentage can be.
        counted: whether it asks for a duration, a number of times or a cost of capital, which have no
            scale such as "million".
        literal: whether it asks for a count and nothing states a scale: "4,221 thousand" is then 4,221,000.
        ratio: whether it asks for the ratio of one value to another.
        names_ratio: whether it is about a ratio of any kind: "the current ratio".
        basis_points: whether it asks for basis points, of which 100 are one percent.
        decimal: whether it asks for a decimal number, so that a gold of at most 1 is a fraction.
        years: the years that it names: an answer "2017" may only repeat one of them.
    """

    percent: bool = False
    writes_percent: bool = False
    year: bool = False
    unit: float | None = None
    table_unit: float | None = None
    amount_unit: float | None = None
    rate: bool = False
    quantity: bool = False
    counted: bool = False
    literal: bool = False
    ratio: bool = False
    names_ratio: bool = False
    basis_points: bool = False
    decimal: bool = False
    years: frozenset[int] = frozenset()


NOTHING_ASKED = Asked()


def asked(question: str, document: str = "", percent: bool = False) -> Asked:
    """Read percent and unit from a question, and the unit of the tables from the document.

    Args:
        question: the question.
        document: text and tables that it is about.
        percent: whether the dataset says that the answer is a percentage.
    """
    in_question, in_document = _units(question), _units(document) + _units(document, _UNIT_CELL)
    whole_money = [1.0] if _WHOLE_MONEY.search(question) and not in_document else []
    return Asked(
        percent or asks_percent(question),
        percent or bool(_PERCENT.search(question)),
        asks_year(question),
        next(iter(in_question[-1:] or whole_money), None),
        in_document[0] if len(set(in_document)) == 1 else None,
        _unit_of_amounts(question),
        rate=bool(_RATE.search(question)),
        quantity=bool(_QUANTITY.search(question)) and not asks_percent(question),
        counted=bool(_COUNTED.search(question)),
        literal=bool(_COUNT.search(question)) and not _SCALE_WORD.search(f"{question}\n{document}"),
        ratio=bool(_RATIO.search(question)),
        names_ratio=bool(_NAMES_RATIO.search(question)) and not asks_percent(question),
        basis_points=bool(_BASIS_POINTS.search(question)),
        decimal=bool(_DECIMAL.search(question)),
        years=frozenset(map(int, _YEAR.findall(question))),
    )


def _unit_of_amounts(question: str) -> float | None:
    """Return the scale of the question's amounts, 1e6 for "$640 million"; None for none or several."""
    numbers = [span.number for span in iter_numbers(normalize(question))]
    scales = {number.multiplier for number in numbers if number.scaled or number.unit in CURRENCIES}
    return scales.pop() if len(scales) == 1 and scales != {1.0} else None


def _units(text: str, pattern: re.Pattern[str] = _UNIT) -> list[float]:
    """Return the scales that a text states, in its order."""
    names = (next(filter(None, match.groups())).lower() for match in pattern.finditer(text))
    return [_SCALES.get(name) or _ABBREVIATIONS[name] for name in names]


def number_matches(pred: Number, gold: float, asked: Asked, *, is_percent_elsewhere: bool = False) -> bool:
    """Return whether a number is the gold number.

    Args:
        pred: the answer's number.
        gold: the gold number, in the unit that the question asks for.
        asked: what the question says.
        is_percent_elsewhere: whether the output writes the same number with a percent sign.
    """
    gold = float(gold)
    if asked.percent and (pred.scaled or pred.unit in CURRENCIES):
        return False
    if asked.unit and pred.percent and not asked.percent:
        return False
    if asked.quantity and pred.percent:
        return False
    if (asked.counted or asked.ratio) and (pred.scaled or pred.unit in CURRENCIES):
        return False
    if pred.percent and asked.amount_unit and not (asked.writes_percent or asked.rate or asked.names_ratio):
        return False
    if _is_year(gold) and not asked.unit and (asked.year or _may_be_year(pred)):
        return pred.value == gold
    if _may_be_year(pred) and pred.written in asked.years and pred.written != gold:
        return False
    if pred.sign_in_words and pred.written * gold < 0:
        pred = replace(pred, written=-pred.written)
    percent = is_percent_elsewhere or pred.percent
    return any(_is_close(reading, gold) for reading in _readings(pred, gold, asked, percent))


def _may_be_year(pred: Number) -> bool:
    """Return whether a number is written as years are: without decimals, unit, scale and percent sign."""
    return pred.step >= 1 and not (pred.percent or pred.unit or pred.scaled)


def _is_year(gold: float) -> bool:
    return gold.is_integer() and _YEAR_RANGE[0] <= gold < _YEAR_RANGE[1]


class _Reading(NamedTuple):
    """What a written number may mean in the gold's unit."""

    value: float
    step: float  # place value of its last digit
    digits: int  # significant digits that the gold needs for a comparison at its last digit


def _readings(pred: Number, gold: float, asked: Asked, percent: bool) -> list[_Reading]:
    """Return what the number may mean. A gold of at most 1 may be a fraction, a larger one a percentage."""
    is_fraction, is_plain = abs(gold) <= 1, not (pred.scaled or pred.unit)
    factors: list[tuple[float, int]] = []
    is_decimal = asked.decimal and is_fraction
    if pred.unit == "bps" and not asked.basis_points:
        factor = 0.0001 if is_fraction else 0.01
        return [_Reading(pred.written * factor, pred.step * factor, 3)]
    if asked.ratio and pred.percent and not asked.writes_percent and abs(gold) <= _MAX_RATIO:
        return [_Reading(pred.written * 0.01, pred.step * 0.01, 3)]
    if not pred.percent or (asked.writes_percent and not is_decimal) or 1 < abs(gold) <= _MAX_PERCENT:
        factors += [(scale, 2) for scale in _scales(pred, asked)]
    if asked.names_ratio and pred.percent and abs(pred.written) >= 100 and abs(gold) <= _MAX_RATIO:
        factors.append((0.01, 3))
    if is_plain and is_fraction and (percent or asked.percent):
        factors.append((0.01, 3))
    in_percent = percent or asked.percent or (asked.writes_percent and abs(gold) <= 100)
    if is_plain and in_percent and not (is_fraction or pred.percent):
        factors.append((100.0, 3))
    return [_Reading(pred.written * factor, pred.step * factor, digits) for factor, digits in factors]


def _scales(pred: Number, asked: Asked) -> set[float]:
    """Return what the written number may be multiplied with to be in the gold's unit."""
    if pred.percent:
        return {1.0}
    if asked.unit:
        return {pred.multiplier / asked.unit} if pred.scaled else {1.0, 1.0 / asked.unit}
    scales = {pred.multiplier} if asked.literal else {1.0, pred.multiplier}
    if asked.table_unit:
        scales = {pred.multiplier, pred.multiplier / asked.table_unit}
        scales |= set() if pred.scaled else {1.0}
    elif asked.amount_unit and pred.scaled:
        scales = {pred.multiplier, pred.multiplier / asked.amount_unit}
    return scales


def _is_close(reading: _Reading, gold: float) -> bool:
    """Return whether a value is within the tolerance, or rounds to the gold at the gold's last digit.

    The second needs a gold of two significant digits, three if it is whole or was converted: to one digit,
    0.0367 would be 0.04, and to two whole digits, 12.4 would be 12.
    """
    difference = abs(reading.value - gold)
    if difference <= abs(gold) * (TOLERANCE + _ROUNDING):
        return True
    digits = f"{abs(gold):.10g}"
    places = 0 if "e" in digits else len(digits.partition(".")[2])
    last_digit = 10.0**-places
    needed = reading.digits if places else 3
    if abs(gold) < 10 ** (needed - 1) * last_digit or reading.step >= last_digit * (1 - _ROUNDING):
        return False
    return difference < last_digit / 2 * (1 - _ROUNDING)


def is_written_as_percent(text: str, number: Number) -> bool:
    """Return whether a text writes the same number, or the number times 100, with a percent sign."""
    if number.percent:
        return True
    text = normalize(text)
    if not has_percent_sign(text):  # reading all numbers of a long answer takes milliseconds
        return False
    tolerance = number.step / 2 * (1 + _ROUNDING)
    for span in iter_numbers(text):
        written = span.number.written
        if span.number.percent and (
            written == number.written or abs(written / 100 - number.written) <= tolerance
        ):
            return True
    return False
