"""Read the number that a sentence commits to, where `stated_number` finds several that could be meant.

"Net revenue was $402 million in 2017, so the average of both years is $418.5 million." -> 418.5
"The rate was 21.45%, compared with 20.1% a year earlier." -> 21.45
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mergekit_finance.scoring.numbers import CURRENCIES, Number, Span, asks_percent, iter_numbers
from mergekit_finance.scoring.stated_number import NAMES, OPERATION, RESULT, has_two_unknowns, is_change
from mergekit_finance.scoring.text import normalize

# Words between a verb and its number: "about ", "equal to ", "an increase of ".
_HEDGES = (
    r"(?:[\s*_\"'「『(\[{≈=~:$]|approximately|approx\.?|about|around|roughly|nearly|exactly|just|only|an?\b"
    r"|the\b|equal|to\b|(?:net |total )?(?:increase|decrease|decline|total|loss|gain|profit|difference|change"
    r"|reduction|drop|rise|growth|value|ratio|rate)s? of|約|およそ|ほぼ){0,8}$"
)
# A verb or sign that commits to the number after it: "is ", "was about ", "= ", は.
_STRONG = re.compile(
    r"(?:\b(?:is|was|are|were|be|been|becomes?|equals?|equal to|equaled|equalled|totals?|totaled|totalled"
    r"|amount(?:s|ed)? to|comes? to|came to|gives?|yields?|results? in|reach(?:es|ed)?|stands? at|stood at"
    r"|obtain|get|increased by|decreased by|rose(?: by)?|fell(?: by)?|grew(?: by)?|declined by|dropped by"
    r"|changed by|(?:down|up) by|calculated as|estimated at|(?:total|sum|average)"
    r" of|answer|result|so|thus|therefore|hence|leaving|leaves|making)\b[:,]?|[=≈:]|は|が|=>|→)" + _HEDGES,
    re.IGNORECASE,
)
# A word that does so if no verb does: "of ", "by ", "so ". Not "followed by" and "that of", which compare.
_WEAK = re.compile(
    r"\b(?:(?<!that )(?<!those )of|(?<!followed )by|to|(?<!to )(?:has|have|had)"
    r"|therefore,?|hence,?|thus,?|so,?)\b" + _HEDGES,
    re.IGNORECASE,
)
# Words after which a sentence compares or explains: what stands before them is the answer.
_COMPARES = re.compile(
    r"[,;(]?\s?\b(?:compared (?:to|with|against)|versus|vs\.?|up from|down from|rather than|instead of"
    r"|because|since|whereas|while|given (?:that|the|a|an)|based on|assuming|using|where"
    r"|which (?:is|was) (?:higher|lower|more|less)|followed by|ahead of|exceed(?:s|ed)?|not|from"
    r"|excluding|including|than|out of"
    r"|with|in order to|so that|if|when"
    r"|for (?:a|an|the|each|every)(?! (?:net |grand |combined )?(?:total|sum|average|difference|change)\b)"
    r"|to (?:have|obtain|get|reach|achieve|maintain|cover|meet|break even))\b",
    re.IGNORECASE,
)
# A range, or an alternative between two numbers: "between 5 and 10", "5 to 10", "5 or 6", "5-10".
_RANGE_START = re.compile(r"\b(?:between|from|either)\s[^\w\s]{0,3}$", re.IGNORECASE)
_JOINED = re.compile(r"\s?(?:-|~|to|or|かまたは|または|か|から)\s?[^\w\s]{0,3}", re.IGNORECASE)
_AND = re.compile(r"\s(?:and|to)\s[^\w\s]{0,3}", re.IGNORECASE)
# The two values of a change: "from 2,422 to 2,304", "from $5 million in 2016 to $6 million". Not a range
# ("ranges from 5 to 10").
_CHANGE_START = re.compile(
    r"(?<!range )(?<!ranges )(?<!ranged )(?<!ranging )(?<!anywhere )\bfrom\s[^\w\s]{0,3}"
    r"(?:(?:about|around|approximately|roughly|nearly)\s)?[^\w\s]{0,3}$",
    re.IGNORECASE,
)
_CHANGE_MIDDLE = re.compile(
    r"[\s,]{0,2}(?:\([^()0-9]{0,20}\)\s?|(?:in|for|at|during|as of)\s[^.;:=]{1,40}?)?[\s,]{0,2}to\s"
    r"(?:(?:about|around|approximately|roughly|nearly)\s)?[^\w\s]{0,3}",
    re.IGNORECASE,
)
# What is computed from the numbers that follow it, and what stands between these: "the average of 9% and 3%".
_ARGUMENTS_START = re.compile(
    r"\b(?:average|mean|sum|total|product|difference|ratio) (?:of|between)\s[^\w\s]{0,3}$", re.IGNORECASE
)
_AND_NEXT = re.compile(r"(?:,|,?\sand)\s[^\w\s]{0,3}", re.IGNORECASE)
_END = re.compile(r"[\s.,*_\"'」』】)}\]$。、!|]*$")
# A number of which another is a share, or the left side of an equation: "20% of 80", "7 out of 10", "42 = x".
# Not "20% of 2020's revenue".
_SHARE = re.compile(
    r"\s?(?:out of|of)\s[$€£]?(?!(?:19|20)[0-9]{2}'s\b)[0-9]|\s?=\s?[A-Za-z]\b|\s?\\[dt]?frac", re.IGNORECASE
)
# What stands between a share and the number of which it is one: "37.5% of the total of 1,254".
_BASE = re.compile(r"\s?of\s(?:[a-z' ]{1,60}\s(?:of|,)\s?)?[^\w\s]{0,3}", re.IGNORECASE)
# An operator or function before its operand: "+ 20", "divided by 20", "sqrt(16".
_OPERATOR = re.compile(
    r"(?:[0-9%)]\s?[-+*/×÷^]|\b(?:divided by|multiplied by|times|plus|minus|less)|[a-z]\()\s?[$€£(]{0,2}$",
    re.IGNORECASE,
)
# A number that is a rate: "$15 each", "$11 per unit", "$5/share".
_RATE = re.compile(r"(?<!%)\s?(?:each\b|apiece\b|per\s(?!cent\b)\w|/\s?[a-z])", re.IGNORECASE)
# A currency, a unit of time and a rate per year in a question, and "per year" after a number.
_ASKED_CURRENCY = re.compile(
    r"\b(?:how many|in) (?:us |u\.s\. )?(dollars|euros?|yen|pounds)\b", re.IGNORECASE
)
_CURRENCY_UNITS = {"dollar": "$", "euro": "€", "yen": "円", "pound": "£"}
_ASKED_TIME = re.compile(r"\bhow many (year|month|week|day|hour|minute)s\b", re.IGNORECASE)
_ASKS_PER_YEAR = re.compile(
    r"\bannuali[sz]ed\b|\b(?:per|each) (?:year|annum)\b|\bannual (?:rate|return)", re.IGNORECASE
)
_PER_YEAR = re.compile(
    r"\s?(?:per (?:year|annum)|a year|each year|annually|annuali[sz]ed|p\.\s?a\b)", re.IGNORECASE
)
# The predicate of a Japanese sentence directly after its number and counter: 54,000円です, 285本になります.
_PREDICATE = re.compile(
    r"\s?(?:[個本人枚冊匹頭台回分秒時間点歳杯着足束箱袋円]|ページ|メートル|キロ|グラム)?"
    r"(?:です|でした|である|だ(?![けっ])|と?な(?:る|り)|に?な(?:る|り)|が?残[りる]|(?:が|を)?(?:売れ|求め))"
    r"|(?<=円)を?(?:支?払|かか[りるっ]|もら|受け取|使[いうっ]|稼[いぐ]|余[りる]|必要)"
)
# Words of at least four letters, which tell what a clause is about; words that set two clauses apart.
_WORD = re.compile(r"[a-z]{4,}")
_YEAR = re.compile(r"(?<![0-9.,$€£])(?:19|20)[0-9]{2}(?![0-9]|[.,][0-9])")
_PERIOD_WORDS = frozenset(
    "year years quarter quarters month months fiscal annual during after before".split()
)
_CONTRAST = re.compile(r"\b(?:while|whereas|and|but)\b", re.IGNORECASE)
# A condition at the start of a sentence: "If it was $640 million, the difference would be $118.5 million".
_CONDITION = re.compile(
    r"(?:(?:so|then|and|thus|therefore),? )?(?:if|had|assuming|supposing|with|given)\b", re.IGNORECASE
)
# Between a rounded value and the exact one: ", more exactly ", ", or approximately ".
_ROUNDS = re.compile(r"\b(?:exact(?:ly)?|precise(?:ly)?|approximately|about|roughly)\b", re.IGNORECASE)
_DECORATION = " *_\"'([{≈=~:$"
_LOOK_BACK = 60


def committed_number(
    sentence: str, spans: Sequence[Span], *, is_complete: bool, is_marked: bool, question: str = ""
) -> Number | None:
    """Return the number that a sentence commits to, or None.

    Args:
        sentence: one sentence of normalized text.
        spans: its numbers without dates, with their signs.
        is_complete: whether the sentence ends in a full stop or a line break, and was not cut off.
        is_marked: whether the sentence follows an answer marker. It then may commit to one number only.
        question: the question, which may tell several numbers apart.

    Returns:
        The last number that a verb or sign introduces, before any comparison; or else the only number. Of
        several numbers, the one whose clause names what the question asks for, or that the question does not
        give. None for a range or an expression, and for an incomplete sentence unless a verb introduces the
        number.
    """
    spans = _without_condition(sentence, spans, question)
    spans = _without_arguments(sentence, _without_changes(sentence, spans))
    signs = [sign for sign in RESULT.finditer(sentence) if sign.start()]
    is_ambiguous = signs and (has_two_unknowns(sentence, signs) or is_change(sentence, signs[0]))
    if is_ambiguous or _is_range(sentence, spans):
        return None
    share = None if signs else _asked_share(sentence, spans, question)
    if share:
        return share.number
    answers = [span for span in spans if not (_is_bound(sentence, span) or _is_operand(sentence, span))]
    if not answers:
        return None
    has_expression = len(answers) < sum(not _is_bound(sentence, span) for span in spans)
    asked_kind = _of_asked_kind(sentence, answers, question)
    amounts = [span for span in asked_kind if not _RATE.match(sentence, span.end)] or asked_kind
    if is_marked and not signs and not sentence[: amounts[0].start].strip(_DECORATION):
        return None if has_expression or len(_before_comparison(sentence, amounts)) > 1 else amounts[0].number
    predicates = [span for span in amounts if _PREDICATE.match(sentence, span.end)]
    if predicates and not is_marked:
        return predicates[-1].number
    for link in (_STRONG,) if has_expression or not is_complete else (_STRONG, _WEAK):
        introduced = [span for span in amounts if _follows(sentence, span, link)]
        linked = _before_comparison(sentence, introduced)
        if linked:
            subject = _of_subject(sentence, introduced, question)
            if subject:
                return subject.number
            return None if is_marked and len(linked) > 1 else linked[-1].number
    if has_expression:
        return None
    stated = _before_comparison(sentence, amounts)
    answer = stated[0] if len(stated) == 1 else _new_number(stated, question)
    return answer.number if answer and (is_complete or _END.match(sentence, answer.end)) else None


def _without_condition(sentence: str, spans: Sequence[Span], question: str) -> Sequence[Span]:
    """Return the numbers without those of a condition of the question, if others follow after its comma."""
    given_values = _given_values(question) if _CONDITION.match(sentence) else set()
    for comma in re.finditer(r",\s", sentence) if given_values else ():
        before = [span for span in spans if span.end <= comma.start()]
        if any(abs(span.number.value) in given_values for span in before):
            return spans[len(before) :] or spans
    return spans


def _without_changes(sentence: str, spans: Sequence[Span]) -> Sequence[Span]:
    """Return the numbers without those of "from 100 to 120", if others remain: how large the change is."""
    pairs = [
        {first.start, second.start}
        for first, second in zip(spans, spans[1:], strict=False)
        if _CHANGE_START.search(sentence, max(0, first.start - 32), first.start)
        and _CHANGE_MIDDLE.fullmatch(sentence, first.end, second.start)
    ]
    in_pairs = set().union(*pairs)
    return [span for span in spans if span.start not in in_pairs] or spans


def _without_arguments(sentence: str, spans: Sequence[Span]) -> Sequence[Span]:
    """Return the numbers without those of "the average of 9% and 3%", if others follow."""
    first = next(
        (
            n
            for n, span in enumerate(spans)
            if _ARGUMENTS_START.search(sentence, max(0, span.start - 40), span.start)
        ),
        None,
    )
    if first is None:
        return spans
    last = first
    while last + 1 < len(spans) and _AND_NEXT.fullmatch(sentence, spans[last].end, spans[last + 1].start):
        last += 1
    is_followed = first < last < len(spans) - 1
    return [*spans[:first], *spans[last + 1 :]] if is_followed else spans


def _asked_share(sentence: str, spans: Sequence[Span], question: str) -> Span | None:
    """Return the percentage of "37.5% of the total of 1,254", if the question asks for a percentage."""
    if not asks_percent(question) or len(spans) != 2 or not spans[0].number.percent:
        return None
    base = _BASE.fullmatch(sentence, spans[0].end, spans[1].start)
    return spans[0] if base and not spans[1].number.percent and _END.match(sentence, spans[1].end) else None


def _of_asked_kind(sentence: str, spans: Sequence[Span], question: str) -> Sequence[Span]:
    """Return the numbers of the kind that the question names, or all if it names none or no number is of it.

    A percentage is asked: money and scaled numbers are left out beside one. Euros or hours are asked: other
    currencies and units are. A rate per year is asked: so is what is not "per year".
    """
    kinds: list[list[Span]] = []
    if asks_percent(question) and any(span.number.percent for span in spans):
        kinds.append([s for s in spans if not (s.number.scaled or s.number.unit in CURRENCIES)])
    currency = _ASKED_CURRENCY.search(question)
    unit = _CURRENCY_UNITS[currency[1].lower().rstrip("s")] if currency else ""
    if any(span.number.unit == unit != "" for span in spans):
        kinds.append([span for span in spans if span.number.unit in ("", unit)])
    time = _ASKED_TIME.search(question)
    if time:
        kinds.append([s for s in spans if re.match(rf"[\s-]{time[1]}s?\b", sentence[s.end :], re.IGNORECASE)])
    if _ASKS_PER_YEAR.search(question):
        kinds.append([span for span in spans if _PER_YEAR.match(sentence, span.end)])
    for kind in kinds:
        spans = [span for span in spans if span in kind] or spans
    return spans


def _of_subject(sentence: str, spans: Sequence[Span], question: str) -> Span | None:
    """Return the number whose clause names the year of the question, or else has most words of it.

    "The Macaulay duration is 6.8, while the modified duration is 6.5" -> 6.5 for "the modified duration".
    """
    given_values = _given_values(question)
    spans = [span for span in spans if abs(span.number.value) not in given_values]
    if len(spans) < 2 or not _CONTRAST.search(sentence, spans[0].end, spans[-1].start):
        return None
    asked_words = set(_WORD.findall(question.lower())) - _PERIOD_WORDS
    starts = [0, *(span.end for span in spans)]
    clauses = [sentence[start : span.start] for start, span in zip(starts, spans, strict=False)]
    of_year = _of_year(clauses, question)
    if of_year is not None:
        return spans[of_year]
    counts = [len(asked_words.intersection(_WORD.findall(clause.lower()))) for clause in clauses]
    return spans[counts.index(max(counts))] if counts.count(max(counts)) == 1 else None


def _of_year(clauses: Sequence[str], question: str) -> int | None:
    """Return the position of the only clause with the only year of the question, if every clause has a year.

    "In 2020 it was 5.8 and in 2021 6.1" -> 1 for a question about 2021.
    """
    asked_years = set(_YEAR.findall(question))
    years = [_YEAR.findall(clause)[-1:] for clause in clauses]
    if len(asked_years) != 1 or not all(years) or years.count([*asked_years]) != 1:
        return None
    return years.index([*asked_years])


def _new_number(spans: Sequence[Span], question: str) -> Span | None:
    """Return the only number that the question does not give: "3 tickets cost 37.5" -> 37.5."""
    given_values = _given_values(question)
    new = [span for span in spans if abs(span.number.value) not in given_values]
    return new[0] if len(new) == 1 and len(new) < len(spans) else None


def _given_values(question: str) -> set[float]:
    return {abs(span.number.value) for span in iter_numbers(normalize(question))}


def _follows(sentence: str, span: Span, link: re.Pattern[str]) -> bool:
    return bool(link.search(sentence, max(0, span.start - _LOOK_BACK), span.start))


def _is_operand(sentence: str, span: Span) -> bool:
    """Return whether a number is part of an expression: "100 + 20", "20% of 80", "sqrt(16)", "42 = x"."""
    before = sentence[max(0, span.start - 16) : span.start]
    if re.search("[A-Za-z]$", before) and sentence.startswith("(", span.start):
        return True
    if OPERATION.match(sentence, span.end) or _SHARE.match(sentence, span.end):
        return True
    return bool(_OPERATOR.search(before))


def _is_bound(sentence: str, span: Span) -> bool:
    """Return whether a number is a bound or a reference: "less than 1", "at least 5", "see note 5"."""
    return bool(NAMES.search(sentence, max(0, span.start - 24), span.start))


def merged_restatements(sentence: str, spans: Sequence[Span]) -> list[Span]:
    """Return the numbers, with a value that is written twice as one: "0.0533 or 5.33%", "5.33% (0.0533)"."""
    merged: list[Span] = []
    for span in spans:
        if merged and _says_again(sentence, merged[-1], span):
            number = _more_precise(merged[-1].number, span.number)
            merged[-1] = replace(merged[-1], number=number, end=span.end)
            continue
        merged.append(span)
    return merged


def _says_again(sentence: str, first: Span, second: Span) -> bool:
    """Return whether the second number is the first in another form, at most a few words later."""
    between = sentence[first.end : second.start].strip("() ")
    if len(between) > 24 or re.search(r"[-+*/×÷=≈]", between):
        return False
    if not _is_restated(first.number, second.number):
        return False
    is_equal = first.number.value == second.number.value
    return is_equal or first.number.percent != second.number.percent or bool(_ROUNDS.search(between))


def _more_precise(first: Number, second: Number) -> Number:
    """Return the one with more digits, or else the first."""
    return second if second.significant > first.significant else first


def _is_restated(first: Number, second: Number) -> bool:
    """Return whether two numbers are one value, at the precision of the less precise: 0.0533 and 5.33%."""
    a, b = (number.value / (100 if number.percent else 1) for number in (first, second))
    step = max(n.step * n.multiplier / (100 if n.percent else 1) for n in (first, second))
    return abs(a - b) <= step / 2 * (1 + 1e-9) and (a != 0 or b == 0)


def _before_comparison(sentence: str, linked: Sequence[Span]) -> Sequence[Span]:
    """Return the numbers up to the first comparison that follows one of them."""
    for position, (span, following) in enumerate(zip(linked, linked[1:], strict=False)):
        if _COMPARES.search(sentence, span.end, following.start):
            return linked[: position + 1]
    return linked


def _is_range(sentence: str, spans: Sequence[Span]) -> bool:
    """Return whether two different numbers are joined as a range or an alternative."""
    return any(
        (_JOINED.fullmatch(sentence, first.end, second.start) and not OPERATION.match(sentence, second.end))
        or (
            _RANGE_START.search(sentence, max(0, first.start - 16), first.start)
            and _AND.fullmatch(sentence, first.end, second.start)
        )
        for first, second in zip(spans, spans[1:], strict=False)
    )
