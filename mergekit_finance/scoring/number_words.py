"""Write the number words of an answer as digits: "seven (7) years" -> "7 years", "three years" -> "3 years".

The digits in parentheses are no negative number: "five point four percent (5.4%)" -> "5.4%".

A number word counts only as an answer to a question for a count ("How many years ..."): "two" alone is as
often part of a remark ("these two figures").
"""

from __future__ import annotations

import re

_ONES = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_UNITS = {word: value for value, word in enumerate(f"{_ONES} seventeen eighteen nineteen".split(), 1)}
_TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_TEN, _UNIT = "|".join(_TENS), "|".join(sorted(_UNITS, key=len, reverse=True))
_BELOW_100 = rf"(?:(?:{_TEN})(?:[ -](?:{_UNIT}))?|{_UNIT})"
_WORD = rf"(?:{_BELOW_100} hundred(?: (?:and )?{_BELOW_100})?|{_BELOW_100})"
_NUMBER_WORD = re.compile(rf"\b{_WORD}\b(?!-)", re.IGNORECASE)
# A number word with the same number in digits: "seven (7)".
_REPEATED = re.compile(rf"\b({_WORD})\s?\(\s?([0-9]{{1,3}})\s?\)", re.IGNORECASE)
# Any other amount in words with the same amount in digits: "five point four percent (5.4%)", "one thousand
# two hundred dollars ($1,200)". It starts with a number word and ends with one, a scale or a unit.
_PART = rf"(?:{_WORD}|zero|thousand|million|billion)"
_AMOUNT_IN_WORDS = re.compile(
    rf"\b(?!{_WORD}\s?\(\s?(?:[0-9]{{1,3}}|(?:19|20)[0-9]{{2}})\s?\))"  # "one (2018)" is a count and a year
    rf"(?:{_WORD}|zero)(?:[ -](?:and |point )?{_PART}){{0,8}}"
    r"(?: (?:percent|per cent|percentage points|dollars|euros|yen))?\s?"
    r"\(\s?([$€£]?[0-9][0-9.,]{0,18}(?: (?:thousand|million|billion))?\s?%?)\s?\)",
    re.IGNORECASE,
)
# The noun that a question counts: "years" of "How many years", "shares" of "the number of shares".
_COUNTED = re.compile(
    r"\b(?:how many|number of)\s(?:(?:full|whole|more|different|total|additional|such)\s)?([a-z]+)",
    re.IGNORECASE,
)
_AROUND = r"[\s.,:;!*_\"'()$]*"
# A number word at the start, with an explanation after it: "Only one: 2018", "Two, 2018 and 2019".
_EXPLAINED = re.compile(
    rf"([\s*_\"'(]{{0,6}}(?:(?:only|just|exactly)\s)?)({_WORD})(?=[*_]{{0,3}}(?:\s[a-z]+){{0,2}}\s?(?:[:,;(]|-\s))",
    re.IGNORECASE,
)


def with_digits(sentence: str, question: str) -> str:
    """Return a sentence with digits for the number words that answer the question.

    Args:
        sentence: one sentence of normalized text.
        question: "How many years ...?" makes digits of "three years" and of "three" alone. Without a question
            for a count only "seven (7)" changes.
    """
    sentence = _AMOUNT_IN_WORDS.sub(r"\1", _REPEATED.sub(_without_repetition, sentence))
    counted = _COUNTED.search(question)
    if not counted:
        return sentence
    noun = re.escape(counted[1][: max(3, len(counted[1]) - 1)])
    alone = re.fullmatch(rf"{_AROUND}({_WORD})(?:\s[a-z]+)?{_AROUND}", sentence, re.IGNORECASE)
    if alone:
        return sentence[: alone.start(1)] + _digits(alone[1]) + sentence[alone.end(1) :]
    explained = _EXPLAINED.match(sentence)
    if explained:  # the numbers of the explanation are not the count
        return explained[1] + _digits(explained[2])
    counted_word = re.compile(rf"{_NUMBER_WORD.pattern}(?=\s(?:more\s)?{noun})", re.IGNORECASE)
    return counted_word.sub(lambda word: _digits(word.group()), sentence)


def _without_repetition(match: re.Match[str]) -> str:
    return match[2] if _digits(match[1]) == match[2] else match.group()


def _digits(words: str) -> str:
    """Return the value of number words as digits: "thirty-five" -> "35"."""
    total = 0
    for word in re.split("[ -]", words.lower()):
        total = total * 100 if word == "hundred" else total + (_UNITS.get(word) or _TENS.get(word) or 0)
    return str(total)
