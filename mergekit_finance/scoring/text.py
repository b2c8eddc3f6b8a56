"""Normalize model output before answers are read: character width, minus signs, Markdown and LaTeX."""

from __future__ import annotations

import re
import unicodedata

_NFKC_CHUNK = 1000
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_MINUS_SIGNS = str.maketrans("−‐‑‒–﹣", "------")
# A circled digit before a digit labels an item: "①12.3" becomes "①. 12.3", which NFKC turns into "1. 12.3".
_CIRCLED = re.compile(r"([①-⑳⑴-⒇❶-❿])\s?(?=[0-9０-９])")

# Characters around an answer that are not part of it: quotes, brackets, Markdown emphasis, "=", ":".
DECORATION = " \t\n*_\"'“”‘’「」『』【】:=~"
_ANGLED = re.compile(r"^<([^<>|\n]{1,200})>")
# "$5$" is a LaTeX formula, whose dollar signs are removed; "$5" is money and keeps its dollar sign.
_LATEX_MATH = re.compile(r"^\$\$?([^$\n]{1,200})\$\$?(?![0-9])")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s?\{(?:([^{}]{0,400})\})?")
_LATEX_SPACE = re.compile(r"\\(?:left|right|displaystyle|quad|,|;|!|:| )|\{,\}")
_LATEX_SIGNS = {"\\%": "%", "\\$": "$", "\\approx": "≈", "\\times": "×", "\\cdot": "×", "\\div": "÷"}
_LATEX_ARROW = re.compile(r"\\(?:long)?(?:right)?arrow\b|\\implies\b|\\to\b", re.IGNORECASE)
_DECIMAL = r"\s?(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s?"
# A fraction of plain numbers ("\frac{3}{4}") that is not part of a mixed number, as in "2\frac{3}{4}".
_FRACTION = re.compile(rf"(?<![0-9}})])\\[dt]?frac\s?\{{{_DECIMAL}\}}\s?\{{{_DECIMAL}\}}(?![0-9])")
# Characters that a combining stroke crosses out, before or after each: "1\u03362\u0336".
_STRUCK_OUT = re.compile(
    r"(?:[\u0335-\u0338][^\s\u0335-\u0338])+[\u0335-\u0338]?|(?:[^\s\u0335-\u0338][\u0335-\u0338])+"
)
_TAG = re.compile(r"</?(?:b|i|u|em|strong|number|answer)>", re.IGNORECASE)
# Not the full stop of an abbreviation: "Rs. 500", "approx. 5", "XYZ Inc. is", "U.S. dollars".
_SENTENCE_END = re.compile(
    r"[。!?]|(?<!\b[A-Z])(?<!approx)(?<!\b[Rr]s)(?<!Inc)(?<!Co)(?<!Corp)(?<!Ltd)(?<! vs)(?<!i\.e)(?<!e\.g)"
    r"(?<! No)\.(?=\s|$)|\n"
)
# The mark of a list item at the start of a line: "11. Convert" is one sentence, not two.
_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•][ \t]+)?\(?[0-9]{1,2}[.)][ \t]*(?=[ \t]\S|\Z)", re.MULTILINE)


def normalize(text: str) -> str:
    """Return text in NFKC form, with superscripts as "^n" and every minus sign as "-".

    "１２．５" -> "12.5", "10⁶" -> "10^6", "−5" -> "-5", "①12.3" -> "1. 12.3".
    """
    text = _CIRCLED.sub(r"\1. ", text)
    text = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run.group().translate(_SUPERSCRIPTS), text)
    return nfkc(text).translate(_MINUS_SIGNS)


def nfkc(text: str) -> str:
    """Return the NFKC form of text, computed in pieces of 1,000 characters.

    unicodedata sorts combining marks by insertion: 100,000 of them in one call would take seconds.
    """
    pieces = (text[start : start + _NFKC_CHUNK] for start in range(0, len(text), _NFKC_CHUNK))
    return "".join(unicodedata.normalize("NFKC", piece) for piece in pieces)


def clean_markup(text: str) -> str:
    r"""Return normalized text without bold, code and LaTeX markup: "**$1{,}234\%$**" -> "$1,234%$"."""
    text = _STRUCK_OUT.sub("", text)
    text = _TAG.sub("", _LATEX_ARROW.sub("→", normalize(text)))
    text = _LATEX_SPACE.sub(lambda match: "," if match.group() == "{,}" else "", text)
    text = _LATEX_TEXT.sub(_unwrap_latex_text, text)
    for command, sign in _LATEX_SIGNS.items():
        text = text.replace(command, sign)
    text = _FRACTION.sub(_divide, text)
    for mark in ("**", "__", "`"):
        text = text.replace(mark, "")
    return text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")


def _unwrap_latex_text(match: re.Match[str]) -> str:
    r"""Return the content of \text{...}; an unclosed brace stays. Two spaces in a row become one."""
    content: str | None = match[1]
    if content is None:
        return "{"
    return content.lstrip() if match.string[match.start() - 1 : match.start()] == " " else content


def _divide(match: re.Match[str]) -> str:
    r"""Return the value of \frac{a}{b} as digits: "\frac{3}{4}" -> "0.75". Division by 0 stays as written."""
    divisor = float(match[2])
    return f"{float(match[1]) / divisor:.12g}" if divisor else match.group()


def strip_decoration(text: str) -> str:
    """Return text without the quotes, emphasis, math signs and angle brackets around it.

    "**<12>**" -> "12", "$12$" -> "12", "「３」" -> "３".
    """
    text = _LATEX_MATH.sub(r"\1", text.lstrip(DECORATION), count=1)
    text = _ANGLED.sub(r"\1", text.strip(DECORATION), count=1)
    return text.lstrip(DECORATION).rstrip(DECORATION + "$")


def first_sentence(text: str) -> str:
    """Return text up to its first full stop, question mark or line break: "5. So" -> "5", "3.5" -> "3.5"."""
    match = _SENTENCE_END.search(text)
    return text[: match.start()] if match and match.start() else text


def sentences(text: str) -> list[tuple[str, bool]]:
    """Return the sentences of a text without decoration, each with whether it is complete; none is empty.

    A sentence is complete unless the text ends inside it: the token limit cuts outputs off.
    """
    text = _LIST_MARK.sub("", text)
    pieces, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        pieces.append((strip_decoration(text[start : match.start()]), True))
        start = match.end()
    pieces.append((strip_decoration(text[start:]), False))
    return [(sentence, is_complete) for sentence, is_complete in pieces if sentence]
