"""Decide whether an answer equals the gold answer of TAT-QA: a span, a list of spans, a count or a number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mergekit_finance.scoring.documents import TatqaDocument
from mergekit_finance.scoring.numbers import CURRENCIES, Number, iter_numbers, parse_number
from mergekit_finance.scoring.text import clean_markup, normalize

TATQA_SCALES = {"": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 0.01}

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
