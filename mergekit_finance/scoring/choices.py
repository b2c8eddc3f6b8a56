"""The label of the option that a chain of thought closes with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from mergekit_finance.scoring.numbers import nfkc
from mergekit_finance.scoring.statements import Statement, answering_part, first_sentence, located_statements

# The model takes its answer back, or says that it has none.
NO_ANSWER = re.compile(
    r"^not\b|\b(?:cannot|can't|can not|could not|unable|unknown|undetermined|indeterminate|insufficient"
    r"|unclear|not (?:given|enough|possible|provided|available|clear|determinable))\b"
    r"|ではな|じゃな|ではありません|不明|わから|分から|できません|できない|求められ(?:ない|ません)|ありません",
    re.IGNORECASE,
)

_WORD = (
    r"(?:(?:the )?(?:option|choice|letter|number|statement)|選択肢[のは]?|番号|肢|第(?=.肢|.番))?"
    r"[\s\"'「『(\[【{<]*"
)
_CHOICE_WORD = re.compile(_WORD, re.IGNORECASE)
_COUNTER = (
    r"^(?:\s?(?:番目?|肢)"
    r"(?=$|[\s.,、。)」』\]】*:(と・やかまも/~-]|です|でした|である|だ|が|に|を|のみ|とな|の(?:選択肢|記述|肢)))?"
)
_CHOICE_AFTER = re.compile(
    r"\s*(?:$|[.,:;!?。、)」』\]】}>*\"(]|です|でした|である|だ|が(?:正|適|最|該当|不適|誤っている)|とな|にな|と考|と思|と判断"
    r"|を(?:選|正解と|正答と)|に該当|のみ"
    r"|の?(?:選択肢|「)|の記述|[-–—](?=\s)|(?:because|since|as|for|which|due|is)\b)"
    r"|\s+(?:最も)?(?:不適切|適切|不適当|適当|正しい|誤っている)"
)
_CLOSED = r"[\s\"'」』)\]】}]*"
_JOINED = (
    rf"{_CLOSED}[、,(]?\s?(?:and/or|or(?: else| maybe| possibly)?|and|または|又は|もしくは"
    r"|あるいは|ないし|それとも|および|及び|[かとや/,、・~〜&-])[\s\"'「『(\[【{]*"
)
# What a rejected option is called; "不適切" and "誤っているもの" are what some questions ask for.
_REJECTED = re.compile(
    rf"{_CLOSED}[\s.:]*(?:は|が|も)?\s?[(\[]?\s?"
    r"(?:誤り(?![のをは]|がある|である?もの)|誤答|間違い|不正解|正しくな[いく](?!もの)|[×✗✕]"
    r"|(?:is )?(?:incorrect|wrong|false|not correct))"
    r"[^、,。;\n]{0,20}[、,。;\s)]*",
    re.IGNORECASE,
)
# The clause after a label takes it back, asks or only supposes.
_DOUBT = re.compile(
    r"がち|かもしれ|限ら|とは言え|とはいえ|考えにく|思え?な|誤りで(?:す|あ)|のは誤り|間違いで|では?な[いくか]|じゃな"
    r"|ありませ|なら|とす[るれ]|としたら|仮定|矛盾|でしょうか|だろうか|ですか|(?:です|ます|だ|である|た)(?:が|けど|けれど)"
)
_CLAUSE = re.compile(r"[^。.、,:;(\n]{0,40}")
_SUPPOSED = re.compile(r"(?:もし|仮に|たとえ)[^。\n]{0,12}$")
_STRAY_LABEL = re.compile(r"[A-Z0-9](?:[\s.。、)]*$|です)")
_KANJI = dict(zip("123456789", "一二三四五六七八九", strict=True))


def final_choice(text: str, labels: Sequence[str]) -> str | None:
    """The label (as given in `labels`) of the last marked answer, or None.

    Full and half width are one, circled digits and 三 too. The statement must open with the label as a label:
    "A company that" is no A, 3.5% and 3つ are no 3. "B or C" and "3 is wrong" are no choice, and final. Also
    read: ３が正解, "B is correct".
    """
    forms = _forms(labels)
    if not forms:
        return None
    body = answering_part(text)
    statements = sorted([*located_statements(body), *_verdicts(body, forms)], key=lambda found: found[0])
    for _, statement in reversed(statements):
        if statement.denied:
            return None
        verdict = _choice(statement, forms)
        if verdict is not None:
            return forms.get(verdict)
        if NO_ANSWER.search(first_sentence(statement.text)):
            return None
    return None


def _forms(labels: Sequence[str]) -> dict[str, str]:
    """Each way to write a label, folded, with the label as it was given."""
    forms = {nfkc(label).strip().upper(): label for label in labels if label.strip()}
    return {_KANJI[form]: label for form, label in forms.items() if form in _KANJI} | forms


def _any_of(forms: Iterable[str]) -> str:
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))


def _verdicts(body: str, forms: Iterable[str]) -> Iterator[tuple[int, Statement]]:
    """Labels that come before their verdict: ３が正解です, "(B) is the correct answer"; 2と3が正解 is two."""
    label = _any_of(forms)
    pattern = re.compile(
        rf"(?<![0-9A-Za-zァ-ヶ一二三四五六七八九十第.])(?:[(「]?(?P<other>{label})[)」]?(?:\s?番)?\s?(?:と|や|か|・|/|、|,|または|or|and)"
        rf"\s?(?:選択肢)?)?[(「]?(?P<label>{label})[)」]?(?:\s?番)?"
        r"(?:\s?が(?:正解|正答|答え)(?!で(?:は|も)な|ではあり|とは)|\s+is (?:the )?(?:correct|right|best)\b)"
    )
    for match in pattern.finditer(body):
        if _doubted(body, match.end()) or _SUPPOSED.search(body, max(0, match.start() - 16), match.start()):
            continue
        both = f"{match['other']}と{match['label']}" if match["other"] else match["label"]
        yield match.start(), Statement(both)


def _choice(statement: Statement, forms: Iterable[str]) -> str | None:
    """The label that a statement opens with; "" where that is rejected, not alone or no option; or None."""
    text, rejected = statement.text, False
    while True:
        opening = _CHOICE_WORD.match(text)
        rest = text[opening.end() :]
        match = re.match(rf"({_any_of(forms)})(?![0-9A-Za-zァ-ヶ]|[.,][0-9]|%)", rest, re.IGNORECASE)
        if not match:
            return "" if rejected or _STRAY_LABEL.match(rest) else None
        rejection = _REJECTED.match(rest, match.end())
        if not rejection:
            break
        text, rejected = rest[rejection.end() :], True
    after = re.sub(_COUNTER, "", rest[match.end() :], count=1)
    if (
        _joined(after, forms)
        or _doubted(after, 0)
        or _opens_a_list(statement, after, match[1].upper(), forms)
    ):
        return ""
    is_label = _is_whole(after) if statement.whole else _is_label(match[1], after, bool(opening.group()))
    return match[1].upper() if is_label else None


def _joined(after: str, forms: Iterable[str]) -> bool:
    """Whether another label, which is not rejected, is joined to the first: 2番か3番."""
    other = re.match(rf"{_JOINED}{_WORD}(?:{_any_of(forms)})(?![A-Za-z])", after, re.IGNORECASE)
    return bool(other and not _REJECTED.match(after, other.end()))


def _doubted(text: str, position: int) -> bool:
    """Whether the clause there denies, doubts or supposes: 2と思われがちだが, 3であるとは限らない."""
    return bool(_DOUBT.search(_CLAUSE.match(text, position).group()))


def _opens_a_list(statement: Statement, after: str, label: str, forms: dict[str, str]) -> bool:
    """Whether the next label follows as a label, in the line or below it: 1. 適切, 2. 不適切 is no choice."""
    labels = list(dict.fromkeys(forms.values()))
    position = labels.index(forms[label]) + 1
    if position == len(labels):
        return False
    following = _any_of(form for form, given in forms.items() if given == labels[position])
    inline = re.search(rf"(?:[\s、,。.;)]|(?=\())\(?(?:{following})\s?[:.)]", after, re.IGNORECASE)
    mark = r"(?:\s?[:.)、]|\s?$|\s(?:[-○×✓✗]|不?適切|正し|誤))"
    below = re.match(rf"\s*[-・*]?\s?\(?(?:{following}){mark}", statement.below, re.IGNORECASE | re.MULTILINE)
    return bool(inline or below)


def _is_whole(after: str) -> bool:
    return not re.search(r"\w", after)


def _is_label(label: str, after: str, introduced: bool) -> bool:
    """Followed by an end and not by a noun or a counter; a bare small letter ("a company") stands alone."""
    if label.islower() and not introduced and re.search(r"\w", after):
        return False
    return bool(_CHOICE_AFTER.match(after))
