"""Read which option a chain of thought chooses: "So the answer is (B)." -> "B", "最終回答：３" -> "３"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mergekit_finance.scoring.japanese_text import AnswerSource
from mergekit_finance.scoring.markers import (
    MAX_STATEMENT,
    RETRACTED,
    Statement,
    answering_part,
    located_statements,
)
from mergekit_finance.scoring.text import first_sentence, nfkc, sentences, strip_decoration

# The model gives no answer or retracts it: "cannot be determined", "not enough", 不明, "3ではない".
NO_ANSWER = re.compile(
    r"^not\b|\b(?:cannot|can't|can not|could not|unable|unknown|undetermined|indeterminate|insufficient"
    r"|unclear|not (?:given|enough|possible|provided|available|clear|determinable))\b"
    r"|ではな|じゃな|ではありません|不明|无法|(?:わ|分)か(?:ら|りません)|できません|できない|求められ(?:ない|ません)|ありません",
    re.IGNORECASE,
)

# Text that may introduce a label: the "option " of "option B", the 選択肢 of 選択肢3, the 选项 of 选项3,
# the "(" of "(B)".
_INTRODUCTION = (
    r"(?:(?:the )?(?:option|choice|letter|number|statement)|選択肢[のは]?|选项|番号|肢|第(?=.肢|.番))?"
    r"[\s\"'「『(\[【{<]*"
)
_INTRODUCED = re.compile(_INTRODUCTION, re.IGNORECASE)
# A Japanese counter that may follow a label: the 番 of "3番です", the 肢 of "2肢が正しい". Not the 番 of
# "3番目の企業", where 3 is not a label.
_COUNTER = (
    r"^(?:\s?(?:番目?|肢)"
    r"(?=$|[\s.,、。)」』\]】*:(と・やかまも/~-]|です|でした|である|だ|が|に|を|のみ|とな|の(?:選択肢|記述|肢)))?"
)
# Text that may follow a label: the end ("B.", "3です"), a predicate ("3が正しい", "3と考える"), a reason ("B
# because"). Not a noun ("A company") or a unit.
_AFTER_LABEL = re.compile(
    r"\s*(?:$|[.,:;!?。、)」』\]】}>*\"(]|です|でした|である|だ(?!け)|が(?:正|適|最|該当|不適|誤っている|誤り)|とな|にな|と考|と思|と判断"
    r"|を(?:選|正解と|正答と)|に該当|のみ|だけ(?=が|です|$)|是最"
    r"|の?(?:選択肢|「)|の記述|[-–—](?=\s)|(?:because|since|as|for|which|due|is)\b)"
    r"|\s+(?:最も)?(?:不適切|適切|不適当|適当|正しい|誤っている)"
)
_CLOSERS = r"[\s\"'」』)\]】}]*"
# Text that joins two labels, so that neither is chosen: the " or " of "B or C", the と of 2と3, "/" of "A/B".
_JOINER = (
    rf"{_CLOSERS}[、,(]?\s?(?:and/or|or(?: else| maybe| possibly)?|and|または|又は|もしくは"
    r"|あるいは|ないし|それとも|および|及び|还是|或者?|[和与]|[かとや/,、・~〜&-])[\s\"'「『(\[【{]*"
)
# Words after a label that reject the option: "2は誤り、", "B is incorrect,", "(×)". Not "不適切" and
# "誤っているもの": some questions ask for the wrong statement.
_REJECTED = re.compile(
    rf"{_CLOSERS}[\s.:]*(?:は|が|も)?\s?[(\[]?\s?"
    r"(?:誤り(?![のをは]|がある|である?もの)|誤答|間違い|不正解|正しくな[いく](?!もの)|[×✗✕]"
    r"|(?:is )?(?:incorrect|wrong|false|not correct))"
    r"[^、,。;\n]{0,20}[、,。;\s)]*",
    re.IGNORECASE,
)
# A clause after a label that denies, doubts, asks or assumes: 2と思われがちだが, 3とは限らない, 3ならば.
_DOUBT = re.compile(
    r"がち|かもしれ|限ら|とは言え|とはいえ|考えにく|思え?な|誤りで(?:す|あ)|のは誤り|間違いで|では?な[いくか]|じゃな"
    r"|ありませ|なら|とす[るれ]|としたら|仮定|矛盾|(?:でしょう|だろう|です)か(?!ら)|(?:です|ます|だ|である|た)(?:が|けど|けれど)"
)
_CLAUSE = re.compile(r"[^。.、,:;(\n]{0,40}")
_SUPPOSED = re.compile(r"(?:もし|仮に|たとえ)[^。\n]{0,12}$")
# A single letter or digit that looks like a label but is not one of the options: "G.", "9です".
_UNKNOWN_LABEL = re.compile(r"[A-Z0-9](?:[\s.。、)]*$|です)")
# Words that open a conclusion, and が after a label, which singles it out: "選択肢3が不適切である",
# "3のみが適切である".
_CONCLUSION = re.compile(
    r"(?:したがって|従って|よって|(?:その|この|以上の|検討の)結果(?:から|より)?"
    r"|以上(?:より|から|のことから|の検討から)?|そのため|ゆえに|故に|このことから"
    r"|これらの?(?:こと)?から|結論として|結論は|結論|まとめると|综上所述|因此|therefore|thus|hence|so\b)[、,:\s]*|∴\s*",
    re.IGNORECASE,
)
_PICKS = re.compile(
    r"^(?:選択肢|肢|番号|記述)?[\s「(]*[^\s「(]{1,2}[\s」)]*番?"
    r"(?:(?:のみ|だけ)?が(?:最も)?(?:正し|適切|適当|不適|誤|該当)|を(?:選|正解|正答))"
)
# A reason before the conclusion of the same sentence: "課税されるため、選択肢2が適切です".
_REASON = re.compile(
    r"^[^。\n]{1,200}(?:ため|ので|ことから)[、,]\s?(?=選択肢|肢|[「(]?[^\s]{1,2}[」)]?番?[がを])"
)
_WRONG_ONE = re.compile(r"が(?:最も)?誤り(?:で(?:ある|す))?")
# The opening of a sentence that gives the reason for the choice before it: "3が不適切です。なぜなら、".
_GIVES_REASON = re.compile(r"なぜなら|なぜかと|というのも|(?:その|この)?理由|解説|根拠")
_WRONG_VERDICT, _RIGHT_VERDICT = r"(?:不適|誤)", r"(?:適切|適当|正し)"
# Without a marker, only this many sentences at the end are read.
_LAST_SENTENCES = 3
_KANJI_DIGITS = dict(zip("123456789", "一二三四五六七八九", strict=True))


class Choice(NamedTuple):
    """The label of an option, and what led to it: "marker", "fallback" (the conclusion) or "none"."""

    label: str | None
    source: AnswerSource


def final_choice(text: str, labels: Sequence[str]) -> str | None:
    """Return the label of the last marked answer, or None.

    The statement must start with the label, used as a label: "A company that ..." is not A; 3.5% and 3つ are
    not 3. Full-width, half-width and circled digits and kanji numerals are equivalent. A label before the
    word "correct" counts too: "３が正解", "(B) is correct".

    The result is None for "B or C", "3 is wrong" and a label outside `labels`; earlier answers are then not
    used.

    Args:
        text: the model's output.
        labels: the labels of the options as the prompt shows them, for example ["１", "２", "３", "４"].

    Returns:
        The label as written in `labels`: "最終回答：3" -> "３".
    """
    forms = _label_forms(labels)
    if not forms:
        return None
    form = _marked_form(answering_part(text), forms)
    return forms.get(form or "")


def committed_choice(text: str, labels: Sequence[str]) -> Choice:
    """Return the label of the last marked answer, or else the one with which the output concludes.

    A conclusion is one of the last sentences: "よって、3が不適切である", "選択肢3が誤り"; or the first or
    last line, if it is a label and nothing else. A marked answer that chooses no option is final.

    Args:
        text: the model's output.
        labels: as in `final_choice`.
    """
    forms = _label_forms(labels)
    body = answering_part(text)
    marked = _marked_form(body, forms) if forms else ""
    if marked is not None:
        return Choice(forms.get(marked), "marker") if marked in forms else Choice(None, "none")
    concluded = _concluding_form(body, forms)
    return Choice(forms[concluded], "fallback") if concluded else Choice(None, "none")


def _marked_form(body: str, forms: Mapping[str, str]) -> str | None:
    """Return the form of the label after the last marker, "" if it chooses none, or None without a marker."""
    statements = sorted([*located_statements(body), *_labels_before_verdict(body, forms)], key=lambda s: s[0])
    for _, statement in reversed(statements):
        if statement.denied:
            return ""
        form = _chosen_form(statement, forms)
        if form is not None:
            return form
        if NO_ANSWER.search(first_sentence(statement.text)):
            return ""
    return None


def _concluding_form(body: str, forms: Mapping[str, str]) -> str | None:
    """Return the form of the label with which an output without a marked answer concludes, or None."""
    last_sentences = [sentence for sentence, _ in sentences(body)[-_LAST_SENTENCES:]]
    if len(last_sentences) > 1 and _is_about_others(last_sentences[-1], forms):
        last_sentences.pop()
    for position, sentence in enumerate(reversed(last_sentences)):
        sentence = _REASON.sub("", sentence) if position == 0 else sentence
        conclusion = _CONCLUSION.match(sentence)
        picks = _PICKS.search(sentence) if position == 0 else None
        if not conclusion and not picks:
            continue
        if NO_ANSWER.search(sentence) or _SUPPOSED.search(sentence):
            return None
        verdict = _WRONG_ONE.sub("が不適切", sentence[conclusion.end() if conclusion else 0 :])
        form = _chosen_form(Statement(verdict), forms)
        if form is not None:
            return None if len(re.findall(rf"(?:{_any_of(forms)})[」)]?番?が", verdict)) > 1 else form or None
    reasoned = _reasoned_form(body, forms)
    if reasoned:
        return reasoned
    paragraphs = [paragraph.strip() for paragraph in body.split("\n\n") if paragraph.strip()]
    first_line, _, below = body.strip().partition("\n")
    lines = [Statement(strip_decoration(paragraph), whole=True) for paragraph in paragraphs[-1:]]
    for statement in [*lines, Statement(strip_decoration(first_line), whole=True, below=below)]:
        form = _chosen_form(statement, forms)
        if form:
            return form
    return None


def _reasoned_form(body: str, forms: Mapping[str, str]) -> str | None:
    """Return the form of the label that the first sentence singles out and the second one gives reasons for.

    "3が最も不適切です。なぜなら、..." chooses 3. A review of the options chooses none, because it singles out
    another label too, or gives another one the same verdict: "1が適切です。理由は...。2が不適切です。"
    """
    opening = [sentence for sentence, _ in sentences(body[:MAX_STATEMENT])[:2]]
    if len(opening) < 2 or not (_PICKS.search(opening[0]) and _GIVES_REASON.match(opening[1])):
        return None
    choice = _WRONG_ONE.sub("が不適切", opening[0])
    is_open = NO_ANSWER.search(choice) or _DOUBT.search(choice) or RETRACTED.search(body)
    form = _chosen_form(Statement(choice), forms)
    if is_open or not form:
        return None
    others = _any_of(other for other, label in forms.items() if label != forms[form])
    verdict = _WRONG_VERDICT if re.search(_WRONG_VERDICT, choice) else _RIGHT_VERDICT
    rival = re.compile(rf"(?<![0-9A-Za-z.])(?:{others})[」)]?番?(?:が|は(?:最も)?{verdict})")
    return None if rival.search(body) else form


def _is_about_others(sentence: str, forms: Mapping[str, str]) -> bool:
    """Return whether a sentence is about the other options: 他の選択肢は誤り, 1、2、3はいずれも不適切."""
    label = rf"(?:選択肢)?[「(]?(?:{_any_of(forms)})[」)]?"
    several = rf"{label}(?:(?:、|,|・|と|や|及び|および)\s?{label})+"
    others = r"(?:その)?(?:他|ほか|残り)の?(?:選択肢|記述|もの|肢)?"
    return bool(re.match(rf"(?:{several}|{others})は", sentence))


def _label_forms(labels: Sequence[str]) -> dict[str, str]:
    """Map each form of a label, in NFKC and upper case, to the label: {"3": "３", "三": "３"}."""
    forms = {nfkc(label).strip().upper(): label for label in labels if label.strip()}
    return {_KANJI_DIGITS[form]: label for form, label in forms.items() if form in _KANJI_DIGITS} | forms


def _any_of(forms: Iterable[str]) -> str:
    """Return a regular expression that matches any of the forms, longer ones first."""
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))


def _labels_before_verdict(body: str, forms: Iterable[str]) -> Iterator[tuple[int, Statement]]:
    """Yield position and statement of labels called correct: ３が正解です, "(B) is the correct answer".

    For two labels ("2と3が正解") the statement contains both, and `_chosen_form` then chooses neither.
    """
    label = _any_of(forms)
    pattern = re.compile(
        rf"(?<![0-9A-Za-zァ-ヶ一二三四五六七八九十第.])(?:[(「]?(?P<other>{label})[)」]?(?:\s?番)?\s?(?:と|や|か|・|/|、|,|または|or|and)"
        rf"\s?(?:選択肢)?)?[(「]?(?P<label>{label})[)」]?(?:\s?番)?"
        r"(?:\s?が(?:正解|正答|答え)(?!で(?:は|も)な|ではあり|とは)|\s+is (?:the )?(?:correct|right|best)\b)"
    )
    for match in pattern.finditer(body):
        is_supposed = _SUPPOSED.search(body, max(0, match.start() - 16), match.start())
        if is_supposed or _is_doubted(body, match.end()):
            continue
        both = f"{match['other']}と{match['label']}" if match["other"] else match["label"]
        yield match.start(), Statement(both)


def _chosen_form(statement: Statement, forms: Mapping[str, str]) -> str | None:
    """Return the form of the label at the start of a statement, after any options that the statement rejects.

    Returns:
        The form; "" if the label is rejected, joined to another, or not an option; None without a label.
    """
    text, is_rejected = statement.text, False
    label_pattern = re.compile(rf"({_any_of(forms)})(?![0-9A-Za-zァ-ヶ]|[.,][0-9]|%)", re.IGNORECASE)
    while True:
        introduction = _INTRODUCED.match(text)
        introduced_by = introduction.group() if introduction else ""
        unintroduced = text[len(introduced_by) :]
        match = label_pattern.match(unintroduced)
        if not match:
            return "" if is_rejected or _UNKNOWN_LABEL.match(unintroduced) else None
        rejection = _REJECTED.match(unintroduced, match.end())
        if not rejection:
            break
        text, is_rejected = unintroduced[rejection.end() :], True
    label, form = match[1], match[1].upper()
    after = re.sub(_COUNTER, "", unintroduced[match.end() :], count=1)
    if _is_joined(after, forms) or _is_doubted(after, 0) or _opens_a_list(statement, after, form, forms):
        return ""
    if statement.whole:
        return None if re.search(r"\w", after) else form
    # A bare lower-case letter is an article or a variable ("a company") unless it stands alone.
    if label.islower() and not introduced_by and re.search(r"\w", after):
        return None
    return form if _AFTER_LABEL.match(after) else None


def _is_joined(after: str, forms: Iterable[str]) -> bool:
    """Return whether a second label that is not rejected is joined to the first: 2番か3番, "B or C"."""
    other = re.match(rf"{_JOINER}{_INTRODUCTION}(?:{_any_of(forms)})(?![A-Za-z])", after, re.IGNORECASE)
    return bool(other and not _REJECTED.match(after, other.end()))


def _is_doubted(text: str, position: int) -> bool:
    """Return whether the clause at a position denies or doubts: 2と思われがちだが, 3とは限らない."""
    clause = _CLAUSE.match(text, position)
    return bool(clause and _DOUBT.search(clause.group()))


def _opens_a_list(statement: Statement, after: str, form: str, forms: Mapping[str, str]) -> bool:
    """Return whether the next label follows as the next list item: "1. 適切, 2. 不適切" chooses nothing."""
    labels = list(dict.fromkeys(forms.values()))
    position = labels.index(forms[form]) + 1
    if position == len(labels):
        return False
    following = _any_of(other for other, label in forms.items() if label == labels[position])
    in_line = re.search(rf"(?:[\s、,。.;)]|(?=\())\(?(?:{following})\s?[:.)]", after, re.IGNORECASE)
    if in_line:
        return True
    item_mark = r"(?:\s?[:.)、]|\s?$|\s(?:[-○×✓✗]|不?適切|正し|誤))"
    below = re.match(
        rf"\s*[-・*]?\s?\(?(?:{following})(?P<mark>{item_mark})(?P<text>[^\n]*)",
        statement.below,
        re.IGNORECASE | re.MULTILINE,
    )
    if not below:
        return False
    # Explanations of the other options may follow a label that is an answer: "正解：1\n2：誤り\n3：誤り".
    is_item = re.match(r"\s?[:.)、]\s*\w|\s*[-○×✓✗]|\s\w", after)
    return bool(is_item or not re.search(r"\w", below["mark"] + below["text"]))
