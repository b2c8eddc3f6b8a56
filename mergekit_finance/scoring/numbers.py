"""Reading numbers out of model text, and each dataset's own rule for calling two numbers equal.

Every pattern runs in linear time and nothing is ever evaluated: model output is hostile input.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_CHUNK = 1000
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_MINUS_SIGNS = str.maketrans("−‐‑‒–﹣", "------")
# A circled digit is a label: ①12.3 is no 112.3.
_CIRCLED = re.compile(r"([①-⑳⑴-⒇❶-❿])\s?(?=[0-9０-９])")


def normalise(text: str) -> str:
    """Fold width and compatibility forms (NFKC), write superscripts as ^n and every minus sign as "-"."""
    text = _CIRCLED.sub(r"\1. ", text)
    text = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run.group().translate(_SUPERSCRIPTS), text)
    return nfkc(text).translate(_MINUS_SIGNS)


def nfkc(text: str) -> str:
    """NFKC in pieces, because it sorts combining marks by insertion: 100k of them at once take seconds."""
    pieces = (text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK))
    return "".join(unicodedata.normalize("NFKC", piece) for piece in pieces)


@dataclass(frozen=True)
class Number:
    """One number as a text wrote it.

    `written` is signed and without multiplier: 5.2 for "$5.2 million", and 12000, in units of the last scale,
    for 1億2,000万円. `value` is `written * multiplier`. A percent sign changes neither: 14% is written 14,
    with `percent` set. `step` is the place value of the last digit written; `significant` counts the digits
    after leading zeros.
    """

    written: float
    multiplier: float = 1.0
    percent: bool = False
    unit: str = ""
    step: float = 1.0
    significant: int = 1

    @property
    def value(self) -> float:
        """The signed number with its scale word applied."""
        return self.written * self.multiplier

    @property
    def scaled(self) -> bool:
        """Whether a scale word (thousand, 百万, ...) was written."""
        return self.multiplier != 1.0


@dataclass(frozen=True)
class Span:
    """A number and where it stands in the normalised text; `end` is after its unit."""

    number: Number
    start: int
    end: int


# Groups of three after a space or an apostrophe are one number only where no digits stand beside them.
_NUMERAL = re.compile(
    r"(?<![0-9])(?<![0-9][ ,.'’])[1-9][0-9]{0,2}(?:(?: [0-9]{3})+(?! ?[0-9])|(?:['’][0-9]{3})+(?!['’]?[0-9]))"
    r"(?:\.[0-9]+)?"
    r"|[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+(?![A-Za-z0-9]))?|\.[0-9]+"
)
_GROUPED = re.compile(r"[0-9]+|[0-9]{1,3}(?:[, '’][0-9]{3})+")
_SEPARATORS = str.maketrans("", "", ", '’")
_POWER_OF_TEN = re.compile(r"\s?(?:×|x|\*|\\times)\s?10\s?(?:\^|\*\*)\s?\{?([-+]?[0-9]{1,3})\}?")

_JAPANESE_SCALES = {"千": 1e3, "百": 1e2, "十": 1e1, "万": 1e4, "億": 1e8, "兆": 1e12}
_JAPANESE_SCALE = re.compile(r" ?(?=[千百十万億兆])([千百十]?)([万億兆]?)")
_ENGLISH_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_ENGLISH_SCALES |= {"k": 1e3, "m": 1e6, "mm": 1e6, "mn": 1e6, "mln": 1e6}
_ENGLISH_SCALES |= {"b": 1e9, "bn": 1e9, "bln": 1e9, "tn": 1e12}
_ENGLISH_SCALE = re.compile(
    r"(?:[ -]?(hundred|thousand|million|billion|trillion)s?|\s?(mn|mm|mln|bn|bln|tn)|([kmb]))(?![A-Za-z])",
    re.IGNORECASE,
)

# A lone letter apart from its number is a scale only of money: $12.3 B.
_LETTER_SCALES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_LETTER_SCALE = re.compile(r"\s?([kmbt])(?![A-Za-z])", re.IGNORECASE)
_SCALE_ASIDE = re.compile(r"\s?\(\s?(?:in )?(?=[a-z千百十万億兆])", re.IGNORECASE)

_UNITS = {
    "円": "円", "yen": "円", "jpy": "円", "¥": "円",
    "ドル": "$", "米ドル": "$", "usd": "$", "$": "$", "us$": "$", "dollar": "$", "dollars": "$",
    "ユーロ": "€", "eur": "€", "euro": "€", "euros": "€", "€": "€", "£": "£", "gbp": "£", "pounds": "£",
    "ポイント": "pt", "pt": "pt", "pts": "pt", "point": "pt", "points": "pt",
    "bp": "bps", "bps": "bps", "basis points": "bps",
    "年": "年", "年度": "年", "月": "月", "日": "日", "期": "期", "四半期": "期",
}  # fmt: skip
DATE_UNITS = frozenset({"年", "月", "日", "期"})
_PERCENT = re.compile(r"\s?\\?(?:%|percentage\b|percent\b|per cent\b|パーセント)", re.IGNORECASE)
_UNIT = re.compile(
    r"\s?(?:(円|米ドル|ドル|ユーロ|ポイント|年度?|月|日|四半期|期|[$€£¥])"
    r"|(yen|jpy|usd|dollars?|euros?|eur|gbp|pounds|basis points|bps?|points?|pts?)(?![A-Za-z]))",
    re.IGNORECASE,
)

_LOOK_BACK = 24
_BEFORE = re.compile(
    r"(?P<open>\(\s?)?(?P<word>minus |negative |マイナス)?(?P<sign>[-+△▲]\s?)?"
    r"(?P<currency>(?:us\$|(?<![a-z])(?:usd|eur|gbp|jpy|rmb|cny|inr|hkd|chf)|[$€£¥₹₩])\s?)?"
    r"(?P<inner>\(\s?)?(?P<late>[-+△▲]\s?)?$",
    re.IGNORECASE,
)
_REFUSED_AFTER = re.compile(r"[/⁄:.^][0-9]|[eE][-+]?[0-9]|,[0-9]|(?:st|nd|rd|th)\b|-[A-Za-z]|\^")
_CLOSE = re.compile(r"\s?\)")
_VERB = re.compile(r"(?<![A-Za-z])(?:is|was|are|be|by|of|to) $")
_ASKS_PERCENT = re.compile(
    r"(?<![0-9])(?<![0-9] )(?:%|percent|per cent|パーセント)|percentage", re.IGNORECASE
)
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")


def parse_number(text: str) -> Number | None:
    """The first number in `text`, or None.

    Reads thousands separators (comma, space, apostrophe), signs (-, −, △, ▲, "minus", accounting
    parentheses), percent, currencies, English and Japanese scales, full-width digits and scientific notation.
    Refuses what it cannot be sure of: fractions and times (1/2, 10:30), badly grouped digits (1,23,4), names
    (Q3, FY2019, 10-K), powers (10^6).
    """
    span = next(iter_numbers(normalise(text)), None)
    return span.number if span else None


def iter_numbers(text: str) -> Iterator[Span]:
    """Every number in an already normalised text, from left to right."""
    position = 0
    while match := _NUMERAL.search(text, position):
        span = _read(text, match)
        if span:
            yield span
        position = max(match.end(), span.end if span else 0)


def _read(text: str, match: re.Match[str]) -> Span | None:
    """Build the number at `match` from the digits, what stands before them, and what follows."""
    if _is_part_of_a_name(text, match.start()) or not _GROUPED.fullmatch(_integer_part(match.group())):
        return None
    before = _BEFORE.search(text, max(0, match.start() - _LOOK_BACK), match.start())
    read = _read_magnitude(text, match, money=bool(before["currency"]))
    if _REFUSED_AFTER.match(text, read.end):
        return None
    late = _read_late(text, read, before)
    if not math.isfinite(read.amount * late.scale):
        return None
    unit = late.unit or _UNITS.get((before["currency"] or "").strip().lower(), "")
    marked = bool(late.percent or unit)
    sign = _sign(text, match.group(), before, late.closed, marked)
    significant = _significant(read.amount, read.step)
    number = Number(sign * read.amount, late.scale, late.percent, unit, read.step, significant)
    return Span(number, before.start(), late.end)


class _Late(NamedTuple):
    """What follows the digits; `closed` where a parenthesis around the number does."""

    scale: float
    percent: bool
    unit: str
    end: int
    closed: bool = False


def _read_late(text: str, read: _Magnitude, before: re.Match[str]) -> _Late:
    """Percent sign, unit and a scale of its own, also behind or inside a parenthesis: (37.5) thousand."""
    percent, unit, end = _read_unit(text, read.end)
    if closed := _closing_parenthesis(text, end, before):
        scale, end = _scale(text, closed)
        late_percent, late_unit, end = _read_unit(text, end)
        return _Late(read.scale * scale, percent or late_percent, unit or late_unit, end, closed=True)
    aside = _read_aside(text, end) if read.scale == 1.0 else None
    if aside:
        return aside._replace(percent=percent or aside.percent, unit=unit or aside.unit)
    return _Late(read.scale, percent, unit, end)


def _read_aside(text: str, position: int) -> _Late | None:
    """A scale in parentheses: 1,234(百万円), 12.3 (in million)."""
    opened = _SCALE_ASIDE.match(text, position)
    if not opened:
        return None
    scale, end = _scale(text, opened.end())
    percent, unit, end = _read_unit(text, end)
    close = _CLOSE.match(text, end)
    return _Late(scale, percent, unit, close.end()) if close and scale != 1.0 else None


def _integer_part(numeral: str) -> str:
    return re.split("[.eE]", numeral, maxsplit=1)[0] or "0"


def _is_part_of_a_name(text: str, start: int) -> bool:
    """Whether the digits belong to something longer: Q3, 3.5.2, COVID-19, ^6, the 2 of 1/2."""
    before = text[max(0, start - 2) : start]
    if re.search(r"[0-9][./⁄:,]?$|\^$|[A-Za-z]-$", before):
        return True
    currency = re.search(
        r"(?:usd|eur|gbp|jpy|rmb|cny|inr|hkd|chf)$", text[max(0, start - 3) : start], re.IGNORECASE
    )
    return bool(re.search("[A-Za-z_]$", before)) and not currency


class _Magnitude(NamedTuple):
    """Digits and the scale after them; `step` is the place of the last digit, `end` where reading stopped."""

    amount: float
    scale: float
    step: float
    end: int


def _read_magnitude(text: str, match: re.Match[str], *, money: bool) -> _Magnitude:
    amount, step, end = _to_float(match.group()), _step(match.group()), match.end()
    if power := _POWER_OF_TEN.match(text, end):
        factor = float(f"1e{power[1]}")
        return _Magnitude(amount * factor, 1.0, step * factor, power.end())
    if english := _ENGLISH_SCALE.match(text, end):
        return _Magnitude(amount, _english_scale(english), step, english.end())
    if letter := _LETTER_SCALE.match(text, end) if money else None:
        return _Magnitude(amount, _LETTER_SCALES[letter[1].lower()], step, letter.end())
    return _read_japanese(text, match)


class _Part(NamedTuple):
    """One numeral of a Japanese compound: 5百万 is 5 with a small scale 100 and a big one 10,000."""

    amount: float
    small: float
    big: float


def _read_japanese(text: str, numeral: re.Match[str] | None) -> _Magnitude:
    """A plain numeral, or the sum of 1億2,000万 or 3千5百万: its amount is in the scale of the last part."""
    parts: list[_Part] = []
    while numeral and (not parts or _GROUPED.fullmatch(_integer_part(numeral.group()))):
        small, big, end = _japanese_scales(text, numeral.end())
        parts.append(_Part(_to_float(numeral.group()), small, big))
        units = _units(parts)
        if not _descends(parts, units):
            break
        amount = sum(part.amount * (unit / units[-1]) for part, unit in zip(parts, units, strict=True))
        read = _Magnitude(amount, units[-1], _step(numeral.group()), end)
        numeral = _NUMERAL.match(text, end) if units[-1] > 1 else None
    return read


def _units(parts: list[_Part]) -> list[float]:
    """What one of each part is worth; 千, 百, 十 count in the next big scale: 3千 of 3千5百万 is in 万."""
    units, big = [], 1.0
    for part in reversed(parts):
        big = part.big if part.big > 1 else big
        units.append(part.small * big)
    return units[::-1]


def _descends(parts: list[_Part], units: list[float]) -> bool:
    """Whether each part is less than one unit of the part before it, as the parts of a compound are."""
    pairs = zip(units, parts[1:], units[1:], strict=False)
    return all(unit < above and part.amount * unit < above for above, part, unit in pairs)


def _scale(text: str, position: int) -> tuple[float, int]:
    """The scale word at a position, Japanese or English, and where it ends; 1.0 for none."""
    if english := _ENGLISH_SCALE.match(text, position):
        return _english_scale(english), english.end()
    small, big, end = _japanese_scales(text, position)
    return small * big, end


def _english_scale(match: re.Match[str]) -> float:
    return _ENGLISH_SCALES[(match[1] or match[2] or match[3]).lower()]


def _japanese_scales(text: str, position: int) -> tuple[float, float, int]:
    """The small (千, 百, 十) and the big scale (万, 億, 兆) at a position, and where they end."""
    match = _JAPANESE_SCALE.match(text, position)
    if not match:
        return 1.0, 1.0, position
    return _JAPANESE_SCALES.get(match[1], 1.0), _JAPANESE_SCALES.get(match[2], 1.0), match.end()


def _to_float(numeral: str) -> float:
    return float(numeral.translate(_SEPARATORS))


def _step(numeral: str) -> float:
    """Place value of the last digit: 0.01 for 3.14, 100 for 1.2e3."""
    digits, _, exponent = numeral.lower().partition("e")
    places = len(digits.partition(".")[2])
    # A clamp: exponents beyond float range were, or will be, refused with the number itself.
    return 10.0 ** max(-300, min(300, _small_int(exponent) - places))


def _small_int(digits: str) -> int:
    # int() refuses more than 4,300 digits, and such an exponent is out of range anyhow.
    return int(digits) if digits and len(digits) < 10 else 0


def _significant(amount: float, step: float) -> int:
    """Digits from the first that is not zero: 3 in 3.14, 2 in 0.050, 0 in 0.0."""
    units = amount / step if step else 0.0
    return len(str(round(units))) if 0.5 < units < math.inf else 0


def _read_unit(text: str, position: int) -> tuple[bool, str, int]:
    """Percent sign and unit after a number: (percent, unit, end)."""
    percent = _PERCENT.match(text, position)
    position = percent.end() if percent else position
    unit = _UNIT.match(text, position)
    if not unit:
        return bool(percent), "", position
    return bool(percent), _UNITS[(unit[1] or unit[2]).lower()], unit.end()


def _closing_parenthesis(text: str, position: int, before: re.Match[str]) -> int:
    """Where the parenthesis around the number closes, or 0 when there is none."""
    if not (before["open"] or before["inner"]):
        return 0
    close = _CLOSE.match(text, position)
    return close.end() if close else 0


def _sign(text: str, numeral: str, before: re.Match[str], closed: bool, marked: bool) -> float:
    """-1 for a minus, a triangle, the word, or accounting parentheses; (2019) is a year, f(5) an argument."""
    symbol = (before["sign"] or before["late"] or "").strip()
    if before["word"] or symbol in ("△", "▲"):
        return -1.0
    preceding = text[max(0, before.start() - 1) : before.start()]
    if symbol == "-":
        return 1.0 if _is_binary_minus(text, before, preceding) else -1.0
    if symbol == "+" or not closed:
        return 1.0
    is_year = bool(_YEAR.fullmatch(numeral)) and not marked
    return 1.0 if is_year or re.fullmatch("[A-Za-z0-9]", preceding) else -1.0


def _is_binary_minus(text: str, before: re.Match[str], preceding: str) -> bool:
    """A "-" between operands (93-10, 93 - 10, 12% - 3), or apart after a word, no verb (sales - 10)."""
    if re.fullmatch(r"[0-9A-Za-z%)]", preceding):
        return True
    if not (before["sign"] or before["late"] or "").endswith(" "):
        return False
    left = text[max(0, before.start() - 6) : before.start()]
    return bool(re.search(r"[0-9A-Za-z%)] $", left)) and not _VERB.search(left)


def numbers_match(pred: Number | float, gold: Number | float, *, rel_tol: float, percent_ok: bool) -> bool:
    """Signed match within `rel_tol` of gold; a gold of 0 needs exactly 0.

    A scaled prediction ("$5.2 million") counts as 5.2 or as 5,200,000: golds are in the unit of their table.
    With `percent_ok`, x and x/100 are the same, except that a side with a percent sign is never read as a
    fraction: 0.1407, 14.07 and 14.07% match gold 14.07, and 0.1407% does not.
    """
    pred, gold = _as_number(pred), _as_number(gold)
    factors = _percent_factors(pred, gold) if percent_ok else (1.0,)
    return any(
        _close(reading * factor, target, rel_tol)
        for target in {gold.written, gold.value}
        for reading in {pred.written, pred.value}
        for factor in factors
    )


def _as_number(number: Number | float) -> Number:
    return number if isinstance(number, Number) else Number(float(number))


def _percent_factors(pred: Number, gold: Number) -> tuple[float, ...]:
    if pred.percent and gold.percent:
        return (1.0,)
    if pred.percent:
        return (1.0, 0.01)
    return (1.0, 100.0) if gold.percent else (1.0, 0.01, 100.0)


def _close(pred: float, gold: float, rel_tol: float) -> bool:
    # The last term forgives binary rounding at the edge of the tolerance, not the answer.
    return abs(pred - gold) <= abs(gold) * (rel_tol + 1e-12)


DOCMATH_TOLERANCE = 0.0015


def asks_percent(question: str) -> bool:
    """Whether a question asks for a percentage: the word, or a % that follows no digit.

    "if orders fell by 5%" gives a rate without asking for one; "by what %" and "percentage change" ask.
    """
    return bool(_ASKS_PERCENT.search(normalise(question)))


def docmath_match(pred: Number, gold: float, *, percent_ok: bool) -> bool:
    """DocMath `score`: signed, within 0.15 % of gold; x against x/100 only if question or gold says percent.

    Ours: the repository's tolerance without its generosity (`docmath_official`). Without `percent_ok` a %
    sign is decoration, as it is there: 7% against gold 7 is right, and against 0.07 wrong.
    """
    return numbers_match(pred, gold, rel_tol=DOCMATH_TOLERANCE, percent_ok=percent_ok)


def docmath_official(pred: Number, gold: float) -> bool:
    """The match of yale-nlp/DocMath-Eval, `utils/evaluation_utils.py`, on an extracted number.

    True when any holds: the larger over the smaller absolute value is an exact power of ten; the smaller
    times 100, 1,000 or 100,000 is within 0.15 % of the larger; both round up to the same third decimal; the
    signed prediction is within 0.15 %. As there, % signs and scale words are dropped.
    """
    larger, smaller = max(abs(gold), abs(pred.written)), min(abs(gold), abs(pred.written))
    if smaller and math.log10(larger / smaller).is_integer():
        return True
    for factor in (100, 1_000, 100_000):
        if smaller <= larger / (factor / 2) and _within_official(smaller * factor, larger):
            return True
    return _rounds_up_alike(larger, smaller) or _within_official(pred.written, gold)


def _within_official(pred: float, gold: float) -> bool:
    margin = abs(gold) * DOCMATH_TOLERANCE
    return gold - margin <= pred <= gold + margin


def _rounds_up_alike(larger: float, smaller: float) -> bool:
    # Beyond 1e15 doubles have no third decimal, and near the top of their range the product would overflow.
    return larger < 1e15 and math.ceil(larger * 1000) == math.ceil(smaller * 1000)


# Executed answers are stored with five decimals.
_EXECUTED_ROUNDING = 0.5e-5


def convfinqa_match(pred: Number, executed: float, answer: str = "", *, percent: bool = False) -> bool:
    """ConvFinQA `score`: the prediction, rounded as it was written, equals the executed value, sign included.

    Tolerance is half of the last digit that the prediction wrote, if it has two significant digits or is as
    fine as the written gold answer; else only the rounding of the executed value itself. A relative tolerance
    would be wrong here: 0.5 % makes 2008 equal 2007, and refuses 1.7% for 0.01748. So 142% and 142.4% match
    1.42403, 0 never matches 0.0097, and 10% does not match -0.09709 though the written gold says 10%.
    x and x/100 are the same where a percentage is in play: the prediction or the written gold has a %, or
    `percent` says that the question asks for one. Whether an executed 80.0 is already a percentage is settled
    by the written answer "80%", where there is one.
    """
    gold = parse_number(answer)
    in_play = percent or pred.percent or bool(gold and gold.percent)
    targets = _convfinqa_fractions(executed, gold) if in_play else [(executed, gold.step if gold else 0.0)]
    factors = ((0.01,) if pred.percent else (1.0, 0.01)) if in_play else (1.0,)
    return any(
        _rounds_to(pred, multiplier * factor, target, gold_step)
        for multiplier in {1.0, pred.multiplier}
        for factor in factors
        for target, gold_step in targets
    )


def _convfinqa_fractions(executed: float, gold: Number | None) -> list[tuple[float, float]]:
    """What the executed value may be as a fraction, with the written answer's last digit in that scale."""
    if gold and gold.percent:
        times_100 = abs(abs(gold.written) - abs(executed)) <= gold.step
        return [(executed / 100 if times_100 else executed, gold.step / 100)]
    step = gold.step if gold else 0.0
    return [(executed, step), (executed / 100, step / 100)]


def _rounds_to(pred: Number, scale: float, target: float, gold_step: float) -> bool:
    """Whether `target`, rounded to the last digit of the scaled prediction, is the prediction."""
    if pred.written == 0:
        return target == 0
    step = pred.step * scale
    fine_enough = pred.significant >= 2 or step <= gold_step * (1 + 1e-9)
    tolerance = max(_EXECUTED_ROUNDING, step / 2 if fine_enough else 0.0)
    return abs(pred.written * scale - target) <= tolerance * (1 + 1e-9)


_ADAPTLLM_NUMERAL = re.compile(r"[-+]?\.?\d+(?:,\d\d\d)*\.?\d*(?:[eE][-+]?\d+)?%*")


def convfinqa_adaptllm(pred: str, gold: str) -> bool:
    """AdaptLLM's rule (microsoft/LMOps, adaptllm, `compute_ConvFinQA`): loose, reported beside `score`.

    Any number on the first line of the output within 0.01, absolute, of the first number on gold's first
    line; each % divides by 100. A numeral that Python would not accept is no number.
    """
    golds = _adaptllm_numbers(gold)[:1]
    return any(math.isclose(number, golds[0], abs_tol=0.01) for number in _adaptllm_numbers(pred) if golds)


def _adaptllm_numbers(text: str) -> list[float]:
    first_line = text.split("\n")[0].strip()
    numbers = [_adaptllm_number(match.group()) for match in _ADAPTLLM_NUMERAL.finditer(first_line)]
    return [number for number in numbers if number is not None]


def _adaptllm_number(numeral: str) -> float | None:
    digits = numeral.rstrip("%")
    try:
        number = float(digits.replace(",", ""))
    except ValueError:
        return None
    for _ in range(min(len(numeral) - len(digits), 400)):
        number /= 100
    return number if math.isfinite(number) else None


JFINQA_TOLERANCE = 0.01
_JFINQA_LABEL = re.compile(r"(?:Answer|answer|A|回答)\s*[:：]\s*(.+)")
_JFINQA_UNITS = ("百万円", "千円", "億円", "兆円", "円", "ドル", "ポイント", "pt", "bps")
_JFINQA_SCALES = {"千": 1e3, "百万": 1e6, "億": 1e8, "兆": 1e12}


def jfinqa_answer(text: str) -> str:
    """What lm-eval's jfinqa takes as the answer: after the first "Answer:" or 回答:, else the last line."""
    match = _JFINQA_LABEL.search(text)
    if match:
        return match[1].strip()
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def jfinqa_exact(pred: str, gold: str) -> bool:
    """jfinqa `exact_match`: equal but for width, case, leading △, thousands separators and a final した."""
    return _jfinqa_normal(pred) == _jfinqa_normal(gold)


def jfinqa_match(pred: str, gold: str) -> bool:
    """jfinqa `numerical_match`, the same numbers as lm-eval 0.4.13's built-in tasks: within 1 % of gold.

    Signed; % is ignored on both sides; a gold of 0 needs exactly 0; without two numbers, `jfinqa_exact`.
    """
    predicted, target = _jfinqa_number(pred), _jfinqa_number(gold)
    if predicted is None or target is None:
        return jfinqa_exact(pred, gold)
    if target == 0:
        return predicted == 0
    return abs(predicted - target) / abs(target) <= JFINQA_TOLERANCE


def _jfinqa_normal(text: str) -> str:
    text = re.sub("^[△▲]", "-", nfkc(text.strip()))
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    ending = next((ending for ending in ("しました", "した") if text.endswith(ending)), "")
    return text.removesuffix(ending).lower().strip()


def _jfinqa_number(text: str) -> float | None:
    text = _jfinqa_normal(text)
    for unit in _JFINQA_UNITS:
        text = text.removesuffix(unit)
    scale = next((scale for scale in _JFINQA_SCALES if scale in text), "")
    # Units and stray words are simply deleted there, which is why "売上は12、利益は3" reads as 123.
    digits = re.sub(r"[^\d.\-+]", "", text)
    try:
        return float(digits) * _JFINQA_SCALES.get(scale, 1.0)
    except ValueError:
        return None
