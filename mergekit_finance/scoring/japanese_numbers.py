"""Read the number that a Japanese sentence gives as its answer, and compare it with the gold number.

"営業利益率は5.0%から6.2%に上昇した" -> 6.2 %, "4.2%減少した" -> -4.2 %, "12億5,000万円" -> 1,250百万円.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mergekit_finance.scoring.japanese_text import ENGLISH_FALL, ENGLISH_RISE, blank_asides, fold
from mergekit_finance.scoring.numbers import DATE_UNITS, YEAR, Span, iter_numbers
from mergekit_finance.scoring.text import normalize

# The tolerance of jfinqa, as a share of the gold number.
JAPANESE_TOLERANCE = 0.01
# The unit of jfinqa's tables, for gold numbers without a unit.
_TABLE_UNIT = 1e6

# ---- words around a number

_RISE = r"増|上昇|改善|向上|拡大|上振|上回|上が|伸び|成長|アップ|プラス"
_FALL = (
    r"減(?![価損])|低下|下落|悪化|縮小|縮減|後退|下降|下振|下回|下が|落ち|目減|少な|マイナス|ダウン|割り込"
)
_LOSS = r"(?:当期|営業|経常|最終|純|税引前)*(?:損失|赤字|支出超過|流出超過)"
# Words directly after a number: "4.2%の減少", "4.2%ほど低下", "915百万円の損失".
_JOIN = r"\s?\(?(?:ほど|程度|だけ|分)?の?\s?(?:大幅な?|小幅な?)?"
_FALL_AFTER = re.compile(rf"{_JOIN}(?:{_FALL})|\s(?:{ENGLISH_FALL}|lower\b|reduction\b)", re.IGNORECASE)
_RISE_AFTER = re.compile(rf"{_JOIN}(?:{_RISE})|\s(?:{ENGLISH_RISE}|higher\b)", re.IGNORECASE)
_LOSS_AFTER = re.compile(rf"{_JOIN}{_LOSS}")
# Words before a number: "減少率は", "営業損失は", "マイナスの"; "a decrease of", "fell by"; 下降了, 增长.
_NOUN_LINK = r"(?:は|が|:|=|の|を)?[^0-9。、=]{0,12}$"
_ENGLISH_LINK = (
    r"(?:\s(?:by|of|was|is))?\s(?:(?:about|approximately|around|roughly|nearly|almost|only|just)\s)?$"
)
_CHINESE_LINK = r"了?\s?[約约]?$"
_FALL_BEFORE = re.compile(
    rf"(?:減少|低下|下落|悪化|縮小|減益|減収|下落)(?:率|額|幅|分|ポイント){_NOUN_LINK}|マイナスの?\s?約?$"
    rf"|(?:{ENGLISH_FALL}|\b(?:reduction|reduced|down)\b){_ENGLISH_LINK}"
    rf"|(?:減少|下降|下跌|下滑|下落|低下|降低|縮小|缩小){_CHINESE_LINK}",
    re.IGNORECASE,
)
_RISE_BEFORE = re.compile(
    rf"(?:増加|上昇|改善|増益|増収|成長|伸び)(?:率|額|幅|分){_NOUN_LINK}"
    rf"|(?:{ENGLISH_RISE}|\bup\b){_ENGLISH_LINK}"
    rf"|(?:増加|増長|増长|上升|上漲|上涨|提高){_CHINESE_LINK}",
    re.IGNORECASE,
)
_LOSS_BEFORE = re.compile(rf"(?:損失|赤字|支出超過|流出超過)額?{_NOUN_LINK}")
# Questions: by how much something fell, what a loss was, how much something changed.
_ASKS_FALL = re.compile(r"減(?![価損])|低下|下落|悪化|下が")
_ASKS_RISE = re.compile(r"増|上昇|改善|向上|変化|変動|伸び|上が")
_ASKS_LOSS = re.compile(r"損失|赤字|支出超過|流出超過")
_ASKS_CHANGE = re.compile(r"増|減(?![価損])|変化|変動|上昇|低下|下落|改善|悪化|伸び|差(?:額|は)|上が|下が")

# ---- numbers that are not the answer

_OPERATOR_BEFORE = re.compile(r"(?:[+×÷*/^]|[0-9%円倍)]\s?-)\s?[(]?\s?$")
_OPERATOR_AFTER = re.compile(
    r"[\s)%]{0,3}(?:[+×÷*^]|/\s?[0-9(]|-\s?[0-9(△▲])|\s?(?:を|に|で)(?:(?:差し)?引|足|掛|割|除|加え)"
)
# The number is a starting point or another value that is compared: 5.0%から, 前期の4%に比べ, 5%ではなく.
_COMPARED_AFTER = re.compile(
    r"\s?(?:から|より|と比[べ較]|に比[べし]|に対[しす]|を(?:上回|下回|超)|(?:で|じゃ)は?(?:な[いく]|ありま)"
    r"|以[上下]|未満|(?:である)?なら|であれば|とすれば|だとす|の場合)"
)
# An earlier period, whose number is only compared. Not 前年同期比, whose number is a change: the lookahead
# covers the whole word, so that 前年 alone does not match in it.
_EARLIER = r"(?:前々?期|前年度?|前年同期|昨年度?)(?!(?:度|同期|同月|同四半期|末|実績|対){0,2}比)"
_ASKS_EARLIER = re.compile(_EARLIER)
_EARLIER_BEFORE = re.compile(rf"{_EARLIER}の?(?:実績|[^0-9、。をにで]{{0,10}})(?:は|が|の|:)?\s?約?$")
# Counters that do not belong to an answer: 3つ, 2年連続, 1株当たり, 3項目, ステップ2.
_COUNTER_AFTER = re.compile(
    r"\s?(?:つ|番目|項目|種類|段階|株当|[年期]連続|か[月国]|[ヶカケヵ]月|桁|位|点目|番)"
)
_LABEL_BEFORE = re.compile(r"(?:ステップ|手順|表|注|図|第|step|note|約数)\s?$", re.IGNORECASE)
# Between two numbers of which neither is the answer: "5または6", "5、6", "5〜6".
_ALTERNATIVE = re.compile(r"\s?(?:または|又は|もしくは|あるいは|か|or|[~〜]|[、;・]|と)\s?約?")
_DOUBT = re.compile(r"かもしれ|とは限ら|(?:でしょう|だろう|です)か(?!ら)")
# A clause after the first number that another number then corrects: 5%という見方もあるが、.
_CONTRAST = re.compile(r"[^、。,]{0,30}(?:が|けれども?|けど)[、,]")
_RESULT = re.compile(r"=>|->|[≈≒→⇒]|(?<![<>!])=(?!=)")
_PERIOD = re.compile(r"((?:19|20)[0-9]{2})年")
_LEAD_IN = re.compile(r"(?:[\s\"'「『【(~:]|約|およそ|おおよそ|ほぼ|おおむね|概ね)*")
# After a whole answer: the end, です, a direction, a remark.
_WHOLE_TAIL = re.compile(
    r"[\s」』)】]*(?:(?:の|で)?(?:増加?|減少?|上昇|低下|下落|改善|悪化|増益|減益|増収|減収|損失|赤字|利益|黒字))?"
    r"(?:し(?:た|ました)|です|でした|である|だ|となる|となります|とな(?:った|りました))?[\s」』)】、,%]*$"
)
_UNITS_AFTER = re.compile(r"\s?(倍|回|‰|人|名|社|株|件|店舗|店|台|個|ヶ所|カ所)")


@dataclass(frozen=True)
class JapaneseNumber:
    """A number that a sentence gives.

    Attributes:
        written: the number with its sign, without its scale.
        scale: its scale: 1e6 for 5百万円.
        kind: "percent", "point", "times", "amount" (a currency or a scale was written), a counter, or "" if
            only digits were written.
        currency: "円", "$" and the like, or "".
        step: place value of the last digit.
        either_sign: whether the question leaves open whether the number is to be negative: "4.2%減少" if the
            question is 何%減少したか.
    """

    written: float
    scale: float = 1.0
    kind: str = ""
    currency: str = ""
    step: float = 1.0
    either_sign: bool = False


@dataclass(frozen=True)
class _Reading:
    """A number of a sentence, its span, and whether words call it a change."""

    number: JapaneseNumber
    span: Span
    is_change: bool


def gold_number(gold: str, question: str) -> JapaneseNumber | None:
    """Return the gold number, or None if the gold answer is a word.

    Its kind is that of its unit, or else what the question asks for: 何%, 何ポイント, 何倍.
    """
    text = normalize(gold).strip()
    spans = list(iter_numbers(text))
    if len(spans) != 1 or spans[0].start:
        return None
    number = _with_unit(text, spans[0])
    if number.kind:
        return number
    asked = re.search(r"何\s?(%|パーセント|ポイント|倍)", normalize(question))
    kinds = {"%": "percent", "パーセント": "percent", "ポイント": "point", "倍": "times"}
    return replace(number, kind=kinds[asked[1]] if asked else "")


def sentence_number(
    sentence: str, question: str, gold_kind: str, *, whole: bool = False, any_unit: bool = True
) -> JapaneseNumber | None:
    """Return the number that a sentence gives as its answer, or None.

    It is the number at the start, the result after the last "=", or else the last number that is not an
    operand, a date, a count of items or a value that is only compared. Numbers of a unit that was not asked
    for are used only if there is no other. Remarks in parentheses are used only if nothing else has a number.

    Args:
        sentence: a sentence of the output.
        question: the question; it decides which changes are negative and which period is asked for.
        gold_kind: the kind of number that is asked for.
        whole: accept only a number without other words.
        any_unit: accept a number of a unit that was not asked for, which is a wrong answer.
    """
    if _DOUBT.search(sentence):
        return None
    question = normalize(question)
    for text in (blank_asides(sentence), sentence):
        readings = _result_side(text, _readings(text, question))
        if readings:
            chosen = _choose(text, readings, question, gold_kind)
            if chosen is None or (whole and not _is_whole(text, chosen.span)):
                return None
            is_usable = any_unit or _is_kind(chosen.number, gold_kind) or _is_stray_percent(chosen, gold_kind)
            return chosen.number if is_usable else None
    return None


def _is_stray_percent(reading: _Reading, gold_kind: str) -> bool:
    """Return whether a percent sign follows an amount or points.

    Models write "8,063%" if the prompt has "<値>%", and "2.3%" for 2.3ポイント.
    """
    return reading.number.kind == "percent" and gold_kind in ("amount", "", "point")


def _is_whole(text: str, span: Span) -> bool:
    """Return whether a sentence has no other words than an answer has: "約5%です", "5%の減少"."""
    leads = _LEAD_IN.fullmatch(text, 0, span.start)
    return bool(leads and _WHOLE_TAIL.match(text, _unit_end(text, span)))


# ---- the numbers of a sentence


def _readings(text: str, question: str) -> list[_Reading]:
    """Return the numbers of a sentence that may be its answer."""
    return [
        _signed(text, span, question)
        for span in iter_numbers(text)
        if span.number.unit not in DATE_UNITS and not _is_aside(text, span)
    ]


def _is_aside(text: str, span: Span) -> bool:
    """Return whether a number is a year before other words, a label, a count of items or an operand."""
    end = _unit_end(text, span)
    is_year = YEAR.fullmatch(text[span.start : span.end]) and not _WHOLE_TAIL.match(text, span.end)
    before = text[max(0, span.start - 12) : span.start]
    return bool(
        is_year
        or _LABEL_BEFORE.search(before)
        or _COUNTER_AFTER.match(text, span.end)
        or _OPERATOR_BEFORE.search(before)
        or _OPERATOR_AFTER.match(text, end)
    )


def _unit_end(text: str, span: Span) -> int:
    unit = _UNITS_AFTER.match(text, span.end)
    return unit.end() if unit else span.end


def _with_unit(text: str, span: Span) -> JapaneseNumber:
    """Return the number of a span with the kind of its unit; basis points become points."""
    number, counter = span.number, _UNITS_AFTER.match(text, span.end)
    factor = 0.01 if number.unit == "bps" else 1.0
    if number.unit in ("pt", "bps"):
        kind = "point"
    elif number.scaled or number.unit:
        kind = "amount"
    elif counter:
        kind = "times" if counter[1] == "倍" else counter[1]
    else:
        kind = "percent" if number.percent else ""
    currency = number.unit if kind == "amount" else ""
    return JapaneseNumber(number.written * factor, number.multiplier, kind, currency, number.step * factor)


def _signed(text: str, span: Span, question: str) -> _Reading:
    """Return a number, negative if words call it a decrease or a loss that the question does not ask for."""
    number, end = _with_unit(text, span), _unit_end(text, span)
    before = text[max(0, span.start - 40) : span.start]
    falls = bool(_FALL_AFTER.match(text, end) or _FALL_BEFORE.search(before))
    rises = bool(_RISE_AFTER.match(text, end) or _RISE_BEFORE.search(before))
    asks_fall = bool(_ASKS_FALL.search(question)) and not _ASKS_RISE.search(question)
    loses = bool(_LOSS_AFTER.match(text, end) or _LOSS_BEFORE.search(before))
    if number.written > 0 and loses and not _ASKS_LOSS.search(question):
        number = replace(number, written=-number.written)
    elif number.written > 0 and falls and not rises:
        number = replace(number, written=-number.written, either_sign=asks_fall)
    elif number.written > 0 and rises and not falls and asks_fall:
        number = replace(number, written=-number.written)
    return _Reading(number, span, falls or rises)


def _result_side(text: str, readings: list[_Reading]) -> list[_Reading]:
    """Return the numbers after the last "=", or the only one before the first; all if there is no "="."""
    signs = list(_RESULT.finditer(text))
    if not signs:
        return readings
    right = [reading for reading in readings if reading.span.start >= signs[-1].end()]
    left = [reading for reading in readings if reading.span.start < signs[0].start()]
    has_expression = re.search("[0-9]", text[signs[-1].end() :])
    return right or (left if len(left) == 1 and has_expression else [])


# ---- the choice among them


def _choose(text: str, readings: list[_Reading], question: str, gold_kind: str) -> _Reading | None:
    """Return the number that answers the question, or None if two alternatives are given."""
    asks_change = bool(_ASKS_CHANGE.search(question))
    stated = readings
    readings = _prefer(readings, [r for r in readings if _is_kind(r.number, gold_kind)])
    readings = _prefer(readings, [r for r in readings if not _is_compared(text, r.span, question)])
    readings = _prefer(readings, _of_period(text, readings, question))
    readings = _prefer(readings, [r for r in readings if r.is_change == asks_change])
    start = readings[0].span.start
    is_leading = _LEAD_IN.fullmatch(text, 0, start) and not _CONTRAST.match(text, readings[0].span.end)
    chosen = readings[0] if is_leading else readings[-1]
    if _is_compared(text, chosen.span, question) or _has_alternative(text, chosen, stated):
        return None
    return chosen


def _prefer(readings: list[_Reading], better: list[_Reading]) -> list[_Reading]:
    return better or readings


def _is_kind(number: JapaneseNumber, gold_kind: str) -> bool:
    """Return whether a number has a unit that can answer the question; digits without a unit always do."""
    kinds = {
        "percent": ("percent", "point", "times", ""),
        "point": ("point", ""),
        "times": ("times", "percent", "回", ""),
        "回": ("回", "times", ""),
        "amount": ("amount", ""),
        "": ("amount", ""),
    }
    return number.kind in kinds.get(gold_kind, (gold_kind, ""))


def _is_compared(text: str, span: Span, question: str) -> bool:
    """Return whether a number is only compared with the answer: 前期の4%, 5.0%から, 3%ではなく."""
    before = text[max(0, span.start - 24) : span.start]
    is_earlier = _EARLIER_BEFORE.search(before) and not _ASKS_EARLIER.search(question)
    return bool(is_earlier or _COMPARED_AFTER.match(text, _unit_end(text, span)))


def _of_period(text: str, readings: Sequence[_Reading], question: str) -> list[_Reading]:
    """Return the numbers whose sentence part names the only year of the question; [] if none does."""
    years = set(_PERIOD.findall(question))
    if len(years) != 1:
        return []
    return [r for r in readings if _PERIOD.findall(text, 0, r.span.start)[-1:] == list(years)]


def _has_alternative(text: str, chosen: _Reading, readings: Sequence[_Reading]) -> bool:
    """Return whether a number of the same kind stands beside the chosen one: "5または6", "5%、6%"."""
    for other in readings:
        first, second = sorted((chosen.span, other.span), key=lambda span: span.start)
        between = text[_unit_end(text, first) : second.start]
        if other.number.kind == chosen.number.kind and _ALTERNATIVE.fullmatch(between):
            return True
    return False


# ---- comparison with the gold number


def japanese_match(pred: JapaneseNumber, gold: JapaneseNumber, context: str) -> bool:
    """Return whether a number is the gold number: signed, within 1 % or equal at the gold's last digit.

    Scales count: 12.5億円 is 1,250百万円, and 1,250千円 is not. Amounts without a unit are in the unit of the
    gold number, which is 百万円 if the gold has none. A percent sign on an amount is ignored, as in lm-eval's
    rule. If a percentage is asked for, 0.125 without a percent sign is 12.5%, and amounts are wrong. A gold
    of 0 requires exactly 0.

    Args:
        pred: the answer.
        gold: the gold number.
        context: question and table; a plain 円 counts as the table's unit if they state no unit.
    """
    target = gold.written
    margin = max(abs(target) * JAPANESE_TOLERANCE, gold.step / 2) if target else 0.0
    signs = (1.0, -1.0) if pred.either_sign else (1.0,)
    return any(
        abs(sign * pred.written * factor - target) <= margin * (1 + 1e-9)
        for factor in _factors(pred, gold, context)
        for sign in signs
    )


def _factors(pred: JapaneseNumber, gold: JapaneseNumber, context: str) -> tuple[float, ...]:
    """Return the factors that may turn the written prediction into the gold's unit; () if units differ."""
    if gold.kind in ("amount", ""):
        return _amount_factors(pred, gold, context)
    if pred.kind == "amount":
        return ()
    table: dict[tuple[str, str], tuple[float, ...]] = {
        ("percent", "percent"): (1.0,), ("percent", "point"): (1.0,), ("percent", ""): (1.0, 100.0),
        ("percent", "times"): (100.0,),
        ("point", "point"): (1.0,), ("point", "percent"): (1.0,), ("point", ""): (1.0,),
        ("times", "times"): (1.0,), ("times", ""): (1.0,), ("times", "percent"): (0.01,),
        ("times", "回"): (1.0,), ("回", "times"): (1.0,),
    }  # fmt: skip
    same = (1.0,) if pred.kind in (gold.kind, "") else ()
    return table.get((gold.kind, pred.kind), same)


def _amount_factors(pred: JapaneseNumber, gold: JapaneseNumber, context: str) -> tuple[float, ...]:
    if pred.kind in ("point", "times") or (pred.currency and pred.currency != (gold.currency or "円")):
        return ()
    if pred.kind != "amount":
        return (1.0,)
    unit = gold.scale if gold.kind == "amount" else _TABLE_UNIT
    states_unit = gold.kind == "amount" or re.search("[千万億兆]円", fold(normalize(context)))
    if pred.scale == 1.0 and not states_unit:
        return (1.0, 1 / unit)
    return (pred.scale / unit,)
