"""Decide whether an answer equals the gold answer of TAT-QA: a span, a list of spans, a count or a number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from os.path import commonprefix
from typing import NamedTuple

from mergekit_finance.scoring.documents import TatqaDocument
from mergekit_finance.scoring.number_match import asked
from mergekit_finance.scoring.numbers import CURRENCIES, Number, Span, is_year, iter_numbers, parse_number
from mergekit_finance.scoring.text import clean_markup

TATQA_SCALES = {"": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 0.01}

# No list and no amount takes longer answers or more numbers. This bounds the time.
_MAX_ANSWER, _MAX_NUMBERS = 4000, 100
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Words before a year that add nothing: "fiscal year 2018", "FY2018", "the years 2017 and 2018".
_YEAR_WORDING = re.compile(
    r"(?:\b(?:fiscal|financial)\s(?:years?\s)?|\byears?\s|\bfy\s?)(?=(?:19|20)[0-9]{2}\b)", re.IGNORECASE
)
_YEAR = re.compile(r"(?<![0-9.,$€£])(?:19|20)[0-9]{2}(?![0-9]|[.,][0-9])")
_WORD = re.compile(r"[\w'’%]+")
_PLAIN_NUMBER = re.compile(r"[\s$€£()\-\d.,%]*\d[\s$€£()\-\d.,%]*")
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
# Words around an amount that add nothing: the gold answer may be rounded itself. "over" only before a
# duration: "recognized over a weighted average period of 2.5 years".
_APPROXIMATE = frozenset("approximately approx about around roughly circa".split())
_AROUND_DURATION = frozenset("over period weighted average".split())
# A date that a preposition may precede, word by word.
_DATE_WORD = re.compile(
    r"[0-9]{1,2}(?:st|nd|rd|th)?|(?:19|20)[0-9]{2}|q[1-4]|of|the|first|second|third|fourth|last|quarter|half"
    r"|fiscal|year|jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_DATE_PREPOSITION = re.compile(r"(?:on|in|during)\s", re.IGNORECASE)
# Currencies by their code, name or sign. A sign such as "A$" counts as "$".
_CURRENCY = re.compile(
    r"[$€£¥₹₩]|(?<![a-z])(?:(usd|dollars?)|(eur|euros?)|(gbp|pounds)|(jpy|yen)|(rmb|cny|yuan|renminbi)"
    r"|aud|cad|nzd|hkd|sgd|chf|inr|krw|sek|nok|dkk|zar|rs\.?|rupees?|francs?|won|rand|kron[ae]r?)(?![a-z])",
    re.IGNORECASE,
)
_CURRENCY_SIGNS = ("$", "€", "£", "¥", "rmb")
# The word after a number, if it is what the number counts: "2.5 years", "4.1 million shares".
_UNIT_WORD = re.compile(r"[ -]?([a-z]{2,20})\b", re.IGNORECASE)
_DURATION_UNITS = {"yr": "year", "mo": "month", "mth": "month", "wk": "week", "hr": "hour"}
_DURATIONS = frozenset("year month week day hour quarter".split())

# What a found item of a list is replaced by, and what may stand between items.
_ITEM = "\ue000"
_ITEMS = re.compile(f"{_ITEM}+")
_LINE_END = re.compile(r"[;\n]")
_SEPARATOR = re.compile(r"[,&/|]|\band\b")
_LIST_NUMBER = re.compile(rf"\s*\(?([0-9]{{1,2}})[.)]\s*(?={_ITEM})")
# The start of a phrase next to a list: "In 2019 and 2018, ...", "..., respectively".
_PHRASE = re.compile(r"\s*(?:respectively|in|for|at|as|on|during)\b")
_RESPECTIVELY = re.compile(r"\s*respectively\b")


def tatqa_is_computed(doc: TatqaDocument) -> bool:
    """Return whether the gold answer of a TAT-QA question is a number that is computed or counted."""
    return doc["answer_type"] in ("arithmetic", "count")


def tatqa_match(text: str, number: Number | None, doc: TatqaDocument) -> bool:
    """Return TAT-QA's `score`: whether the answer is the gold span, list (in any order) or number with scale.

    It follows the exact match of the dataset's authors (Zhu et al., ACL 2021): a list is a set, a number is
    compared after rounding to two decimals, and its scale must match. The normalization of free text is ours:
    articles, case, dollar signs and closing punctuation are ignored. So is how an amount or a duration is
    written ("$1,200,000" for "$1.2 million", "2.5 yrs" for "2.5 years"), and are words around the answer that
    only repeat the question.

    Args:
        text: the answer as text, the items of a list separated by ";".
        number: the number that the answer states, or None.
        doc: the question with its gold answer.
    """
    golds = [_without_preposition(_plain(str(gold))) for gold in doc["answer"]]
    if tatqa_is_computed(doc):
        return _tatqa_number_match(number, golds[0], doc["scale"])
    if len(golds) > 1:
        return len(text) <= _MAX_ANSWER and _is_list_of(golds, text, doc)
    gold, quantity = golds[0], _quantity(golds[0])
    if quantity and quantity.is_amount and _states_quantity(quantity, text, number, doc):
        return True
    if quantity and not quantity.is_amount and _tatqa_number_match(number, gold, doc["scale"]):
        return True
    return tatqa_normal(gold) == tatqa_normal(text) or _is_in_wording(gold, text, doc)


def tatqa_normal(text: str) -> str:
    """Return text in the form in which TAT-QA answers are compared: "The “Notes” ($80)." -> "notes” (80)".

    Lower case, no articles, single spaces, no dollar signs, no quotes or punctuation at the ends. Markup is
    removed as it is from the model's answer; otherwise "–" and a leading "$" in the gold answer would differ.
    """
    return " ".join(_plain(text).replace("$", "").split()).strip(" .,:;\"'“”‘’")


def _plain(text: str) -> str:
    """Return text in lower case, without markup, articles and words that only announce a year."""
    words = _ARTICLES.sub(" ", clean_markup(text).lower()).split()
    return _YEAR_WORDING.sub("", " ".join(words))


def _without_preposition(gold: str) -> str:
    """Return a date without a leading preposition: "on march 14, 2017" -> "march 14, 2017"."""
    preposition = _DATE_PREPOSITION.match(gold)
    date = gold[preposition.end() :] if preposition else ""
    is_date = re.search("[0-9]", date) and all(map(_DATE_WORD.fullmatch, _WORD.findall(date)))
    return date if is_date else gold


# ---- words around an answer


def _is_in_wording(gold: str, text: str, doc: TatqaDocument) -> bool:
    """Return whether an answer has the gold span, and around it only repeats the question.

    For "When does the facility mature?", "It matures on June 30, 2023." is "June 30, 2023". "Lower rent" is
    not "rent", unless the question says "lower".
    """
    plain = _plain(text)
    span = re.search(rf"{_before(gold)}{re.escape(gold)}(?!\w)", plain) if gold else None
    return span is not None and _repeats_question(f"{plain[: span.start()]} {plain[span.end() :]}", doc)


def _before(gold: str) -> str:
    """Return the expression of what may not stand before a gold span: for a number also not its sign."""
    if _PLAIN_NUMBER.fullmatch(gold):
        return r"(?<![\w(-])(?<![(-]\$)"
    return r"(?<![\w-])(?<!-\$)" if _quantity(gold) else r"(?<!\w)"


def _repeats_question(text: str, doc: TatqaDocument, neutral: frozenset[str] = frozenset()) -> bool:
    """Return whether a text has only words of the question and words that add nothing, such as `neutral`."""
    question = str(doc.get("question") or "")
    words = _WORD.findall(text.lower())
    forms = [_WORD.findall(form) for form in (question.lower(), _plain(question))]
    asked_words, expected = set().union(*forms), _CONNECTING_WORDS | neutral
    is_repeated = all(
        word in expected or any(_is_inflection(word, other) for other in asked_words) for word in set(words)
    )
    return is_repeated and _qualified(words) <= _qualified(forms[0]) | _qualified(forms[1])


def _is_inflection(word: str, other: str) -> bool:
    """Return whether two words share a stem: "increased" and "increase", "matures" and "mature"."""
    if word == other or not (word.isalpha() and other.isalpha()):
        return word == other
    if len(other) == 3:
        return word in [other + ending for ending in _SHORT_ENDINGS]
    stem = len(commonprefix((word, other)))
    return stem >= 4 and max(len(word), len(other)) - stem <= 3


def _qualified(words: list[str]) -> set[tuple[str, ...]]:
    """Return each word that qualifies with its neighbors: ("2019", "than", "in")."""
    return {
        tuple(words[max(0, place - 1) : place + 2])
        for place, word in enumerate(words)
        if word in _QUALIFYING_WORDS
    }


# ---- numbers and amounts


class _Quantity(NamedTuple):
    """A gold answer that is one number, such as "4.1 million shares".

    Attributes:
        number: the number.
        currencies: the currencies that are named: "$" of "US$5".
        unit: what is counted, in the singular: "share".
        is_amount: whether it has words, such as a scale, so that the digits alone may be another number.
    """

    number: Number
    currencies: frozenset[str]
    unit: str
    is_amount: bool


def _quantity(gold: str) -> _Quantity | None:
    """Return a gold answer as one number with its scale, currency and unit; None if it has other words."""
    spans = list(islice(iter_numbers(gold), 2))
    if len(spans) != 1:
        return None
    number = spans[0].number
    unit, end = _unit_after(gold, spans[0])
    words = _WORD.findall(_CURRENCY.sub(" ", f"{gold[: spans[0].start]} {gold[end:]}"))
    if not _APPROXIMATE.issuperset(words) or (unit and is_year(number)):
        return None
    is_amount = not (number.percent or _PLAIN_NUMBER.fullmatch(gold))
    return _Quantity(number, _currencies(gold), unit, is_amount)


def _unit_after(text: str, span: Span) -> tuple[str, int]:
    """Return the word after a number in the singular and its end: "yrs" -> "year"; "" for a currency."""
    word = _UNIT_WORD.match(text, span.end)
    if not word or _CURRENCY.fullmatch(word[1]):
        return "", span.end
    return _singular(word[1]), word.end()


def _singular(word: str) -> str:
    """Return a noun without the "s" of the plural, and a duration without abbreviation: "yrs" -> "year"."""
    singular = word.lower().removesuffix("s")
    return _DURATION_UNITS.get(singular, singular)


def _asks_for(unit: str, doc: TatqaDocument) -> bool:
    """Return whether the question names a unit: "year" in "In how many years ...?"."""
    return unit in map(_singular, _WORD.findall(str(doc.get("question") or "")))


def _currencies(text: str) -> frozenset[str]:
    """Return the currencies that a text names, each as its sign or as it is written."""
    return frozenset(
        _CURRENCY_SIGNS[match.lastindex - 1] if match.lastindex else match.group().lower()
        for match in _CURRENCY.finditer(text)
    )


def _states_quantity(gold: _Quantity, text: str, number: Number | None, doc: TatqaDocument) -> bool:
    """Return whether an answer is an amount or a duration, or states it and adds only how it came about.

    No other currency may be named, but the gold's may be left out. The unit may be left out if the question
    names it ("In how many years ...?"). An amount amid words that the question does not have ("$1.2 million
    (from $1.3 million to $2.5 million)") must have the gold's currency or unit, and the answer must commit to
    it, which `number` tells, and must not be about another year than the question.
    """
    plain = _plain(text[: _MAX_ANSWER + 1])
    if len(plain) > _MAX_ANSWER or not _currencies(plain) <= gold.currencies:
        return False
    neutral = _APPROXIMATE | (_AROUND_DURATION if gold.unit in _DURATIONS else frozenset())
    years, asked_years = set(_YEAR.findall(plain)), set(_YEAR.findall(str(doc.get("question") or "")))
    is_on_topic = ";" not in plain and not (years and asked_years and years.isdisjoint(asked_years))
    for span in islice(iter_numbers(plain), _MAX_NUMBERS):
        unit, end = _unit_after(plain, span)
        has_unit = bool(gold.unit) and unit == gold.unit
        rest = _CURRENCY.sub(" ", f"{plain[: span.start]} {plain[end if has_unit else span.end :]}")
        if _repeats_question(rest, doc, neutral):
            has_right_unit = has_unit or not gold.unit or _asks_for(gold.unit, doc)
            return has_right_unit and _is_same_amount(span.number, gold, doc)
        is_labeled = has_unit or (not gold.unit and _currencies(plain[span.start : span.end]))
        if number and abs(span.number.value) == abs(number.value) and is_labeled and is_on_topic:
            return _is_same_amount(number, gold, doc)
    return False


def _is_same_amount(pred: Number, gold: _Quantity, doc: TatqaDocument) -> bool:
    """Return whether a number has the gold's value, after rounding to two decimals in the gold's scale.

    A number without a scale is in the scale that the dataset or the question states, if there is one.
    """
    if pred.percent or (gold.number.unit not in ("", *CURRENCIES) and pred.unit != gold.number.unit):
        return False
    scale, written = gold.number.multiplier, round(gold.number.written, 2)
    if round(pred.value / scale, 2) == written:
        return True
    if pred.scaled or round(pred.written, 2) != written:
        return False
    return scale == (asked(str(doc.get("question") or "")).unit or TATQA_SCALES[doc["scale"]])


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


# ---- lists


def _is_list_of(golds: Sequence[str], text: str, doc: TatqaDocument) -> bool:
    """Return whether an answer has each gold item once, and besides only separators, labels and wording.

    The items are looked for in the answer, instead of splitting it: an item may contain "and" or a comma.
    Separators are ";", line breaks, commas, "and", "&", "/" and "|". An item may have its number in the list
    ("(1)"), its year ("2019: $3", "$3 in 2019") or words of the question ("deferred income" for "What are the
    types of deferred income?").
    """
    plain = ";".join(_plain(line.replace(_ITEM, "")) for line in text.split("\n"))
    marked, in_order = _mark_items(golds, plain, doc)
    if [int(number) for number in _LIST_NUMBER.findall(marked)] == [*range(1, len(golds) + 1)]:
        marked = _LIST_NUMBER.sub("", marked)
    are_years = all(map(_YEAR.fullmatch, golds))
    segments = _item_segments(marked, are_years=are_years)
    if len(in_order) != len(golds) or len(segments) != len(golds):
        return False
    neutral = _APPROXIMATE | {"and", "respectively"}
    labels = [_YEAR.findall(segment) for segment in segments]
    if all(len(label) == 1 for label in labels) and not are_years and all(map(_quantity, golds)):
        years = _years_in_table(golds, doc) or _years_in_question(golds, doc)
        labeled = sorted((gold, label[0]) for gold, label in zip(in_order, labels, strict=True))
        if years and labeled != sorted(zip(golds, years, strict=True)):
            return False
        neutral |= frozenset(years)
    return _repeats_question(_CURRENCY.sub(" ", marked), doc, neutral)


def _mark_items(golds: Sequence[str], text: str, doc: TatqaDocument) -> tuple[str, list[str]]:
    """Return a text with `_ITEM` for every gold item that it has, and these items in the order of the text.

    Each gold item is found once. Those that are text come before numbers, since they may contain some, and
    long ones before short ones: "non-current" contains "current".
    """
    quantities = {gold: _quantity(gold) for gold in golds}
    named = [quantity.currencies for quantity in quantities.values() if quantity and quantity.is_amount]
    if named and not _currencies(text) <= frozenset().union(*named):
        return text, []
    found = []
    for gold in sorted(golds, key=lambda gold: (quantities[gold] is not None, -len(gold))):
        start, end = _find_item(gold, quantities[gold], text, doc)
        if end:
            found.append((start, gold))
            text = f"{text[:start]}{_ITEM * (end - start)}{text[end:]}"
    return _ITEMS.sub(_ITEM, text), [gold for _, gold in sorted(found)]


def _find_item(gold: str, quantity: _Quantity | None, text: str, doc: TatqaDocument) -> tuple[int, int]:
    """Return the start and end of a gold item in a text; (0, 0) if it is not there."""
    if quantity is None:
        item = re.escape(gold.strip(" .,:;\"'“”‘’")).replace(r"\$", r"\$?")
        span = re.search(rf"(?<![\w-]){item}(?!\w|-\w)", text) if item else None
        return span.span() if span else (0, 0)
    for number in islice(iter_numbers(text), _MAX_NUMBERS):
        unit, end = _unit_after(text, number)
        if not quantity.is_amount and _tatqa_number_match(number.number, gold, doc["scale"]):
            return number.start, number.end
        has_unit = not quantity.unit or unit == quantity.unit or _asks_for(quantity.unit, doc)
        if quantity.is_amount and has_unit and _is_same_amount(number.number, quantity, doc):
            return number.start, end if quantity.unit and unit == quantity.unit else number.end
    return 0, 0


def _item_segments(marked: str, *, are_years: bool) -> list[str]:
    """Return the parts of a list with one item each; an empty list if a part looks like another item.

    A line has an item. Parts without one may only be wording before the first item or after the last one of a
    line: a phrase ("In 2019 and 2018, ..."), or the start or end of a sentence that goes on next to the item
    ("Revenue and income were ..."). For "Which regions make up total sales?", "total sales" is an item in
    "total sales, Asia", but not in "total sales consist of Asia". Years next to a list of years are items.
    """
    segments = []
    for line in _LINE_END.split(marked):
        parts = _SEPARATOR.split(line)
        places = [place for place, part in enumerate(parts) if _ITEM in part]
        bare = [place for place, part in enumerate(parts) if _ITEM not in part and _WORD.search(part)]
        if not places and not bare:
            continue
        before = [parts[place] for place in bare if not places or place < places[0]]
        after = [parts[place] for place in bare if places and place > places[-1]]
        if not places or len(before) + len(after) < len(bare) or any(part.count(_ITEM) > 1 for part in parts):
            return []
        sentence_before = _WORD.search(parts[places[0]].partition(_ITEM)[0])
        sentence_after = _WORD.search(parts[places[-1]].partition(_ITEM)[2])
        phrase = _RESPECTIVELY if are_years else _PHRASE
        if before and not sentence_before and not phrase.match(before[0]):
            return []
        if after and not sentence_after and not phrase.match(after[0]):
            return []
        segments += [parts[place] for place in places]
    return segments


def _years_in_table(golds: Sequence[str], doc: TatqaDocument) -> list[str]:
    """Return the year of each gold number by the first table row that has them all; empty if none has.

    The dataset does not always name the numbers in the order of the years of its question.
    """
    rows = [line.split("|") for line in str(doc.get("table") or "").split("\n")]
    for place, row in enumerate(rows):
        numbers, columns = [parse_number(cell) for cell in row], []
        for gold in golds:
            matches = (
                column
                for column, number in enumerate(numbers)
                if column not in columns and _tatqa_number_match(number, gold, doc["scale"])
            )
            columns.append(next(matches, -1))
        for header in reversed(rows[:place]):
            years = [_YEAR.search(header[column]) for column in columns if 0 <= column < len(header)]
            if len(years) == len(golds) and all(years):
                return [year.group() for year in years if year]
    return []


def _years_in_question(golds: Sequence[str], doc: TatqaDocument) -> list[str]:
    """Return the years of the question, in its order, if there are as many as gold items."""
    years = list(dict.fromkeys(_YEAR.findall(str(doc.get("question") or ""))))
    return years if len(years) == len(golds) else []
