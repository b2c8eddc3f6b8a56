"""Decide whether an answer equals the gold answer, by the rule of each dataset.

    docmath_official_match                DocMath-Eval: the repository's; ours is `number_match`
    convfinqa_match, convfinqa_adaptllm_match  ConvFinQA: ours, and AdaptLLM's
    jfinqa_match, jfinqa_exact            jfinqa: both as lm-eval's built-in tasks
    tatqa_match                           TAT-QA: spans, lists of spans, counts and numbers with a scale

Numbers are read by `numbers`; entities are compared in `entities`, options in `choices`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from mergekit_finance.scoring.documents import TatqaDocument
from mergekit_finance.scoring.number_match import NOTHING_ASKED, Asked
from mergekit_finance.scoring.number_match import TOLERANCE as DOCMATH_TOLERANCE
from mergekit_finance.scoring.numbers import CURRENCIES, Number, iter_numbers, parse_number
from mergekit_finance.scoring.text import clean_markup, nfkc, normalize

JFINQA_TOLERANCE = 0.01
TATQA_SCALES = {"": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 0.01}


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


# ---- TAT-QA

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Separators of list items, the strictest first. A split counts only if all of its items are gold items.
_LIST_SEPARATORS = (re.compile(r";|\n"), re.compile(r";|\n|,?\s\band\b\s|,\s"))
_WORD = re.compile(r"[\w'’%]+")
# Words around an answer that add nothing, and words that change it unless the question has them between the
# same words.
_CONNECTING_WORDS = frozenset(
    """a an the is are was were be been it its they their this that these those which due to because of on in
    at by for as from with has have had will include includes included including consist consists comprise
    comprises mainly primarily answer there both during company company's""".split()
)
_QUALIFYING_WORDS = frozenset("not no nor neither never except excluding without than or but".split())
# Endings of the inflections of words of three letters, which have no stem: "uses" of "use".
_SHORT_ENDINGS = ("s", "d", "ed", "es")
# A year, and one that labels an item of a list: "2019: $3,114".
_YEAR = re.compile(r"(?<![0-9.,$€£])(?:19|20)[0-9]{2}(?![0-9]|[.,][0-9])")
_YEAR_LABEL = re.compile(r"\s*(?:in |fiscal |FY)?((?:19|20)[0-9]{2})\s?[:-]\s?", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"[\s$€£()\-\d.,%]*\d[\s$€£()\-\d.,%]*")


def tatqa_is_computed(doc: TatqaDocument) -> bool:
    """Return whether the gold answer of a TAT-QA question is a number that is computed or counted."""
    return doc["answer_type"] in ("arithmetic", "count")


def tatqa_match(text: str, number: Number | None, doc: TatqaDocument) -> bool:
    """Return TAT-QA's `score`: whether the answer is the gold span, list (in any order) or number with scale.

    It follows the exact match of the dataset's authors (Zhu et al., ACL 2021): a list is a set, a number is
    compared after rounding to two decimals, and its scale must match. The normalization of free text is ours:
    articles, case, dollar signs and closing punctuation are ignored.

    Args:
        text: the answer as text, the items of a list separated by ";".
        number: the number that the answer states, or None.
        doc: the question with its gold answer.
    """
    golds = [str(gold) for gold in doc["answer"]]
    if tatqa_is_computed(doc):
        return _tatqa_number_match(number, golds[0], doc["scale"])
    if len(golds) == 1:
        is_number = _PLAIN_NUMBER.fullmatch(golds[0])
        if is_number and _tatqa_number_match(number, golds[0], doc["scale"]):
            return True
        return tatqa_normal(golds[0]) in (tatqa_normal(text), tatqa_normal(_without_wording(text, doc)))
    gold_items = [_tatqa_item(gold, doc) for gold in golds]
    splits = (
        [part for part in separator.split(version) if part.strip()]
        for version in (text, _without_wording(text, doc))
        for separator in _LIST_SEPARATORS
    )
    return any(
        sorted(_tatqa_item(item, doc) for item in items) == sorted(gold_items)
        or _in_order_of_years(items, doc) == gold_items
        for items in splits
    )


def _in_order_of_years(items: Sequence[str], doc: TatqaDocument) -> list[str]:
    """Return the items of "2019: $3; 2018: $2" without their years, in the order in which the question names
    the years; an empty list if an item has no year of the question."""
    labels = [_YEAR_LABEL.match(item) for item in items]
    asked_years = list(dict.fromkeys(_YEAR.findall(str(doc.get("question") or ""))))
    years = [label[1] for label in labels if label]
    if not items or sorted(years) != sorted(asked_years) or len(years) != len(items):
        return []
    by_year = {label[1]: item[label.end() :] for label, item in zip(labels, items, strict=True) if label}
    return [_tatqa_item(by_year[year], doc) for year in asked_years]


def _without_wording(text: str, doc: TatqaDocument) -> str:
    """Return an answer from its first gold span to its last, if around them it only repeats the question.

    "It matures on June 30, 2023." -> "June 30, 2023" for "When does the facility mature?"; "lower rent" stays
    for "rent", because the question does not say "lower".
    """
    plain = clean_markup(text)
    spans = [
        re.search(rf"{_before(str(gold))}{re.escape(clean_markup(str(gold)))}(?!\w)", plain, re.IGNORECASE)
        for gold in doc["answer"]
    ]
    if not all(spans):
        return text
    start, end = min(span.start() for span in spans if span), max(span.end() for span in spans if span)
    return plain[start:end] if _repeats_question(f"{plain[:start]} {plain[end:]}", doc) else text


def _before(gold: str) -> str:
    """Return the expression of what may not stand before a gold span: for a number also not its sign."""
    return r"(?<![\w(-])(?<![(-]\$)" if _PLAIN_NUMBER.fullmatch(gold) else r"(?<!\w)"


def _repeats_question(text: str, doc: TatqaDocument) -> bool:
    """Return whether a text has only words of the question and words that add nothing."""
    words = _WORD.findall(text.lower())
    asked_words = _WORD.findall(str(doc.get("question") or "").lower())
    asked = {_stem(word) for word in asked_words}
    asked |= {word + ending for word in asked_words if len(word) == 3 for ending in _SHORT_ENDINGS}
    is_repeated = all(word in _CONNECTING_WORDS or _stem(word) in asked for word in words)
    return is_repeated and _qualified(words) <= _qualified(asked_words)


def _qualified(words: list[str]) -> set[tuple[str, ...]]:
    """Return each word that qualifies with its neighbors: ("2019", "than", "in")."""
    return {
        tuple(words[max(0, place - 1) : place + 2])
        for place, word in enumerate(words)
        if word in _QUALIFYING_WORDS
    }


def _stem(word: str) -> str:
    """Return the start of a word, which its inflections share: "mature" and "matures" -> "matu"."""
    return word if len(word) <= 3 or not word.isalpha() else word[: max(4, len(word) - 3)]


def tatqa_normal(text: str) -> str:
    """Return text in the form in which TAT-QA answers are compared: "The “Notes” ($80)." -> "notes” (80)".

    Lower case, no articles, single spaces, no dollar signs, no quotes or punctuation at the ends. Markup is
    removed as it is from the model's answer; otherwise "–" and a leading "$" in the gold answer would differ.
    """
    words = _ARTICLES.sub(" ", clean_markup(text).lower().replace("$", "")).split()
    return " ".join(words).strip(" .,:;\"'“”‘’")


def _tatqa_item(text: str, doc: TatqaDocument) -> str:
    """Return the form in which list items are compared: "$1,202" -> "1202", "The rent" -> "rent".

    The scale of the gold answer and words of the question add nothing: "$5 million in 2018" -> "5".
    """
    plain = normalize(clean_markup(text))
    span = next(iter_numbers(plain), None)
    if not span or not _repeats_question(f"{plain[: span.start]} {plain[span.end :]}", doc):
        return tatqa_normal(text)
    number = span.number
    scale = 1.0 if number.multiplier == TATQA_SCALES[doc["scale"]] else number.multiplier
    return f"{number.written * scale:.12g}{'%' * number.percent}"


def _tatqa_number_match(pred: Number | None, gold: str, scale: str) -> bool:
    """Return whether two numbers are equal as written, or after both are scaled (percentages as fractions).

    A scale or percent sign that contradicts the gold scale is wrong: "5 thousand" and "5%" do not match
    5 million, and "$5" is no percentage. Otherwise currencies are not compared.
    """
    expected = parse_number(gold)
    if pred is None or expected is None or (pred.percent and scale != "percent" and not expected.percent):
        return False
    if (scale == "percent" or expected.percent) and pred.unit in CURRENCIES:
        return False
    if round(pred.written, 2) == round(expected.written, 2):
        return pred.multiplier == 1.0 or (scale != "percent" and pred.multiplier == TATQA_SCALES[scale])
    target = expected.written * TATQA_SCALES[scale]
    value = pred.value / 100 if pred.percent else pred.value
    return abs(value - target) <= max(abs(target) * 1e-9, 0.005 * TATQA_SCALES[scale])
