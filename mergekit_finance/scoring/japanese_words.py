"""Read the word that a Japanese sentence gives as its answer: a direction (増収, 悪化), or はい and いいえ.

A word counts only if the sentence asserts it: 増収か減収か, 増収ではない and 増収なら give no direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mergekit_finance.scoring.japanese_text import ENGLISH_FALL, ENGLISH_RISE, blank_asides

# An answer that equals no gold answer: it contradicts itself, as はい、一致しません, or is another word.
NO_MATCH = "no match"
# A marked text that only announces an answer or stands for one: 値, 処理中..., 計算過程:.
_PLACEHOLDER = re.compile(r"(?:値|処理|計算|結果|過程|以下|上記|下記|次|回答|答え|解答|最終).*")
# Characters of a marked answer in one word.
_MAX_WORD = 8
# Characters before the word with which a first line answers: the いいえ、 of "いいえ、減収です".
_MAX_LEAD = 4

_REFUSAL = re.compile(
    r"(?:算出|算定|計算|判断|判定|回答|特定|確認|断定|比較|お?答え(?:る)?こと)(?:が|は|を|することが|することは)?"
    r"(?:でき(?:ない|ません|かね)|出来(?:ない|ません)|不能|不可)"
    r"|不明|(?:わ|分)か(?:らない|りません)|情報が(?:不足|足り|ありま|な[いく])|cannot|unable|unknown",
    re.IGNORECASE,
)


class _Axis(NamedTuple):
    """Two opposite directions.

    Attributes:
        up, down: regular expressions of the words that assert them.
        subjects: nouns whose rise or fall means the direction: 売上高が増加 means 増収.
    """

    up: str
    down: str
    subjects: str = ""


_RISES = r"増加|増大|増え|上昇|伸び|上が(?=っ|り)|高ま"
_FALLS = r"減少|減(?=っ|り|る|じ)|低下|下落|下が(?=っ|り)|落ち|縮小"
_SALES = _Axis("増収", "減収", "売上|収益|収入")
_PROFIT = _Axis("増益", "減益", "利益|益")
_CHANGE = _Axis(rf"{_RISES}|(?i:{ENGLISH_RISE})", rf"{_FALLS}|(?i:{ENGLISH_FALL})")
_QUALITY = _Axis(
    r"改善|向上|好転|良化|良くな|(?i:\bimprov(?:e[sd]?|ing|ements?)\b(?!-))",
    r"悪化|劣化|悪くな|(?i:\b(?:worsen(?:s|ed|ing)?|deteriorat(?:e[sd]?|ing|ion))\b(?!-))",
)
_SURPLUS = _Axis("黒字", "赤字")
_EQUALITY = _Axis(
    "(?<!不)一致|合致|整合|符合|等し|同じ|同額|同値|同一|イコール",
    r"不一致|不整合|異な|違(?=っ|い|う)|相違|乖離|≠"
    r"|差異[がは](?:あ(?=る|り|っ)|生じ|認められ|見られ|(?=な[いし]))",
)
_EXCESS = _Axis("上回|超え|超過", "下回|未満")
_TRUTH = _Axis("正し|妥当", "誤り|誤って|間違")
# The direction that each gold word means.
_GOLD_WORDS = {
    "増収": (_SALES, 1), "減収": (_SALES, -1), "増益": (_PROFIT, 1), "減益": (_PROFIT, -1),
    "増加": (_CHANGE, 1), "減少": (_CHANGE, -1), "上昇": (_CHANGE, 1), "低下": (_CHANGE, -1),
    "下落": (_CHANGE, -1), "改善": (_QUALITY, 1), "悪化": (_QUALITY, -1),
    "黒字": (_SURPLUS, 1), "赤字": (_SURPLUS, -1), "上回る": (_EXCESS, 1), "下回る": (_EXCESS, -1),
    "一致": (_EQUALITY, 1), "不一致": (_EQUALITY, -1),
}  # fmt: skip
_GOLD_ENDING = re.compile(r"(?:し(?:た|ました|ている|ています)|する|です|である)?[。.]?$")
# Ratios that are better when they are higher.
_GOOD_RATIO = re.compile(r"利益率|自己資本比率|ROE|ROA|流動比率|回転率")

_BEFORE_YES_NO = r"(?:^|(?<=[\s「『\"'、。,:(は=>*→]))"
_EXPLICIT = re.compile(
    rf"(?P<no>いいえ|{_BEFORE_YES_NO}no(?![A-Za-z.]))"
    rf"|(?P<yes>{_BEFORE_YES_NO}(?:はい(?=$|[\s」』\"'、。,!).%とだでか/・]|または|又は|もしくは|あるいは)|yes\b))",
    re.IGNORECASE,
)
# What may come between a word and what follows it: した, しています, です, であり.
_ENDING = r"(?:さ?れ|し|た|て|い|る|ま|す|で|であ|と|な(?=[っりる])|り|っ)"
_ASKED = re.compile(
    rf"[」』]?(?:{_ENDING}){{0,8}}(?:の)?か(?!ら|つ|な|か)|[」』]?(?:し(?:た|ている))?(?:の)?(?:かどうか|か否か)"
)
_NEITHER = re.compile(r"(?:どちら|いずれ)(?:でも|とも|にも)")
_COMPOUND = re.compile(
    r"(?:すべき|率|額|幅|分|点|要因|の?有無)"
    r"|[^、。,]{0,6}(?:可能性|かもしれ|おそれ|恐れ|な[いく]とは?も?(?:言|い[えう]|限|断))"
)
_JOINED = re.compile(
    r"[」』]?(?:した|する|し)?[、,]?\s?(?:または|又は|もしくは|あるいは|or\b|/|・)", re.IGNORECASE
)
_NEGATED = re.compile(
    r"[^、。,]{0,10}?(?:な(?:い|く|かっ|し(?=$|[、。で])|けれ)|ません|ず(?=$|[、。に])|ぬ"
    r"|とは(?:言|い)え|とは限|否定|を(?:免れ|回避|防|避け))"
)
_REJECTED = re.compile(
    r"[」』]?[、,]?\s?(?:(?:で|じゃ)(?:は|も)?(?:な[いく]|ありま)|とは?も?(?:言|い)(?:え(?:な[いく]|ませ)|いがた|い難)|とは限)"
)
_CONDITION_AFTER = re.compile(r"[^、。,]{0,6}(?:なら|れば|場合|たら|と(?:する|仮定))")
_CONDITION_BEFORE = re.compile(r"(?:なら(?:ば)?|れば|場合(?:は|に|には)?)[、,]?[^、。,]{0,8}$")
# Text before an English word that is not asserted: "did not ", "no ", "whether it ". English negates, asks
# and assumes before the word, Japanese after it.
_ENGLISH_OPEN = re.compile(
    r"(?:\b(?:not|never|no|neither|without|whether|if|did|does|do|could|may|might)\b|n['’]t\b)[^.,;:]{0,40}$",
    re.IGNORECASE,
)
_NOUN = re.compile(
    r"(?:売上総|営業|経常|当期純|税引前|純)?利益率?|売上原価|売上(?=高?)|収益|収入|原価|費用|総資産|純資産|資産"
    r"|負債|資本比率|資本|比率|損失|キャッシュ"
)


def is_refusal(sentence: str) -> bool:
    """Return whether a sentence says that there is no answer: 算出できません, 不明."""
    return bool(_REFUSAL.search(sentence))


def is_other_word(sentence: str) -> bool:
    """Return whether a marked answer is one word of another kind, such as 増益 or 削減 for 増収か減収か.

    It is the answer that the model commits to, even if its reasoning says something else. The sentence must
    be one in which no answer was read.
    """
    word = re.sub(r"^値[は:%\s]*|(?:です|である)?[%。.\s]*$", "", sentence)
    is_mentioned = any(re.search(f"{axis.up}|{axis.down}", word) for axis in (_CHANGE, _QUALITY, _EQUALITY))
    return 0 < len(word) <= _MAX_WORD and not is_mentioned and not _PLACEHOLDER.fullmatch(word)


def gold_direction(gold: str) -> str | None:
    """Return the word of `_GOLD_WORDS` that a gold answer is, or None: 増加した -> 増加."""
    word = _GOLD_ENDING.sub("", gold.strip())
    return word if word in _GOLD_WORDS else None


def gold_yes_no(gold: str) -> str | None:
    """Return "yes", "no" or None."""
    return {"はい": "yes", "yes": "yes", "いいえ": "no", "no": "no"}.get(gold.strip().lower())


def sentence_direction(sentence: str, gold_word: str, question: str, *, whole: bool = False) -> str | None:
    """Return "up" or "down" if a sentence asserts a direction of the gold word's kind, else None.

    "売上高が増加したため、増収です" -> "up", "悪化ではなく改善した" -> "up". If the sentence names neither
    word, a rise or fall of the right item counts: 売上高は増加した is "up" for 増収. A sentence that only
    says はい or いいえ is NO_MATCH, because it names neither direction.

    Args:
        sentence: a sentence of the output.
        gold_word: the gold word, as `gold_direction` returns it.
        question: the question; it names the item that rises or falls.
        whole: accept only a sentence that starts with the word.
    """
    axis, _ = _GOLD_WORDS[gold_word]
    if _NEITHER.search(sentence):
        return None
    for text in (blank_asides(sentence), sentence):
        asserted = _asserted(text, axis, question) or _by_item(text, axis, question)
        if asserted and whole and asserted[0].start > _MAX_LEAD:
            return None
        if asserted:
            return "up" if asserted[-1].up else "down"
    return NO_MATCH if _EXPLICIT.search(sentence) else None


def direction_matches(direction: str | None, gold_word: str) -> bool:
    """Return whether a direction is that of the gold word."""
    return direction == ("up" if _GOLD_WORDS[gold_word][1] > 0 else "down")


def sentence_yes_no(sentence: str, question: str, *, whole: bool = False) -> str | None:
    """Return "yes" or "no" if a sentence answers a question such as 一致するか, else None.

    "いいえ、一致しません" -> "no", "一致する" -> "yes", "8,020と8,050は異なる" -> "no". The last はい or
    いいえ counts. If a later predicate contradicts it, as in "はい、一致しません", the answer is NO_MATCH.

    Args:
        sentence: a sentence of the output.
        question: the question; "異なるか" turns the meaning of 一致 around.
        whole: accept only a sentence that starts with the answer.
    """
    if _NEITHER.search(sentence):
        return None
    explicit = _explicit_answers(sentence)
    predicates = _predicates(sentence, question)
    if whole and min([e[0] for e in explicit] + [p[0] for p in predicates], default=0) > _MAX_LEAD:
        return None
    if explicit:
        position, answer = explicit[-1]
        later = [value for place, value in predicates if place > position]
        return NO_MATCH if later and later[-1] != answer else answer
    return predicates[-1][1] if predicates else None


# ---- はい and いいえ


def _explicit_answers(sentence: str) -> list[tuple[int, str]]:
    """Return the position and value of each はい, いいえ, yes and no that is not rejected or one of two."""
    answers, skip_next = [], False
    for match in _EXPLICIT.finditer(sentence):
        is_joined = bool(
            _JOINED.match(sentence, match.end()) or re.match("[」』]?か", sentence[match.end() :])
        )
        is_condition = _CONDITION_BEFORE.search(sentence, 0, match.start())
        if not (is_joined or skip_next or is_condition or _REJECTED.match(sentence, match.end())):
            answers.append((match.start(), "no" if match["no"] else "yes"))
        skip_next = is_joined
    return answers


def _predicates(sentence: str, question: str) -> list[tuple[int, str]]:
    """Return the position and value of each assertion that answers the question: 一致しない -> "no"."""
    axis = next(
        (a for a in (_EQUALITY, _EXCESS, _TRUTH) if re.search(f"{a.up}|{a.down}", question)), _EQUALITY
    )
    asks_down = bool(re.search(axis.down, question)) or bool(
        re.search(f"(?:{axis.up})(?:して)?し?な", question)
    )
    return [
        (word.start, "yes" if (word.up != word.negated) != asks_down else "no")
        for word in _words(sentence, axis)
    ]


# ---- asserted words


class _Word(NamedTuple):
    start: int
    up: bool
    negated: bool


def _words(sentence: str, axis: _Axis) -> Iterator[_Word]:
    """Yield the words of an axis that a sentence asserts or negates; not those that it asks or assumes.

    English words count only if all have one direction: which item rises or falls is not read from English.
    """
    skip_next = False
    matches = list(re.finditer(f"(?P<down>{axis.down})|(?P<up>{axis.up})", sentence))
    is_mixed = len({match["up"] is None for match in matches if match.group().isascii()}) > 1
    for match in matches:
        end = match.end()
        is_english = match.group().isascii()
        is_joined = bool(_JOINED.match(sentence, end))
        is_open = (
            is_joined
            or skip_next
            or (is_english and (is_mixed or _ENGLISH_OPEN.search(sentence, 0, match.start())))
            or _ASKED.match(sentence, end)
            or _COMPOUND.match(sentence, end)
            or _CONDITION_AFTER.match(sentence, end)
            or _CONDITION_BEFORE.search(sentence, 0, match.start())
        )
        if not is_open:
            yield _Word(match.start(), match["up"] is not None, bool(_NEGATED.match(sentence, end)))
        skip_next = is_joined


def _asserted(sentence: str, axis: _Axis, question: str) -> list[_Word]:
    """Return the words of an axis that a sentence asserts: those about the question's item, if there are any.

    増加 and 減少 about another item do not count; 増収 and 増益 name their item themselves.
    """
    words = [word for word in _words(sentence, axis) if not word.negated]
    items = [_nearest_item(sentence, word) for word in words]
    of_question = [w for w, item in zip(words, items, strict=True) if item and item in question]
    if of_question:
        return of_question
    return [w for w, item in zip(words, items, strict=True) if item is None or axis is not _CHANGE]


def _nearest_item(sentence: str, word: _Word) -> str | None:
    items = _NOUN.findall(sentence, max(0, word.start - 60), word.start)
    return items[-1] if items else None


def _by_item(sentence: str, axis: _Axis, question: str) -> list[_Word]:
    """Return the rises and falls of the item that the question is about: 売上高が増加 for 増収か減収か."""
    if axis is _CHANGE:
        return _by_named_item(sentence, question)
    words = [word for word in _words(sentence, _CHANGE) if not word.negated]
    if axis is _QUALITY:
        is_good = _GOOD_RATIO.search(question)
        return [w for w in words if is_good and (_nearest_item(sentence, w) or "") in question]
    if not axis.subjects:
        return []
    return [w for w in words if _is_subject(_nearest_item(sentence, w), axis, question)]


def _by_named_item(sentence: str, question: str) -> list[_Word]:
    """Return 増収 and 減収 if the question is about sales, 増益 and 減益 if it is about a profit."""
    named = (_NOUN.findall(question) or [""])[-1]
    axes = [_PROFIT] if named.endswith("利益") else [_SALES] if re.search("売上|収益", named) else []
    return [word for axis in axes for word in _words(sentence, axis) if not word.negated]


def _is_subject(item: str | None, axis: _Axis, question: str) -> bool:
    """Return whether an item is a subject of an axis, and the one that the question names if it names one."""
    if item is None or not re.fullmatch(f".*(?:{axis.subjects})", item):
        return False
    named = _NOUN.findall(question)
    return not named or item in named or item in ("利益", "収益")
