"""Find numbers that only say when, how long or which: "in 2018", "the third quarter of 2014", "Step 3".

Most financial questions name a year, and so does the sentence that answers them: "It was 5.2 in 2018."
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mergekit_finance.scoring.numbers import DATE_UNITS, Span

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = r"(?:19|20)[0-9]{2}"
# Words after which a year is a date: "in 2018", "fiscal year 2018", "ended 2018", "Q3 2018".
_BEFORE_YEAR = (
    r"(?:in|for|during|of|from|since|until|till|through|throughout|between|before|after|compared (?:to|with)"
    r"|prior to|as of|versus|vs\.?|fiscal|calendar|years?|fy|ended|ending|end|early|late|mid"
    rf"|q[1-4]|h[12]|quarter|half|{_MONTH})"
)
_PATTERNS = (
    # "December 31, 2018", "31 December 2018", "31 Dec", "12/31/2018", "2018-12-31", "2018/19".
    rf"\b{_MONTH}\s[0-9]{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s{_YEAR}\b)?",
    rf"\b[0-9]{{1,2}}(?:st|nd|rd|th)?(?:\sof)?\s{_MONTH}(?![a-z])(?:,?\s{_YEAR}\b)?",
    r"\b[0-9]{1,2}/[0-9]{1,2}/(?:[0-9]{4}|[0-9]{2})\b|\b(?:19|20)[0-9]{2}[-/][0-9]{1,2}(?:[-/][0-9]{1,2})?\b",
    # "2017-2018", "2016, 2017 and 2018", "between 2017 and 2018".
    rf"\b{_YEAR}(?:\s?(?:,|-|~|and|&|to|or|/|, and|through)\s?{_YEAR}\b)+(?![.,]?[0-9%])",
    # "in 2018", "(2018)", "2018's", "at the start of a clause: "2018: ", "In fiscal 2018,".
    rf"\b{_BEFORE_YEAR}\s{_YEAR}\b(?![.,]?[0-9]|\s?%)",
    rf"\({_YEAR}\)|\b{_YEAR}(?='s\b|:\s)|\b{_YEAR}[a-z]?\s(?=(?:fiscal|calendar|financial|annual|quarter|year|to\b))",
    r"\bfy\s?'?(?:[0-9]{4}|[0-9]{2})\b",
    rf"\bthe\s{_YEAR}(?=\s[a-z])",
    # "Year 2", "quarter 3", "step 3", "exhibit 1", "note 5", "(2)", "at t = 2".
    r"\b(?:years?|quarters?|months?|weeks?|days?|period|step|exhibit|table|note|page|figure|section|item|column|row"
    r"|line|question|part|option|scenario|case|phase|stage|level|tier|chapter|appendix|schedule|form|class|topic"
    r"|ifrs|ias|asc|sfas|asu|fas|type|no\.|number)\s#?[0-9]{1,4}(?![0-9.,]*[0-9%])",
    r"第?[0-9]{1,4}(?:年度?(?:末|間)?|四半期|月期?|日|期|か月|ヶ月|ヵ月)",
)  # fmt: skip
# "12 months", "a 5-year", "three-month", "90 days", "52 weeks".
_DURATIONS = r"\b[0-9]+(?:\.[0-9]+)?[\s-](?:years?|months?|quarters?|weeks?|days?|hours?)\b(?:['’]s?)?"
_PERIOD = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)
_DURATION = re.compile(_DURATIONS, re.IGNORECASE)
_ASKS_WHEN = re.compile(
    r"\b(?:which|what)\s(?:\w+\s){0,3}(?:year|quarter|month|date)s?\b|\bwhen\b"
    r"|何年|何月|何か月|何ヶ月|何日|期間|いつ",
    re.IGNORECASE,
)
# What follows "in years" where it names years and no unit: "in years two to three", "in months 1-6".
NAMED_BY_NUMBER = r"(?! \(?(?:[0-9]|(?:one|two|three|four|five|six|seven|eight|nine|ten)\b))"
_ASKS_YEAR = re.compile(r"\b(?:which|what) (?:fiscal |calendar |financial )?year\b|何年", re.IGNORECASE)
_ASKS_DURATION = re.compile(
    r"\bhow long\b"
    r"|\b(?:how many|number of|amount of)\s(?:\w+\s){0,2}"
    r"(?:years?|months?|days?|weeks?|quarters?|periods?|hours?|minutes?)\b"
    rf"|\bin (?:calendar |trading |business )?(?:years|months|weeks|days|hours)\b{NAMED_BY_NUMBER}"
    r"|\b(?:duration|payback|days['’]? (?:sales|of)|sales outstanding|cash conversion cycle"
    r"|time to maturity"
    r"|average (?:life|age|maturity))\b",
    re.IGNORECASE,
)


def asks_when(question: str) -> bool:
    """Return whether a question asks for a year or a date, in Japanese also for a duration."""
    return bool(_ASKS_WHEN.search(question))


def asks_year(question: str) -> bool:
    """Return whether a question asks for one year."""
    return bool(_ASKS_YEAR.search(question))


def without_periods(sentence: str, spans: Sequence[Span], question: str) -> list[Span]:
    """Return the numbers of a sentence that are neither dates nor durations nor references.

    Args:
        sentence: normalized text.
        spans: its numbers.
        question: if it asks when, dates and durations are answers and stay. If it asks how long, or for an
            amount in years or days, durations are.

    Returns:
        The numbers, in order; none if every number is a date.
    """
    if asks_when(question):
        return list(spans)
    patterns = (_PERIOD,) if _ASKS_DURATION.search(question) else (_PERIOD, _DURATION)
    periods = [match.span() for pattern in patterns for match in pattern.finditer(sentence)]
    return [
        span
        for span in spans
        if span.number.unit not in DATE_UNITS
        and not any(start < span.end and span.start < end for start, end in periods)
    ]
