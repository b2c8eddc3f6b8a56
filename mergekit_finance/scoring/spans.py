"""TAT-QA's answers: spans, lists of spans, counts and computed numbers with a scale.

The rule follows the idea of the dataset's own exact match (Zhu et al., ACL 2021): a list is a set, a
number is compared after rounding to two decimals, and its scale is part of it. It is ours in what it
does with free text: articles, case, dollar signs and closing punctuation do not count.
"""

import re
from collections.abc import Mapping
from typing import Any

from mergekit_finance.scoring.answers import clean_markup, direct_number
from mergekit_finance.scoring.numbers import Number, parse_number

SCALES = {"": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 0.01}
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# A list's separators, the strictest first; a split counts only where all of its parts are the gold ones.
_SEPARATORS = (re.compile(r";|\n"), re.compile(r";|\n|,\s|,?\s\band\b\s"))
_PLAIN_NUMBER = re.compile(r"[\s$€£()\-\d.,%]*\d[\s$€£()\-\d.,%]*")
_COMPUTED = ("arithmetic", "count")


def is_computed(doc: Mapping[str, Any]) -> bool:
    """Whether the answer is a number to be worked out or counted."""
    return doc["answer_type"] in _COMPUTED


def tatqa_match(said: str, doc: Mapping[str, Any]) -> bool:
    """Whether `said`, a line without reasoning, is the gold answer.

    `doc` has `answer` (list of text), `answer_type` and `scale`.
    """
    return tatqa_right(said, direct_number(said, str(doc.get("question", ""))), doc)


def tatqa_right(said: str, number: Number | None, doc: Mapping[str, Any]) -> bool:
    """`tatqa_match` where the one number that the text commits to, if any, was read already."""
    gold = [str(text) for text in doc["answer"]]
    if is_computed(doc):
        return _is_number(number, gold[0], doc["scale"])
    if len(gold) == 1:
        span = _PLAIN_NUMBER.fullmatch(gold[0]) and _is_number(number, gold[0], doc["scale"])
        return bool(span) or normal(said) == normal(gold[0])
    wanted = sorted(map(_key, gold))
    splits = ([part for part in separator.split(said) if part.strip()] for separator in _SEPARATORS)
    return any(sorted(map(_key, parts)) == wanted for parts in splits)


def normal(text: str) -> str:
    """Lower case, no articles, single spaces, no dollar signs, quotes or closing punctuation.

    Markup goes from gold as it went from what was said, else "–" and a leading "$" would differ.
    """
    words = _ARTICLES.sub(" ", clean_markup(text).lower().replace("$", "")).split()
    return " ".join(words).strip(" .,:;\"'“”‘’")


def _key(text: str) -> str:
    """What two parts of a list are compared by: a plain number by its value, $1,202 as 1202."""
    number = parse_number(text) if _PLAIN_NUMBER.fullmatch(text) else None
    return f"{number.written:.12g}{'%' * number.percent}" if number else normal(text)


def _is_number(said: Number | None, gold: str, scale: str) -> bool:
    """Equal as written, or equal once both carry their scale; percent also as a fraction.

    A scale or a percent sign that contradicts the gold one is wrong: 5 thousand is not 5 million, nor is 5%.
    """
    expected = parse_number(gold)
    if said is None or expected is None or (said.percent and scale != "percent" and not expected.percent):
        return False
    if round(said.written, 2) == round(expected.written, 2):
        return said.multiplier == 1.0 or (scale != "percent" and said.multiplier == SCALES[scale])
    full = expected.written * SCALES[scale]
    value = said.value / 100 if said.percent else said.value
    return abs(value - full) <= max(abs(full) * 1e-9, 0.005 * SCALES[scale])
