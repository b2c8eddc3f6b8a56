"""Split Japanese outputs into the statements that may give the answer, the most binding one first.

`read_statements` is the order in which `japanese_answers` reads an output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from mergekit_finance.scoring.markers import MAX_STATEMENT, answering_part, located_statements
from mergekit_finance.scoring.new_question import cut_at_new_question
from mergekit_finance.scoring.text import clean_markup, normalize, strip_decoration

# Where an answer was read: after an answer marker, in the last sentences, or nowhere.
AnswerSource = Literal["marker", "fallback", "none"]

# Without a marker, only this many sentences at the end of an output are read.
_LAST_SENTENCES = 3
# Of the texts in bold, only this many at the end are read.
_LAST_BOLD = 20

# English words for a rise and a fall. Some models answer in English, because the prompt ends in "Answer:".
ENGLISH_RISE = r"\b(?:increas(?:e[sd]?|ing)|ris(?:e|es|en|ing)|rose|gr[eo]w(?:n|s|th|ing)?)\b(?!-)"
ENGLISH_FALL = (
    r"\b(?:decreas(?:e[sd]?|ing)|declin(?:e[sd]?|ing)|drop(?:s|ped|ping)?|f[ae]ll(?:s|en|ing)?)\b(?!-)"
)

# Old and Chinese forms of the characters in 増収, 減益, 悪化 and 好転.
_CHARACTER_FORMS = str.maketrans("增减收惡恶轉转", "増減収悪悪転転")
# Kanji numerals directly before a unit: 四億, 三百万円, 十二%. Not the 百 of 百万円, and not 四半期.
_KANJI_NUMERAL = re.compile(
    r"(?<![0-9０-９一二三四五六七八九十百千第])(?=[百千]*[一二三四五六七八九十])"
    r"(?:([一二三四五六七八九十百千]+)(?:[・．]([一二三四五六七八九〇零]+))?(?=[万億兆円%％倍]|パーセント|ポイント)"
    r"|((?=[一二三四五六七八九]?[十百千])[一二三四五六七八九十百千]{2,})(?=[個本人枚冊匹頭台回分秒時間日点歳杯着足束箱袋]|ページ|メートル|キロ))"
)
_KANJI_VALUES = {digit: value for value, digit in enumerate("一二三四五六七八九", 1)}
_KANJI_UNITS = {"十": 10, "百": 100, "千": 1000}
# A katakana long-vowel mark before a digit that is used as a minus sign, as in "ー4.2%".
_LONG_VOWEL_MINUS = re.compile(r"(?<![ァ-ヶーぁ-んA-Za-z一-龥])[ー―](?=\s?[0-9０-９])")
_SIGN_BEFORE_ABOUT = re.compile(r"([△▲−－-])\s?約\s?(?=[0-9０-９])")
_DOUBLE_MINUS = re.compile(r"[-−－△▲]\s?[(（]\s?[-−－△▲]\s?(?=[0-9０-９])")
_UNIT_NOTE = re.compile(r"[(（]\s?単位\s?[:：]\s?([千百万億兆円%]{1,4})\s?[)）]")
_SENTENCE_END = re.compile(r"[。!?\n]+|\.{2,}|…+|(?<![0-9])\.(?=\s|$)")
# A line that asks a question; a line that is an answer in a few words, or a number with its unit.
_ASKS = re.compile(r"(?:か。?|\?)\s*$")
_SHORT_ANSWER = re.compile(r"(?:[^。\n]{1,12}|(?=[^\n]*[0-9])[^。\n]{1,40})。?")
# The line after a first line that takes it back: いや、違います。
_WITHDRAWS = re.compile(
    r"\n\s{0,4}(?:いや[、。]|(?:いいえ、)?違い?ます|待って|訂正|間違え|すみません|失礼し|(?:これ|それ|上記|この回答)は(?:誤|間違))"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
# A remark after the conclusion, which often gives a figure for comparison: なお、IFRSでは5%である. Not one
# that corrects the conclusion.
_REMARK = re.compile(
    r"(?!.*(?:訂正|誤り|間違|正しく|正しい|正確))"
    r"(?:なお|尚|ただし|但し|ちなみに|参考|※|\(?注(?=[0-9):]|記|釈)"
    r"|(?:note|for (?:comparison|reference)|(?:by|in) contrast)\b)",
    re.IGNORECASE,
)
_NUMBERED_ITEM = re.compile(r"\(?[0-9]{1,2}[.)]\s+")
_ASIDE = re.compile(
    r"\((?!(?:増加?|減少?|上昇|低下|下落|改善|悪化|損失|赤字)\))(?![0-9.,\s△▲-]*\))(?!\s?[千百万億兆円%]{1,4}\s?\))[^()]*(?:\)|$)"
)


class CandidateSentence(NamedTuple):
    """A sentence that may give the answer.

    Attributes:
        text: the sentence without decoration.
        source: where it comes from.
        whole: the sentence must be an answer and nothing else.
        denied: the model retracts the statement or asks it as a question.
    """

    text: str
    source: AnswerSource
    whole: bool = False
    denied: bool = False


def read_statements(text: str, *, reasoning: bool) -> Iterator[CandidateSentence]:
    """Yield the sentences of an output in the order in which an answer is looked for.

    First the statements after answer markers, the last one first, each from its first sentence on. Then the
    first line, if the prompt asks for the answer at once; then texts in bold, the last one first. The first
    line and bold text must be an answer and nothing else. Then the last sentences of the output, the last one
    first, those that are remarks (なお、…) after all others.

    Args:
        text: the model's output.
        reasoning: whether the prompt asks for reasoning, so that the first line is not the answer.
    """
    folded = fold(text)
    body = answering_part(folded if reasoning else _before_next_question(folded))
    for _, statement in reversed(list(located_statements(body))):
        for sentence in split_sentences(statement.text) or [""]:
            yield CandidateSentence(sentence, "marker", denied=statement.denied)
    first_line, line_break, below = body.strip().partition("\n")
    if not (reasoning or _WITHDRAWS.match(line_break + below)):
        first_line = strip_decoration(first_line[:MAX_STATEMENT])
        yield CandidateSentence((split_sentences(first_line) or [""])[0], "marker", whole=True)
    for bold in reversed(_BOLD.findall(cut_at_new_question(normalize(folded)))[-_LAST_BOLD:]):
        yield CandidateSentence(strip_decoration(clean_markup(bold)), "marker", whole=True)
    last_sentences = split_sentences(body)
    remarks = [sentence for sentence in last_sentences[-_LAST_SENTENCES:] if _REMARK.match(sentence)]
    conclusions = [sentence for sentence in last_sentences if not _REMARK.match(sentence)]
    for sentence in [*reversed(conclusions[-_LAST_SENTENCES:]), *reversed(remarks)]:
        yield CandidateSentence(sentence, "fallback")


def _before_next_question(text: str) -> str:
    """Return an output up to a line that asks another question, after a first line that is an answer."""
    lines = text.strip().split("\n")
    if _ASKS.search(lines[0]) or not _SHORT_ANSWER.fullmatch(lines[0].strip()):
        return text
    end = next((number for number, line in enumerate(lines) if _ASKS.search(line)), len(lines))
    return "\n".join(lines[:end])


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, without decoration and list numbers, cut at 400 characters."""
    sentences = (strip_decoration(part[-MAX_STATEMENT:]) for part in _SENTENCE_END.split(text))
    return [_NUMBERED_ITEM.sub("", sentence, count=1) for sentence in sentences if re.search(r"\w", sentence)]


def fold(text: str) -> str:
    """Return text with today's forms of characters, digits for kanji numerals, and "-" for a minus sign.

    "增收" -> "増収", "三百万円" -> "3百万円", "ー4.2%" -> "-4.2%", "(単位：百万円)" -> "(百万円)".
    """
    text = _LONG_VOWEL_MINUS.sub("-", text.translate(_CHARACTER_FORMS))
    text = _DOUBLE_MINUS.sub("+", _SIGN_BEFORE_ABOUT.sub(r"約\1", text))
    text = _UNIT_NOTE.sub(r"(\1)", text)
    return kanji_to_digits(text)


def kanji_to_digits(text: str) -> str:
    """Return text with digits for kanji numerals before a unit: 八十五本 -> 85本, 一・四% -> 1.4%."""
    return _KANJI_NUMERAL.sub(_digits, text)


def blank_asides(sentence: str) -> str:
    """Return a sentence with spaces for its remarks in parentheses: "5% (前期は4%)" -> "5%         ".

    Numbers in parentheses, which may be negative, and units such as (百万円) stay.
    """
    for _ in range(2):
        sentence = _ASIDE.sub(lambda aside: " " * len(aside.group()), sentence)
    return sentence


def _digits(numeral: re.Match[str]) -> str:
    decimals = "".join(str(_KANJI_VALUES.get(digit, 0)) for digit in numeral[2] or "")
    return f"{_kanji_value(numeral[1] or numeral[3])}{'.' * bool(decimals)}{decimals}"


def _kanji_value(numeral: str) -> int:
    """Return the value of a kanji numeral below 10,000: 二十三 -> 23."""
    total, digit = 0, 0
    for character in numeral:
        if character in _KANJI_UNITS:
            total, digit = total + (digit or 1) * _KANJI_UNITS[character], 0
        else:
            digit = _KANJI_VALUES[character]
    return total + digit
