"""The statements that a model marked as its answer, cleaned of markup."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from mergekit_finance.scoring.cutting import cut_at_new_question, find_asked_anew
from mergekit_finance.scoring.numbers import normalise

_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s?\{(?:([^{}]{0,400})\})?")
_LATEX_SPACE = re.compile(r"\\(?:left|right|displaystyle|quad|,|;|!|:| )|\{,\}")
_LATEX_SIGNS = {"\\%": "%", "\\$": "$", "\\approx": "≈", "\\times": "×", "\\cdot": "×", "\\div": "÷"}
_LATEX_ARROW = re.compile(r"\\(?:long)?(?:right)?arrow\b|\\implies\b|\\to\b", re.IGNORECASE)
_DECIMAL = r"\s?(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s?"
# A fraction of plain numbers that is not part of something longer, as the one in 2\frac{3}{4} is.
_FRACTION = re.compile(rf"(?<![0-9}})])\\[dt]?frac\s?\{{{_DECIMAL}\}}\s?\{{{_DECIMAL}\}}(?![0-9])")
_TAG = re.compile(r"</?(?:b|i|u|em|strong|number|answer)>", re.IGNORECASE)
_DRESSING = " \t\n*_\"'“”‘’「」『』【】:=~"
# "$5$" is LaTeX, "$5" money.
_LATEX_MATH = re.compile(r"^\$\$?([^$\n]{1,200})\$\$?(?![0-9])")
_SENTENCE_END = re.compile(r"[。!?]|(?<![A-Z])(?<!approx)\.(?=\s|$)|\n")


def clean_markup(text: str) -> str:
    """Normalised text without bold, code and LaTeX dressing: "**$1{,}234\\\\%$**" becomes "$1,234%$"."""
    text = _TAG.sub("", _LATEX_ARROW.sub("→", normalise(text)))
    text = _LATEX_SPACE.sub(lambda match: "," if match.group() == "{,}" else "", text)
    text = _LATEX_TEXT.sub(_plain, text)
    for command, sign in _LATEX_SIGNS.items():
        text = text.replace(command, sign)
    text = _FRACTION.sub(_quotient, text)
    for dressing in ("**", "__", "`"):
        text = text.replace(dressing, "")
    return text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")


def _plain(match: re.Match[str]) -> str:
    """What \\text{...} holds, without a second space in front."""
    if match[1] is None:
        return "{"
    return match[1].lstrip() if match.string[match.start() - 1 : match.start()] == " " else match[1]


def _quotient(match: re.Match[str]) -> str:
    """The value of a fraction of two numbers, as digits."""
    divisor = float(match[2])
    return f"{float(match[1]) / divisor:.12g}" if divisor else match.group()


def undress(text: str) -> str:
    """Text without quotes, bold, math signs and the prompt's angle brackets around it: **<$12$>**."""
    text = _LATEX_MATH.sub(r"\1", text.lstrip(_DRESSING), count=1)
    text = _ANGLED.sub(r"\1", text.strip(_DRESSING), count=1)
    return text.lstrip(_DRESSING).rstrip(_DRESSING + "$")


_ANGLED = re.compile(r"^<([^<>|\n]{1,200})>")
_CLOSERS = r"[\s*_\"'」』】\])]{0,6}"
# What may stand between "answer" and its verb: "(in millions)", ", rounded to two decimals,".
_BETWEEN = (
    r"(?:\((?:in|rounded)[^()\n]{0,40}\)\s?|,\s?[^,.:;=\n]{1,60},\s"
    r"|(?:rounded|expressed|in|for|as|to)\s[^,.:;=\n]{1,50}?\s(?=is\b|was\b)|rounded\s[^,.:;=\n]{1,50}(?=:))?"
)
_JA_ASKED = r"(?:正しい|適切な|適当な|不適切な|不適当な|誤っている|間違っている|該当する)"
_MARKER = re.compile(
    r"(?P<boxed>\\boxed\s?\{)"
    r"|(?P<heading>^[ \t#*]{0,12}(?:final |the )?answer[ \t*]{0,8}$)"
    r"|(?P<hash>^[ \t]{0,8}\#{4}[ \t]{0,8}(?!\#))"
    r"|\b(?:answer|answer to (?:the|this) question|(?:correct|right|best) (?:option|choice))\b"
    rf"{_CLOSERS}{_BETWEEN}"
    r"(?:(?:is|was|(?:will|would|should) be|comes to|equals)\b:?|:|="
    r"|(?=(?:cannot|can't|can not|could not)\b))"
    r"|(?<![応問返誤不])(?:最終的?な?(?:回答|解答|答え|答)|正しい(?:答え|選択肢)|正解|正答|回答|解答|答え|答)"
    r"(?:[」』】\]*]{1,4}\s?(?:は|[:=])?|\s?(?:は、?|[:=]))"
    r"|最終回答[ \t](?=[0-9A-Za-z$¥(△▲-])"
    rf"|{_JA_ASKED}(?:の|もの|記述|選択肢|番号|答え)(?:は、?|[:=])"
    r"|(?P<ja_heading>^[ \t#*【]{0,12}(?:最終的?な?)?(?:回答|解答|答え|結論)[ \t*】]{0,8}$)",
    re.IGNORECASE | re.MULTILINE,
)
# The answer is announced to stand below.
_BELOW = re.compile(
    r"(?:以下|次|下記)の(?:通り|とおり|よう)(?:に?なります|である|です|だ)?[。:]?"
    r"|(?:as follows|the following|below)\s?[.:]",
    re.IGNORECASE,
)
# An operator at the very end: the output was cut inside an expression.
UNFINISHED = re.compile(r"[0-9%)]\s?(?:[-+×÷/]|\s\*)\s*$")
# The first of two is taken back in the same breath: "not 5 but 7", 5ではなく7.
_TAKEN_BACK = re.compile(
    r"(?:not\s(?=[^\s]{0,3}[0-9]|[A-Z]\b|option|choice)[^.;\n]{1,60}?,?\s(?:but|rather)(?: rather)?\s"
    r"|(?:[^。\n]{1,40}?(?:では|じゃ)なく(?:て)?[、,]?\s?)+)",
    re.IGNORECASE,
)
# Bounds the work on one statement; an answer that needs more characters than this is an essay.
STATEMENT = 400
# Likewise on one output: of more markers than this, the last ones are looked at.
_MARKERS = 100
# An answer in words is no longer than this, and what qualifies a marker stands this near before it.
_SHORT, _BEFORE = 40, 60


# What stands before a marker that asserts nothing: "if the answer is", "the wrong answer is".
_ANSWER = (
    r"(?:(?:the|my|our|this|an?) )?(?:(?:final|correct|right|best|true) )*"
    r"(?:(?:final )?answer is:?[ $]{0,3})?$"
)
_SUPPOSED = re.compile(
    r"(?:\b(?:if|whether|suppose|supposing|assume|assuming|imagine|unless)(?: that)?,? "
    r"|\b(?:wrong|incorrect|false|tempting|naive|intermediate|preliminary|initial|common|previous) )"
    rf"{_ANSWER}"
    r"|(?:もし|仮に|たとえ)[^。\n]{0,10}$|(?:誤った|間違った|誤りの)$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|\bdoubt)(?: (?:think|believe|mean|say|suggest|imply|conclude|true|the case|sure"
    rf"|certain))?(?: that)? {_ANSWER}",
    re.IGNORECASE,
)
# The model thinks again after its answer.
_RETRACTED = re.compile(
    r"[.!?,;\n][ \t\n]{0,4}(?:but |oh,? |no,? )?(?:wait\b|hmm|oops\b)"
    r"|[.!?\n][ \t\n]{0,4}(?:but |oh,? )?(?:no, |actually\b|correction\b|sorry\b|my mistake|on second thought"
    r"|let me (?:correct|redo|recalculate|reconsider))"
    r"|[。!?\n][ \t\n]{0,4}(?:いや|いいえ|待って|待てよ|訂正|間違え|やはり)",
    re.IGNORECASE,
)
_MUSES = re.compile(r"(?:let|we|i|to|first)\b", re.IGNORECASE)
_ASKS = re.compile(r"(?:でしょう|だろう|です|ます)か$")
# List marks at the start of a line: a bullet, or the number of an item.
_BULLET = re.compile(r"[ \t]{0,8}[-•・][ \t]{1,8}")
_NUMBERED = re.compile(r"\(?[0-9]{1,2}[.)][ \t]{1,8}(?=\S)")
_NUMBERED_NUMBER = re.compile(r"\(?[0-9]{1,2}[.)][ \t]{1,8}[-+$€£¥(△▲]{0,3}[0-9]")


@dataclass(frozen=True)
class Statement:
    """What follows an answer marker, on one line; `whole` where it must be an answer and nothing else.

    `denied` where the model asks, negates or takes it back; `numbered` and `bulleted` where the line is an
    item of a list; `below` is the text after the line.
    """

    text: str
    whole: bool = False
    denied: bool = False
    numbered: bool = False
    bulleted: bool = False
    below: str = ""

    @property
    def items(self) -> list[str]:
        """The items of a bulleted list, of which `text` is the first; else `text` alone."""
        return [self.text, *(bulleted(self.below) if self.bulleted else [])]


def bulleted(text: str) -> list[str]:
    """The items of the bulleted list that a text opens with."""
    lines = list(takewhile(_BULLET.match, text.split("\n")))
    return [undress(_BULLET.sub("", line, count=1)) for line in lines]


def marked_statements(text: str) -> list[Statement]:
    """Statements after the answer markers of an output, in order, up to a new question; no empty ones."""
    return [statement for _, statement in located_statements(answering_part(text))]


def answering_part(text: str) -> str:
    """The output without markup, up to a new question; after an answer, one without heading ends it too."""
    body = cut_at_new_question(clean_markup(text))
    ends = (_committed(body, match) for match in islice(_MARKER.finditer(body), _MARKERS))
    committed = next(filter(None, ends), 0)
    return body[: find_asked_anew(body, committed)] if committed else body


def _committed(body: str, match: re.Match[str]) -> int:
    """Where the answer after a marker begins; 0 where there is none, or too long a text to be one."""
    text = undress(body[match.end() : match.end() + STATEMENT].lstrip(_DRESSING).partition("\n")[0])
    short = len(first_sentence(text)) <= _SHORT and re.search(r"\w", text) and not _MUSES.match(text)
    return match.end() if short or re.search("[0-9]", text) else 0


def located_statements(body: str) -> Iterator[tuple[int, Statement]]:
    """Where each marker stands, and its statement. One cut off inside an expression is left out."""
    markers = deque(_MARKER.finditer(body), maxlen=_MARKERS)
    ends = [*(marker.start() for marker in markers), len(body)][1:]
    for match, end in zip(markers, ends, strict=True):
        before = body[max(0, match.start() - _BEFORE) : match.start()]
        statement = None if _SUPPOSED.search(before) else _statement(body, match)
        if statement:
            retracted = _DENIED.search(before) or _RETRACTED.search(body, match.end(), end)
            yield match.start(), replace(statement, denied=bool(retracted) or _asks(statement.text))


def _statement(body: str, match: re.Match[str]) -> Statement | None:
    """What stands after a marker, or None where that is nothing."""
    own_line, raw, below = (False, _boxed(body, match.end()), "") if match["boxed"] else _line(body, match)
    bullet = _BULLET.match(raw) if own_line else None
    raw = raw[bullet.end() :] if bullet else raw
    text = "" if UNFINISHED.search(first_sentence(raw)) else undress(raw)
    text = undress(text[_taken_back(text) :])
    if not re.search(r"\w", text):
        return None
    numbered = (_NUMBERED if own_line else _NUMBERED_NUMBER).match(text)
    whole = bool(match["boxed"] or match["hash"])
    return Statement(text, whole, numbered=bool(numbered), bulleted=bool(bullet), below=below)


def _asks(text: str) -> bool:
    """Whether the statement is a question: 5でしょうか。"""
    sentence = first_sentence(text)
    return text[len(sentence) : len(sentence) + 1] == "?" or bool(_ASKS.search(sentence))


def first_sentence(statement: str) -> str:
    """The statement up to its first full stop, question mark or line break."""
    match = _SENTENCE_END.search(statement)
    return statement[: match.start()] if match and match.start() else statement


def _taken_back(text: str) -> int:
    match = _TAKEN_BACK.match(text)
    return match.end() if match else 0


def _boxed(text: str, start: int) -> str:
    """The braces' content; nothing where they never close, for the output was cut inside the answer."""
    depth = 1
    for position in range(start, min(len(text), start + STATEMENT)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position].strip("{} ")
    return ""


def _line(text: str, match: re.Match[str]) -> tuple[bool, str, str]:
    """Whether the answer has a line of its own, that line, and what follows it; a box speaks for itself.

    The line is the rest of the marker's, or the next that has something on it.
    """
    rest = text[match.end() : match.end() + STATEMENT].partition("\\boxed")[0]
    if match["hash"]:
        return False, *rest.partition("\n")[::2]
    bare = rest.lstrip(_DRESSING)
    below = _BELOW.match(bare)
    bare = (bare[below.end() :] if below else bare).lstrip(_DRESSING)
    return "\n" in rest[: len(rest) - len(bare)], *bare.partition("\n")[::2]
