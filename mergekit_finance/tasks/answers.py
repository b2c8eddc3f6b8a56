"""Taking the answer out of what a model wrote.

A chain of thought is full of numbers and letters; only a *marked* answer counts ("The answer is", "Answer:",
"####", \\boxed{}, 最終回答：, 答えは ...), and only before the model starts a question of its own. Text
without a marked answer has no answer: a number that happens to be right earns nothing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mergekit_finance.tasks.numbers import DATE_UNITS, Number, Span, iter_numbers, nfkc, normalise

# What starts a new question: a recited shot, a chat turn, an end-of-text token. Matched on NFKC text.
# "Q3:" may be a quarter, so a numbered Q needs a question mark on its line.
_NEW_QUESTION = re.compile(
    r"\bQuestion\s?[0-9]{0,4}\s?:|(?:問題|質問|設問)\s?[0-9]{0,4}\s?[:】]"
    r"|^[ \t]*(?:[#*【\[]{1,6}[ \t]?)?(?:"
    r"(?:[Qq]uestion|Problem|Exercise|Example|Context|Passage|Input|Instruction|User|Human|Task)"
    r"[ \t]?[0-9]{0,4}[ \t]?[:】\]]|Question[ \t]+[0-9]{1,4}[.\n]"
    r"|[Qq]:|Q[0-9]{1,3}[:.](?=[^\n]{0,300}(?:\?|か。))"
    r"|(?:問|例題|例|ユーザー|入力|指示)[ \t]?[0-9]{0,4}[ \t]?[:】\].]|問[0-9]{1,4})"
    r"|<\|[a-z_]{1,30}\|>|</s>|<eos>|\[INST\]",
    re.MULTILINE,
)
_HEADING = re.compile(r"^[ \t]*###[ \t]+(.*)$", re.MULTILINE)
_OWN_HEADING = re.compile(
    r"[*_\s]*(?:[0-9]+[.)]?\s*)?(?:(?:the |final |my )?(?:answer|response|solution|step|calculation"
    r"|computation|explanation|reasoning|conclusion|result|summary|verification|analysis)"
    r"|最終|回答|解答|答|結論|計算|ステップ|手順|解説|説明|考え方|推論|まとめ|検算|分析)",
    re.IGNORECASE,
)


def cut_at_new_question(text: str) -> str:
    """The part before the model starts another question ("\\nQuestion:", 問題：, "### Instruction", a turn).

    A "### " heading counts as one unless it names a part of an answer (Step, Solution, 計算, ...) or opens
    the text. A restated question at the very start leaves nothing: what follows may answer anything.
    """
    match = _NEW_QUESTION.search(text)
    end = match.start() if match else len(text)
    for heading in _HEADING.finditer(text, 0, end):
        if heading.start() and not _OWN_HEADING.match(heading[1]):
            return text[: heading.start()]
    return text[:end]


_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s?\{")
_LATEX_SPACE = re.compile(r"\\(?:left|right|displaystyle|quad|,|;|!|:| )|\{,\}")


def clean_markup(text: str) -> str:
    """Normalised text without bold, code and LaTeX dressing: "**$1{,}234\\\\%$**" becomes "$1,234%$"."""
    text = _LATEX_SPACE.sub(lambda match: "," if match.group() == "{,}" else "", normalise(text))
    text = _LATEX_TEXT.sub("{", text).replace("\\%", "%").replace("\\$", "$").replace("\\approx", "≈")
    return text.replace("**", "").replace("__", "").replace("`", "").replace("\\(", " ").replace("\\)", " ")


_CLOSERS = r"[\s*_\"'」』】\])]{0,6}"
_MARKER = re.compile(
    r"(?P<boxed>\\boxed\s?\{)"
    r"|(?P<heading>^[ \t#*]{0,12}(?:final |the )?answer[ \t*]{0,8}$)"
    r"|(?P<hash>^[ \t]{0,8}\#{4}[ \t]{0,8}(?!\#))"
    r"|\b(?:answer|answer to (?:the|this) question|(?:correct|right|best) (?:option|choice))\b"
    rf"{_CLOSERS}(?:\((?:in|rounded)[^()\n]{{0,40}}\)\s?)?"
    r"(?:(?:is|was|(?:will|would|should) be|comes to|equals)\b:?|:|="
    r"|(?=(?:cannot|can't|can not|could not)\b))"
    r"|(?<![応問返誤不])(?:最終的?な?(?:回答|解答|答え|答)|正しい(?:答え|選択肢)|正解|正答|回答|解答|答え|答)"
    r"(?:[」』】\]*]{1,4}\s?(?:は|[:=])?|\s?(?:は、?|[:=]))"
    r"|(?P<ja_heading>^[ \t#*【]{0,12}(?:最終的?な?)?(?:回答|解答|答え|結論)[ \t*】]{0,8}$)",
    re.IGNORECASE | re.MULTILINE,
)
# Bounds the work on one statement; an answer that needs more characters than this is an essay.
_STATEMENT = 400
# Likewise on one output: of more markers than this, the last ones are looked at.
_MARKERS = 100
_DRESSING = " \t\n*_\"'“”‘’「」『』【】:=$~"


@dataclass(frozen=True)
class Statement:
    """What follows an answer marker, on one line; `whole` where it must be an answer and nothing else."""

    text: str
    whole: bool = False


def marked_statements(text: str) -> list[Statement]:
    """Statements after the answer markers of an output, in order, up to a new question; no empty ones."""
    body = cut_at_new_question(clean_markup(text))
    return [statement for _, statement in _statements(body)]


def _statements(body: str) -> Iterator[tuple[int, Statement]]:
    for match in deque(_MARKER.finditer(body), maxlen=_MARKERS):
        text = (_boxed(body, match.end()) if match["boxed"] else _line(body, match)).strip(_DRESSING)
        if re.search(r"\w", text):
            yield match.start(), Statement(text, whole=bool(match["boxed"] or match["hash"]))


def _boxed(text: str, start: int) -> str:
    """The braces' content; nothing where they never close, for the output was cut inside the answer."""
    depth = 1
    for position in range(start, min(len(text), start + _STATEMENT)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position].strip("{} ")
    return ""


def _line(text: str, match: re.Match[str]) -> str:
    """The rest of the marker's line, or the next line that has something on it; a box speaks for itself."""
    rest = text[match.end() : match.end() + _STATEMENT].partition("\\boxed")[0]
    return (rest if match["hash"] else rest.lstrip(_DRESSING)).partition("\n")[0]


# The model takes its answer back, or says that it has none.
_NO_ANSWER = re.compile(
    r"^not\b|\b(?:cannot|can't|can not|could not|unable|unknown|undetermined|indeterminate|insufficient"
    r"|unclear|not (?:given|enough|possible|provided|available|clear|determinable))\b"
    r"|ではな|じゃな|ではありません|不明|わから|分から|できません|できない|求められ(?:ない|ません)|ありません",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[。!?]|(?<![A-Z])(?<!approx)\.(?=\s|$)|\n")
_LEAD_IN = re.compile(
    r"(?:[\s*_\"'「『【~≈:=({\[]|approximately|approx\.?|about|around|roughly|nearly|exactly|simply"
    r"|約|およそ|おおよそ|ほぼ|(?-i:[A-Z]{3}\s)|an? (?:(?:increase|decrease|change|total) of)?)*",
    re.IGNORECASE,
)
_LINKED = re.compile(
    r"(?:\b(?:is|was|are|were|be|by|equals|equal to|gives|approximately|about|around)|[=≈:はが約])"
    r"[\s\"'「({]*$",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\s?(?:or|to|and|out of|または|もしくは|あるいは|から|か|[-~〜])\s?[-+$]?[0-9]", re.IGNORECASE
)
_TAIL = re.compile(
    r"[\s.,*_\"'」』】)}\]$。、]*(?:です|でした|である|だ|となります|となる|になります|になる|増|減|増加|減少)?"
    r"[\s.,*_\"'」』】)}\]$。、]*"
)


def final_number(text: str) -> Number | None:
    """The number of the last marked answer of a chain of thought, or None.

    Statements with no number in them ("the answer is correct") are passed over, so that a marker cut off by
    the token limit leaves an earlier complete answer standing; "cannot be determined" is final.
    """
    for statement in reversed(marked_statements(text)):
        sentence = _first_sentence(statement.text)
        if _NO_ANSWER.search(sentence):
            return None
        spans = list(iter_numbers(sentence))
        if spans and not _cut_short(sentence, spans[-1]):
            return _stated(sentence, spans, whole=statement.whole)
    return None


def direct_number(text: str) -> Number | None:
    """The number that a task without reasoning asked for: on the first line, as `direct_text` gives it.

    The line's own commitment: what follows its last "=", the number that it starts with, one linked by a
    verb, or the only number there. "between 5 and 10" and "from 100 to 120" commit to nothing.
    """
    line = direct_text(text)
    if line is None or _NO_ANSWER.search(line):
        return None
    sentence = _first_sentence(line[:_STATEMENT])
    spans = list(iter_numbers(sentence))
    if not spans:
        return None
    stated = _stated(sentence, spans, whole=False)
    return spans[0].number if stated is None and len(spans) == 1 else stated


_LABEL = re.compile(
    r"(?:(?:final |the )?answer|a|最終回答|回答|解答|答え|答)\s?(?::|は、?|\s?is\b:?)\s*", re.IGNORECASE
)


def direct_text(text: str) -> str | None:
    """First non-empty line before any new question, without markup and a leading "Answer:", or None."""
    body = cut_at_new_question(clean_markup(text)).lstrip(_DRESSING)
    label = _LABEL.match(body)
    line = (body[label.end() :] if label else body).lstrip(_DRESSING).split("\n", 1)[0]
    return line.strip(_DRESSING) or None


def _first_sentence(statement: str) -> str:
    match = _SENTENCE_END.search(statement)
    return statement[: match.start()] if match and match.start() else statement


def _cut_short(sentence: str, last: Span) -> bool:
    """Whether the output ended inside the number: "1," is 1,234 cut off by the token limit."""
    return len(sentence) - last.end == 1 and sentence.endswith(",")


def _stated(sentence: str, spans: Sequence[Span], *, whole: bool) -> Number | None:
    """The one number that a statement commits to, or None."""
    if whole:
        return _alone(sentence, spans)
    result = max(sentence.rfind("="), sentence.rfind("≈"))
    if result > 0:
        after = [span for span in spans if span.start > result]
        return _leading(sentence, after, result + 1)
    leading = _leading(sentence, spans, 0)
    return leading if leading else _linked(sentence, spans)


def _alone(sentence: str, spans: Sequence[Span]) -> Number | None:
    """After #### and inside \\boxed{}: the number and nothing else, for "#### Step 3" is a heading."""
    after_equals = max(sentence.rfind("="), sentence.rfind("≈")) + 1
    number = _leading(sentence, [span for span in spans if span.start >= after_equals], after_equals)
    last = spans[-1]
    return number if number is last.number and not re.search("[^\\W_]", sentence[last.end :]) else None


def _leading(sentence: str, spans: Sequence[Span], start: int) -> Number | None:
    """The number at the front of the statement, unless it opens a range or is the date of another."""
    if not spans or _RANGE.match(sentence, spans[0].end):
        return None
    if spans[0].number.unit in DATE_UNITS and len(spans) > 1:
        return None
    lead = _LEAD_IN.match(sentence, start)
    return spans[0].number if spans[0].start <= lead.end() else None


def _linked(sentence: str, spans: Sequence[Span]) -> Number | None:
    """The only number beside dates, when a verb or particle leads to it and the statement ends with it."""
    candidates = [span for span in spans if span.number.unit not in DATE_UNITS]
    if len(candidates) != 1:
        return None
    span = candidates[0]
    linked = _LINKED.search(sentence, max(0, span.start - 24), span.start)
    return span.number if linked and _TAIL.fullmatch(sentence, span.end) else None


_CHOICE_WORD = re.compile(
    r"(?:(?:the )?(?:option|choice|letter|number|statement)|選択肢|肢)?[\s\"'「『(\[【{<]*", re.IGNORECASE
)
_CHOICE_AFTER = re.compile(
    r"\s*(?:$|[.,:;!?。、)」』\]】}>*\"(]|です|でした|である|だ|番|が(?:正|適|最|該当)|とな|にな|と考|と思|と判断"
    r"|の?(?:選択肢|「)|[-–—](?=\s)|(?:because|since|as|for|which|due|is)\b)"
)
_ALTERNATIVE = (
    r"[\s\"'」』)\]】}]*(?:and/or|or|and|または|もしくは|あるいは|および|及び|[かとや/,、・~〜&-])"
    r"[\s\"'「『(\[【{]*"
)
_STRAY_LABEL = re.compile(r"[A-Z0-9](?:[\s.。、)]*$|です)")


def final_choice(text: str, labels: Sequence[str]) -> str | None:
    """The label (as given in `labels`) of the last marked answer, or None.

    Full and half width are one, circled digits too. The statement must open with the label as a label: "A
    company that" is no A, 3.5% and 3つ are no 3, "B or C" is no choice. Also read: ３が正解, "B is correct".
    """
    forms = {nfkc(label).strip().upper(): label for label in labels if label.strip()}
    if not forms:
        return None
    body = cut_at_new_question(clean_markup(text))
    statements = sorted([*_statements(body), *_verdicts(body, forms)], key=lambda found: found[0])
    for _, statement in reversed(statements):
        verdict = _choice(statement, forms)
        if verdict is not None:
            return forms.get(verdict)
        if _NO_ANSWER.search(_first_sentence(statement.text)):
            return None
    return None


def _any_of(forms: Iterable[str]) -> str:
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))


def _verdicts(body: str, forms: Iterable[str]) -> Iterator[tuple[int, Statement]]:
    """Labels that come before their verdict: ３が正解です, "(B) is the correct answer"."""
    pattern = re.compile(
        rf"(?<![0-9A-Za-zァ-ヶ.])[(「]?(?P<label>{_any_of(forms)})[)」]?(?:\s?番)?"
        r"(?:\s?が(?:正解|正答|答え)(?!で(?:は|も)な|ではあり|とは)|\s+is (?:the )?(?:correct|right|best)\b)"
    )
    for match in pattern.finditer(body):
        yield match.start(), Statement(match["label"])


def _choice(statement: Statement, forms: Iterable[str]) -> str | None:
    """The label that a statement opens with; "" where that is not on offer or not alone; or None."""
    opening = _CHOICE_WORD.match(statement.text)
    rest = statement.text[opening.end() :]
    match = re.match(rf"({_any_of(forms)})(?![0-9A-Za-zァ-ヶ]|[.,][0-9]|%)", rest, re.IGNORECASE)
    if not match:
        return "" if _STRAY_LABEL.match(rest) else None
    label, after = match[1], rest[match.end() :]
    if re.match(rf"{_ALTERNATIVE}(?:{_any_of(forms)})(?![A-Za-z])", after, re.IGNORECASE):
        return ""
    is_label = _is_whole(after) if statement.whole else _is_label(label, after, bool(opening.group()))
    return label.upper() if is_label else None


def _is_whole(after: str) -> bool:
    return not re.search(r"\w", after)


def _is_label(label: str, after: str, introduced: bool) -> bool:
    """Followed by an end and not by a noun or a counter; a bare small letter ("a company") stands alone."""
    if label.islower() and not introduced and re.search(r"\w", after):
        return False
    return bool(_CHOICE_AFTER.match(after))
