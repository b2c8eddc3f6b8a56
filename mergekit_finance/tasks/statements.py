"""The statements that a model marked as its answer, cleaned of markup."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from mergekit_finance.tasks.cutting import cut_at_new_question
from mergekit_finance.tasks.numbers import normalise

_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s?\{(?:([^{}]{0,400})\})?")
_LATEX_SPACE = re.compile(r"\\(?:left|right|displaystyle|quad|,|;|!|:| )|\{,\}")
_LATEX_SIGNS = {"\\%": "%", "\\$": "$", "\\approx": "≈", "\\times": "×", "\\cdot": "×", "\\div": "÷"}
_LATEX_ARROW = re.compile(r"\\(?:long)?(?:right)?arrow\b|\\implies\b|\\to\b", re.IGNORECASE)
_DECIMAL = r"\s?([0-9]{1,15}(?:\.[0-9]{1,15})?)\s?"
# A fraction of plain numbers that is not part of something longer, as the one in 2\frac{3}{4} is.
_FRACTION = re.compile(rf"(?<![0-9}})])\\[dt]?frac\s?\{{{_DECIMAL}\}}\s?\{{{_DECIMAL}\}}(?![0-9])")
_DRESSING = " \t\n*_\"'“”‘’「」『』【】:=~"
# "$5$" is LaTeX, "$5" money.
_LATEX_MATH = re.compile(r"^\$\$?([^$\n]{1,200})\$\$?(?![0-9])")
_SENTENCE_END = re.compile(r"[。!?]|(?<![A-Z])(?<!approx)\.(?=\s|$)|\n")


def clean_markup(text: str) -> str:
    """Normalised text without bold, code and LaTeX dressing: "**$1{,}234\\\\%$**" becomes "$1,234%$"."""
    text = _LATEX_ARROW.sub("→", normalise(text))
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
    r"|(?:rounded|expressed|in|for|as|to)\s[^,.:;=\n]{1,50}?\s(?=is\b|was\b))?"
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
_UNFINISHED = re.compile(r"[0-9%)]\s?(?:[-+×÷/]|\s\*)\s*$")
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


@dataclass(frozen=True)
class Statement:
    """What follows an answer marker, on one line; `whole` where it must be an answer and nothing else."""

    text: str
    whole: bool = False


def marked_statements(text: str) -> list[Statement]:
    """Statements after the answer markers of an output, in order, up to a new question; no empty ones."""
    return [statement for _, statement in located_statements(answering_part(text))]


def answering_part(text: str) -> str:
    """The output without markup, up to a new question."""
    return cut_at_new_question(clean_markup(text))


def located_statements(body: str) -> Iterator[tuple[int, Statement]]:
    """Where each marker stands, and its statement. One cut off inside an expression is left out."""
    for match in deque(_MARKER.finditer(body), maxlen=_MARKERS):
        raw = _boxed(body, match.end()) if match["boxed"] else _line(body, match)
        text = "" if _UNFINISHED.search(first_sentence(raw)) else undress(raw)
        text = undress(text[_taken_back(text) :])
        if re.search(r"\w", text):
            yield match.start(), Statement(text, whole=bool(match["boxed"] or match["hash"]))


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


def _line(text: str, match: re.Match[str]) -> str:
    """The rest of the marker's line, or the next line that has something on it; a box speaks for itself."""
    rest = text[match.end() : match.end() + STATEMENT].partition("\\boxed")[0]
    if match["hash"]:
        return rest.partition("\n")[0]
    rest = rest.lstrip(_DRESSING)
    below = _BELOW.match(rest)
    return (rest[below.end() :] if below else rest).lstrip(_DRESSING).partition("\n")[0]
