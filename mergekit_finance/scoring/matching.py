"""Decide whether an answer equals the gold answer, by the rule of each dataset.

    docmath_official_match                DocMath-Eval: the repository's; ours is `number_match`
    convfinqa_match, convfinqa_adaptllm_match  ConvFinQA: ours, and AdaptLLM's
    jfinqa_match, jfinqa_exact            jfinqa: both as lm-eval's built-in tasks

Numbers are read by `numbers`; TAT-QA's answers are compared in `tatqa`, entities in `entities`, options in
`choices`.
"""

from __future__ import annotations

import math
import re

from mergekit_finance.scoring.number_match import NOTHING_ASKED, Asked
from mergekit_finance.scoring.number_match import TOLERANCE as DOCMATH_TOLERANCE
from mergekit_finance.scoring.numbers import CURRENCIES, Number, parse_number
from mergekit_finance.scoring.text import nfkc

JFINQA_TOLERANCE = 0.01


# ---- DocMath-Eval


def docmath_official_match(pred: Number, gold: float) -> bool:
    """Return the match of yale-nlp/DocMath-Eval, `utils/evaluation_utils.py`, for an extracted number.

    The result is True if any of these holds: the ratio of the absolute values is an exact power of ten; the
    smaller one times 100, 1,000 or 100,000 is within 0.15 % of the larger; both round up to the same third
    decimal; the signed prediction is within 0.15 %. For 3.97 it accepts -3.97, 39.7, 0.397 and 397. As in the
    repository, percent signs and scales are ignored.
    """
    larger, smaller = max(abs(gold), abs(pred.written)), min(abs(gold), abs(pred.written))
    if smaller and math.log10(larger / smaller).is_integer():
        return True
    for factor in (100, 1_000, 100_000):
        if smaller <= larger / (factor / 2) and _within_docmath_tolerance(smaller * factor, larger):
            return True
    # From 1e15 on, doubles have no third decimal, and for the largest ones the product would overflow.
    if larger < 1e15 and math.ceil(larger * 1000) == math.ceil(smaller * 1000):
        return True
    return _within_docmath_tolerance(pred.written, gold)


def _within_docmath_tolerance(pred: float, gold: float) -> bool:
    margin = abs(gold) * DOCMATH_TOLERANCE
    return gold - margin <= pred <= gold + margin


# ---- ConvFinQA

# Executed values are stored with five decimals.
_EXECUTED_ROUNDING = 0.5e-5
# A number as AdaptLLM's code finds it: "-1,234.5", ".5", "1e3", "5%%".
_ADAPTLLM_NUMERAL = re.compile(r"[-+]?\.?\d+(?:,\d\d\d)*\.?\d*(?:[eE][-+]?\d+)?%*")
_LEADING_ZEROS = re.compile(r"[-+]?0+[1-9]\d*")


def convfinqa_match(
    pred: Number,
    executed: float,
    answer: str = "",
    about: Asked = NOTHING_ASKED,
) -> bool:
    """Return ConvFinQA's `score`: whether the executed value rounds to the prediction, at its last digit.

    For 1.42403, 142% and 142.4% are right. 0 is wrong for 0.0097, and 10% is wrong for -0.09709 even if the
    written gold answer is 10%. The tolerance is half a unit of the prediction's last digit if it has at least
    two significant digits or is as precise as the written answer, else only the rounding error of the
    executed value. A relative tolerance does not work: 0.5 % would make 2008 equal 2007 and reject 1.7% for
    0.01748.

    x and x/100 count as equal if the question asks for a percentage. If there is a written answer such as
    "80%", it decides whether an executed 80.0 already is a percentage. A percent sign in the prediction alone
    means x/100, or also x if the question is about a rate: "1.92%" for a rate of 1.92. A scale is compared
    with the unit that the question states.

    Args:
        pred: the prediction.
        executed: the value that the gold program computes.
        answer: the gold answer as annotators wrote it, or "".
        about: what the question says: whether it asks for a percentage or a rate, and in which unit.
    """
    gold = parse_number(answer)
    gold_step = gold.step if gold else 0.0
    if pred.step >= 1 and not pred.unit and pred.value in about.years and pred.value != executed:
        return False  # the answer only repeats the year of the question
    asks_percentage = about.percent or bool(gold and gold.percent)
    if asks_percentage and (pred.scaled or pred.unit in CURRENCIES):
        return False
    is_percentage = asks_percentage or pred.percent
    # Possible readings of the executed value, each with the place value of the written answer's last digit.
    targets = [(executed, gold_step)]
    if gold and gold.percent:
        is_times_100 = abs(abs(gold.written) - abs(executed)) <= gold.step
        targets = [(executed / 100 if is_times_100 else executed, gold.step / 100)]
    elif is_percentage and (asks_percentage or about.rate or abs(executed) <= 1):
        targets = [(executed, gold_step), (executed / 100, gold_step / 100)]
    factors: tuple[float, ...] = (1.0,)
    if is_percentage:
        factors = (0.01,) if pred.percent else (1.0, 0.01)
    return any(
        _rounds_to(pred, multiplier * factor, target, step)
        for multiplier in _convfinqa_scales(pred, about)
        for factor in factors
        for target, step in targets
    )


def _convfinqa_scales(pred: Number, about: Asked) -> set[float]:
    """Return what the written number may be multiplied with to be in the gold's unit."""
    if about.unit and not pred.percent:
        return {pred.multiplier / about.unit} if pred.scaled else {1.0, 1.0 / about.unit}
    table_unit = about.table_unit if about.table_unit and pred.scaled else 1.0
    return {1.0, pred.multiplier, pred.multiplier / table_unit}


def _rounds_to(pred: Number, scale: float, target: float, gold_step: float) -> bool:
    """Return whether `target`, rounded to the last digit of the scaled prediction, is the prediction."""
    if pred.written == 0:
        return target == 0
    step = pred.step * scale
    is_fine_enough = pred.significant >= 2 or step <= gold_step * (1 + 1e-9)
    tolerance = max(_EXECUTED_ROUNDING, step / 2 if is_fine_enough else 0.0)
    return abs(pred.written * scale - target) <= tolerance * (1 + 1e-9)


def convfinqa_adaptllm_match(pred: str, gold: str) -> bool:
    """Return AdaptLLM's match (microsoft/LMOps, adaptllm, `compute_ConvFinQA`), which is looser than `score`.

    The result is True if any number on the first line of the output differs by at most 0.01 from the first
    number on the first line of the gold answer. Each percent sign divides by 100. So 0 is right for 0.0097.
    """
    golds = _adaptllm_numbers(gold)[:1]
    return any(math.isclose(number, golds[0], abs_tol=0.01) for number in _adaptllm_numbers(pred) if golds)


def _adaptllm_numbers(text: str) -> list[float]:
    """Return the finite numbers on the first line. AdaptLLM evaluates numerals as Python code: 05 is none."""
    numbers = []
    for match in _ADAPTLLM_NUMERAL.finditer(text.split("\n")[0].strip()):
        digits = match.group().rstrip("%")
        if _LEADING_ZEROS.fullmatch(digits.replace(",", "")):
            continue
        try:
            number = float(digits.replace(",", ""))
        except ValueError:
            continue
        for _ in range(min(len(match.group()) - len(digits), 400)):
            number /= 100
        if math.isfinite(number):
            numbers.append(number)
    return numbers


# ---- jfinqa

_JFINQA_LABEL = re.compile(r"(?:Answer|answer|A|回答)\s*[:：]\s*(.+)")
_JFINQA_UNITS = ("百万円", "千円", "億円", "兆円", "円", "ドル", "ポイント", "pt", "bps")
_JFINQA_SCALES = {"千": 1e3, "百万": 1e6, "億": 1e8, "兆": 1e12}


def jfinqa_answer(text: str) -> str:
    """Return the answer as lm-eval's jfinqa tasks extract it.

    It is the rest of the line after the first "Answer:" or 回答:, or else the last non-empty line.
    """
    match = _JFINQA_LABEL.search(text)
    if match:
        return match[1].strip()
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def jfinqa_exact(pred: str, gold: str) -> bool:
    """Return jfinqa's `exact_match`, as computed by lm-eval 0.4.13's built-in tasks.

    Differences in width, case, thousands separators, a leading △ for "-" and a final した are ignored.
    """
    return _jfinqa_normal(pred) == _jfinqa_normal(gold)


def jfinqa_match(pred: str, gold: str) -> bool:
    """Return jfinqa's `numerical_match`, as computed by lm-eval 0.4.13's built-in tasks.

    The signed prediction must be within 1 % of the gold: "10.1%" is right for "10.07%", "△3.5" for "-3.5%".
    Percent signs are ignored; a gold of 0 requires exactly 0. If one is not a number, `jfinqa_exact` decides.
    """
    predicted, target = _jfinqa_number(pred), _jfinqa_number(gold)
    if predicted is None or target is None:
        return jfinqa_exact(pred, gold)
    if target == 0:
        return predicted == 0
    return abs(predicted - target) / abs(target) <= JFINQA_TOLERANCE


def _jfinqa_normal(text: str) -> str:
    """Return text as jfinqa compares it: "△１,234" -> "-1234", "増加しました" -> "増加"."""
    text = re.sub("^[△▲]", "-", nfkc(text.strip()))
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    ending = next((ending for ending in ("しました", "した") if text.endswith(ending)), "")
    return text.removesuffix(ending).lower().strip()


def _jfinqa_number(text: str) -> float | None:
    """Return the number as the built-in tasks read it, including their errors, which README and tests list.

    "12.34億円" -> 12.34, "12.34億" -> 1234000000.0. Other characters are deleted: "売上は12、利益は3" ->
    123.0.
    """
    text = _jfinqa_normal(text)
    for unit in _JFINQA_UNITS:
        text = text.removesuffix(unit)
    scale = next((scale for scale in _JFINQA_SCALES if scale in text), "")
    digits = re.sub(r"[^\d.\-+]", "", text)
    try:
        return float(digits) * _JFINQA_SCALES.get(scale, 1.0)
    except ValueError:
        return None
