"""TAT-QA's answers: spans, lists of spans, counts and computed numbers with a scale.

The rule follows the idea of the dataset's own exact match (Zhu et al., ACL 2021): a list is a set, a
number is compared after rounding to two decimals, and its scale is part of it. It is ours in what it
does with free text: articles, case, dollar signs and closing punctuation do not count.
"""

import re
from collections.abc import Mapping
from typing import Any

from mergekit_finance.tasks.answers import clean_markup
from mergekit_finance.tasks.numbers import Number, parse_number

SCALES = {"": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 0.01}
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def tatqa_match(said: str, doc: Mapping[str, Any]) -> bool:
    """Whether `said` is the gold answer; `doc` has `answer` (list of text), `answer_type` and `scale`."""
    gold = [str(text) for text in doc["answer"]]
    if doc["answer_type"] in ("arithmetic", "count"):
        number, expected = parse_number(said), parse_number(gold[0])
        return number is not None and expected is not None and _number_match(number, expected, doc["scale"])
    parts = [p for p in re.split(r";|\n", said) if p.strip()] if len(gold) > 1 else [said]
    if len(gold) == 1 and _span_match(said, gold[0], doc["scale"]):
        return True
    return sorted(map(normal, parts)) == sorted(map(normal, gold))


def normal(text: str) -> str:
    """Lower case, no articles, single spaces, no dollar signs, quotes or closing punctuation.

    Markup goes from gold as it went from what was said, else "–" and a leading "$" would differ.
    """
    words = _ARTICLES.sub(" ", clean_markup(text).lower().replace("$", "")).split()
    return " ".join(words).strip(" .,:;\"'“”‘’")


def _span_match(said: str, gold: str, scale: str) -> bool:
    """A span that is one number is compared as a number: $1,202 is 1202."""
    if not re.fullmatch(r"[\s$€£()\-\d.,%]+", gold):
        return False
    number, expected = parse_number(said), parse_number(gold)
    return number is not None and expected is not None and _number_match(number, expected, scale)


def _number_match(said: Number, gold: Number, scale: str) -> bool:
    """Equal as written, or equal once both carry their scale; percent also as a fraction."""
    if round(said.written, 2) == round(gold.written, 2):
        # a scale that contradicts the gold one is wrong: 5 thousand is not 5 million
        return said.multiplier in (1.0, SCALES[scale]) or scale == "percent"
    full = gold.written * SCALES[scale]
    value = said.value / 100 if said.percent else said.value
    return abs(value - full) <= max(abs(full) * 1e-9, 0.005 * SCALES[scale])
