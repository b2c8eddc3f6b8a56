"""Read numbers from text: "$5.2 million" -> 5200000.0, "△1,234百万円" -> -1234000000.0.

Model output is untrusted: every pattern runs in linear time, and nothing is evaluated. `matching` decides
whether a number is right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mergekit_finance.scoring.text import normalize


@dataclass(frozen=True)
class Number:
    """One number as written in a text.

    Attributes:
        written: signed, without scale: 5.2 for "$5.2 million". For a Japanese compound it is in units of the
            last scale: 12000 for 1億2,000万円.
        multiplier: the scale: 1e6 for "$5.2 million", 1e4 for 1億2,000万円.
        percent: whether a percent sign was written. It does not change `written`, which is 14 for 14%.
        unit: "$", "円", "pt", "年" and the like, or "".
        step: place value of the last digit: 0.01 for 3.14, 1 for 42.
        sign_in_words: whether a word that the question has too stands for its sign: "a loss of 5" where the
            question asks for the loss. The gold may then have either sign.
        in_parentheses: whether parentheses made it negative, as in accounting: "(5)".
        significant: number of digits from the first that is not zero: 3 for 3.14, 2 for 0.050, 0 for 0.0.
    """

    written: float
    multiplier: float = 1.0
    percent: bool = False
    unit: str = ""
    step: float = 1.0
    significant: int = 1
    sign_in_words: bool = False
    in_parentheses: bool = False

    @property
    def value(self) -> float:
        """`written * multiplier`: 5200000.0 for "$5.2 million"."""
        return self.written * self.multiplier

    @property
    def scaled(self) -> bool:
        """Whether a scale (thousand, 百万, ...) was written."""
        return self.multiplier != 1.0


@dataclass(frozen=True)
class Span:
    """A number and its position in the normalized text, from its sign or currency to the end of its unit."""

    number: Number
    start: int
    end: int


# The digits of a number, in this order: "1 234 567.5" or "1'234", if no other digits are next to the groups
# of three; "1,234.5" and "1.2e6"; ".5".
_NUMERAL = re.compile(
    r"(?<![0-9])(?<![0-9][ ,.'’])[1-9][0-9]{0,2}(?:(?: [0-9]{3})+(?! ?[0-9])|(?:['’][0-9]{3})+(?!['’]?[0-9]))"
    r"(?:\.[0-9]+)?"
    r"|[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+(?![A-Za-z0-9]))?|\.[0-9]+"
)
_GROUPED = re.compile(r"[0-9]+|[0-9]{1,3}(?:[, '’][0-9]{3})+")
_SEPARATORS = str.maketrans("", "", ", '’")
# Digits that are part of a longer term: the 5 of "3.5.2", the 2 of "1/2", the 6 of "^6", the 19 of
# "COVID-19".
_INSIDE_A_NAME = re.compile(r"[0-9][./⁄:,]?$|\^$|[A-Za-z]-$")
_CURRENCY_CODE = re.compile(
    r"(?:usd|eur|gbp|jpy|rmb|cny|inr|hkd|chf|aud|cad|sgd|nzd|zar|krw|sek|nok|dkk|rs)$", re.IGNORECASE
)

_POWER_OF_TEN = re.compile(r"\s?(?:×|x|\*|\\times)\s?10\s?(?:\^|\*\*)\s?\{?([-+]?[0-9]{1,3})\}?")
_JAPANESE_SCALES = {"千": 1e3, "百": 1e2, "十": 1e1, "万": 1e4, "億": 1e8, "兆": 1e12}
_JAPANESE_SCALE = re.compile(r" ?(?=[千百十万億兆])([千百十]?)([万億兆]?)")
_ENGLISH_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_ENGLISH_SCALES |= {"k": 1e3, "m": 1e6, "mm": 1e6, "mn": 1e6, "mln": 1e6}
_ENGLISH_SCALES |= {"b": 1e9, "bn": 1e9, "bln": 1e9, "tn": 1e12}
# A scale after the digits: " million" of "5 million", "bn" of "5bn", "k" of "5k". Not the B of "5 Bonds".
_ENGLISH_SCALE = re.compile(
    r"(?:[ -]?(hundred|thousand|million|billion|trillion)s?|\s?(mn|mm|mln|bn|bln|tn)|([kmb]))(?![A-Za-z])",
    re.IGNORECASE,
)
# A single letter after a space is a scale only if the number has a currency: "$12.3 B", but not "12.3 B".
_LETTER_SCALES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_LETTER_SCALE = re.compile(r"\s?([kmbt])(?![A-Za-z])", re.IGNORECASE)
_SCALE_IN_PARENTHESES = re.compile(r"\s?\(\s?(?:in )?(?=[a-z千百十万億兆])", re.IGNORECASE)

_UNITS = {
    "円": "円", "yen": "円", "jpy": "円", "¥": "円",
    "ドル": "$", "米ドル": "$", "usd": "$", "$": "$", "us$": "$", "dollar": "$", "dollars": "$",
    "ユーロ": "€", "eur": "€", "euro": "€", "euros": "€", "€": "€", "£": "£", "gbp": "£", "pounds": "£",
    "ポイント": "pt", "pt": "pt", "pts": "pt", "point": "pt", "points": "pt",
    "bp": "bps", "bps": "bps", "basis points": "bps",
    "年": "年", "年度": "年", "月": "月", "日": "日", "期": "期", "四半期": "期",
}  # fmt: skip
CURRENCIES = ("$", "円", "€", "£")
DATE_UNITS = frozenset({"年", "月", "日", "期"})
_PERCENT = re.compile(r"\s?\\?(?:%|percentage\b|percent\b|per cent\b|パーセント)", re.IGNORECASE)
# A unit after the number: 円 of "5円", " dollars" of "5 dollars", "bps" of "25bps". Not the "eur" of "5
# Europeans".
_UNIT = re.compile(
    r"\s?(?:(円|米ドル|ドル|ユーロ|ポイント|年度?|月|日|四半期|期|[$€£¥])"
    r"|(yen|jpy|usd|dollars?|euros?|eur|gbp|pounds|basis points|bps?|points?|pts?)(?![A-Za-z]))",
    re.IGNORECASE,
)

_PREFIX_LENGTH = 24
# The sign and currency directly before the digits: "(US$ -" of "(US$ -5)", "minus $" of "minus $5", "△" of
# △5, "$(" of "$(5)". The pattern also matches the empty text.
_PREFIX = re.compile(
    r"(?P<open>\(\s?)?(?P<word>minus |negative |マイナス)?(?P<sign>[-+△▲]\s?)?"
    r"(?P<currency>(?:(?<![a-z])(?:[a-z]{1,3}\$|(?:usd|eur|gbp|jpy|rmb|cny|inr|hkd|chf|aud|cad|sgd|nzd|zar|krw|sek|nok|dkk)|rs\.?)"
    r"|[$€£¥₹₩₤])\s?)?"
    r"(?P<inner>\(\s?)?(?P<late>[-+△▲]\s?)?$",
    re.IGNORECASE,
)
# Text after digits that are not a plain number: the "/2" of "1/2", ":30" of "10:30", "^6" of "10^6", "th" of
# "5th", "-K" of "10-K".
_REFUSED_AFTER = re.compile(r"[/⁄:.^][0-9]|[eE][-+]?[0-9]|,[0-9]|(?:st|nd|rd|th)\b|-[A-Za-z]|\^")
_CLOSING_PARENTHESIS = re.compile(r"\s?\)")
_VERB = re.compile(r"(?<![A-Za-z])(?:is|was|are|be|by|of|to) $")
YEAR = re.compile(r"(?:19|20)[0-9]{2}")
# Words of a question for a percentage: "percentage", or a percent sign without a digit before it.
_ASKS_PERCENT = re.compile(
    r"(?<![0-9])(?<![0-9] )(?:%|percent|per cent|パーセント)|percentage", re.IGNORECASE
)


def parse_number(text: str) -> Number | None:
    """Return the first number in a text, or None.

    "1,234.5" -> 1234.5, "1.5 million" -> 1500000.0, "(5.2)%" -> -5.2 with `percent`, "△5" -> -5.0,
    "1億2,000万円" -> 120000000.0 (by `Number.value`).

    It reads thousands separators (comma, space, apostrophe), signs (-, −, △, ▲, "minus", accounting
    parentheses), percent, currencies, English and Japanese scales, full-width digits and scientific notation.
    Ambiguous text is not read as a number: fractions and times (1/2, 10:30), badly grouped digits (1,23,4),
    names (Q3, FY2019, 10-K), powers (10^6).
    """
    span = next(iter_numbers(normalize(text)), None)
    return span.number if span else None


def iter_numbers(text: str) -> Iterator[Span]:
    """Yield every number in a normalized text, from left to right."""
    position = 0
    while match := _NUMERAL.search(text, position):
        span = _read(text, match)
        if span:
            yield span
        position = max(match.end(), span.end if span else 0)


def has_percent_sign(text: str) -> bool:
    """Return whether a normalized text has a percent sign; without one no number is a percentage."""
    return bool(_PERCENT.search(text))


def is_year(number: Number) -> bool:
    """Return whether a number is written as a year is: from 1900 to 2099, without unit."""
    is_plain = number.step == 1 and not (number.percent or number.unit or number.scaled)
    return is_plain and 1900 <= number.written < 2100


def asks_percent(question: str) -> bool:
    """Return whether a question asks for a percentage.

    "by what % did it grow" and "the percentage change" ask for one; "if orders fell by 5%" only gives a rate.
    """
    return bool(_ASKS_PERCENT.search(normalize(question)))


def _read(text: str, digits: re.Match[str]) -> Span | None:
    """Return the number at a numeral, with its sign, scale and unit; None if the text is ambiguous."""
    if _is_part_of_a_name(text, digits.start()) or not _is_grouped(digits.group()):
        return None
    prefix = _read_prefix(text, digits.start())
    magnitude = _read_magnitude(text, digits, money=bool(prefix.currency))
    if _REFUSED_AFTER.match(text, magnitude.end):
        return None
    suffix = _read_suffix(text, magnitude, prefix)
    if not math.isfinite(magnitude.amount * suffix.scale):
        return None
    unit = suffix.unit or _UNITS.get(prefix.currency, "")
    is_year = bool(YEAR.fullmatch(digits.group())) and not suffix.percent and not unit
    sign = _sign(text, prefix, in_parentheses=suffix.closed and not is_year)
    significant = _significant_digits(magnitude.amount, magnitude.step)
    number = Number(
        sign * magnitude.amount, suffix.scale, suffix.percent, unit, magnitude.step, significant,
        in_parentheses=sign < 0 and not prefix.sign.strip() and not prefix.negative_word,
    )  # fmt: skip
    return Span(number, prefix.start, suffix.end)


def _is_part_of_a_name(text: str, start: int) -> bool:
    """Return whether the digits are part of a longer term: Q3, 3.5.2, COVID-19, ^6, 1/2. Not USD5."""
    before = text[max(0, start - 3) : start]
    if _INSIDE_A_NAME.search(before):
        return True
    return bool(re.search("[A-Za-z_]$", before)) and not _CURRENCY_CODE.search(before)


def _is_grouped(numeral: str) -> bool:
    """Return whether the separators, if any, are at every third digit: "1,234", not "12,34"."""
    integer = re.split("[.eE]", numeral, maxsplit=1)[0] or "0"
    return bool(_GROUPED.fullmatch(integer))


# ---- before the digits


class _Prefix(NamedTuple):
    """The sign and currency directly before the digits of a number."""

    start: int
    negative_word: bool = False  # "minus", "negative", マイナス
    sign: str = ""  # "-", "+", "△" or "▲", with the space after it
    currency: str = ""  # in lower case
    parenthesis: bool = False


def _read_prefix(text: str, digits_start: int) -> _Prefix:
    match = _PREFIX.search(text, max(0, digits_start - _PREFIX_LENGTH), digits_start)
    if match is None:
        return _Prefix(digits_start)
    return _Prefix(
        match.start(),
        negative_word=bool(match["word"]),
        sign=match["sign"] or match["late"] or "",
        currency=(match["currency"] or "").strip().lower(),
        parenthesis=bool(match["open"] or match["inner"]),
    )


def _sign(text: str, prefix: _Prefix, *, in_parentheses: bool) -> float:
    """Return -1.0 for a minus sign, a triangle, a negative word or accounting parentheses, else 1.0.

    "-5", "△5", "minus 5", "(5)" are negative; "f(5)" is an argument and "12 - 5" a subtraction.
    """
    symbol = prefix.sign.strip()
    if prefix.negative_word or symbol in ("△", "▲"):
        return -1.0
    preceding = text[max(0, prefix.start - 1) : prefix.start]
    if symbol == "-":
        return 1.0 if _is_binary_minus(text, prefix, preceding) else -1.0
    if symbol == "+" or not in_parentheses:
        return 1.0
    return 1.0 if re.fullmatch("[A-Za-z0-9]", preceding) else -1.0


def _is_binary_minus(text: str, prefix: _Prefix, preceding: str) -> bool:
    """Return whether "-" is a subtraction: between operands (93-10, 93 - 10) or after a noun (sales - 10)."""
    if re.fullmatch(r"[0-9A-Za-z%)]", preceding):
        return True
    if not prefix.sign.endswith(" "):
        return False
    before_sign = text[max(0, prefix.start - 6) : prefix.start]
    return bool(re.search(r"[0-9A-Za-z%)] $", before_sign)) and not _VERB.search(before_sign)


# ---- the digits and their scale


class _Magnitude(NamedTuple):
    """The digits of a number and the scale directly after them."""

    amount: float
    scale: float
    step: float  # place value of the last digit
    end: int  # position after the scale


def _read_magnitude(text: str, digits: re.Match[str], *, money: bool) -> _Magnitude:
    """Return digits and scale: "5 million", "1.2×10^6", "1億2,000万", and with `money` also "5 B"."""
    amount, step, end = _to_float(digits.group()), _step(digits.group()), digits.end()
    if power := _POWER_OF_TEN.match(text, end):
        factor = float(f"1e{power[1]}")
        return _Magnitude(amount * factor, 1.0, step * factor, power.end())
    if english := _ENGLISH_SCALE.match(text, end):
        return _Magnitude(amount, _english_scale(english), step, english.end())
    if letter := _LETTER_SCALE.match(text, end) if money else None:
        return _Magnitude(amount, _LETTER_SCALES[letter[1].lower()], step, letter.end())
    return _read_japanese(text, digits)


class _Part(NamedTuple):
    """One part of a Japanese compound numeral: 5百万 has amount 5, small scale 100 and big scale 10,000."""

    amount: float
    small: float
    big: float


def _read_japanese(text: str, digits: re.Match[str]) -> _Magnitude:
    """Return a plain numeral, or the sum of a compound (1億2,000万, 3千5百万) in units of its last scale."""
    parts: list[_Part] = []
    magnitude = _Magnitude(_to_float(digits.group()), 1.0, _step(digits.group()), digits.end())
    numeral: re.Match[str] | None = digits
    while numeral and (not parts or _is_grouped(numeral.group())):
        small, big, end = _japanese_scales(text, numeral.end())
        parts.append(_Part(_to_float(numeral.group()), small, big))
        units = _units(parts)
        if not _descends(parts, units):
            break
        amount = sum(part.amount * (unit / units[-1]) for part, unit in zip(parts, units, strict=True))
        magnitude = _Magnitude(amount, units[-1], _step(numeral.group()), end)
        numeral = _NUMERAL.match(text, end) if units[-1] > 1 else None
    return magnitude


def _units(parts: list[_Part]) -> list[float]:
    """Return one unit of each part. 千, 百, 十 use the next big scale: 3千 of 3千5百万 is in 万."""
    units, big = [], 1.0
    for part in reversed(parts):
        big = part.big if part.big > 1 else big
        units.append(part.small * big)
    return units[::-1]


def _descends(parts: list[_Part], units: list[float]) -> bool:
    """Return whether each part is less than one unit of the previous part, as in a compound numeral."""
    pairs = zip(units, parts[1:], units[1:], strict=False)
    return all(unit < above and part.amount * unit < above for above, part, unit in pairs)


def _japanese_scales(text: str, position: int) -> tuple[float, float, int]:
    """Return the small (千, 百, 十) and the big scale (万, 億, 兆) at a position, and their end."""
    match = _JAPANESE_SCALE.match(text, position)
    if not match:
        return 1.0, 1.0, position
    return _JAPANESE_SCALES.get(match[1], 1.0), _JAPANESE_SCALES.get(match[2], 1.0), match.end()


def _english_scale(match: re.Match[str]) -> float:
    return _ENGLISH_SCALES[(match[1] or match[2] or match[3]).lower()]


def _to_float(numeral: str) -> float:
    return float(numeral.translate(_SEPARATORS))


def _step(numeral: str) -> float:
    """Return the place value of the last digit: "3.14" -> 0.01, "1.2e3" -> 100.0."""
    digits, _, exponent = numeral.lower().partition("e")
    places = len(digits.partition(".")[2])
    # int() refuses more than 4,300 digits; a number with such an exponent is out of range anyway.
    power = int(exponent) if exponent and len(exponent) < 10 else 0
    return 10.0 ** max(-300, min(300, power - places))


def _significant_digits(amount: float, step: float) -> int:
    """Return the number of digits from the first non-zero one on: 3.14 -> 3, 0.050 -> 2, 0.0 -> 0."""
    units = amount / step
    return len(str(round(units))) if 0.5 < units < math.inf else 0


# ---- after the digits


class _Suffix(NamedTuple):
    """The text after the digits of a number: its end, scale, unit and percent sign."""

    scale: float
    percent: bool
    unit: str
    end: int
    closed: bool = False  # a parenthesis opened before the number is closed after it


def _read_suffix(text: str, magnitude: _Magnitude, prefix: _Prefix) -> _Suffix:
    """Return percent sign, unit and scale, after or inside parentheses too: "(37.5) thousand", 5(百万円)."""
    scale = magnitude.scale
    percent, unit, end = _read_unit(text, magnitude.end)
    closing = _CLOSING_PARENTHESIS.match(text, end) if prefix.parenthesis else None
    if closing:
        late_scale, end = _read_scale(text, closing.end())
        late_percent, late_unit, end = _read_unit(text, end)
        return _Suffix(scale * late_scale, percent or late_percent, unit or late_unit, end, closed=True)
    opening = _SCALE_IN_PARENTHESES.match(text, end) if scale == 1.0 else None
    if opening:
        inner_scale, inner_end = _read_scale(text, opening.end())
        inner_percent, inner_unit, inner_end = _read_unit(text, inner_end)
        closing = _CLOSING_PARENTHESIS.match(text, inner_end)
        if closing and inner_scale != 1.0:
            return _Suffix(inner_scale, percent or inner_percent, unit or inner_unit, closing.end())
    return _Suffix(scale, percent, unit, end)


def _read_scale(text: str, position: int) -> tuple[float, int]:
    """Return the English or Japanese scale at a position (1.0 for none) and its end."""
    if english := _ENGLISH_SCALE.match(text, position):
        return _english_scale(english), english.end()
    small, big, end = _japanese_scales(text, position)
    return small * big, end


def _read_unit(text: str, position: int) -> tuple[bool, str, int]:
    """Return whether a percent sign follows, the unit ("" for none) and the end of both."""
    percent = _PERCENT.match(text, position)
    position = percent.end() if percent else position
    unit = _UNIT.match(text, position)
    if not unit:
        return bool(percent), "", position
    return bool(percent), _UNITS[(unit[1] or unit[2]).lower()], unit.end()
