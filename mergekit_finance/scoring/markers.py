r"""Find the statements that a model marks as its answer: "The answer is 5", "\boxed{5}", 最終回答：5."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from mergekit_finance.scoring.new_question import cut_at_new_question, find_unheaded_question
from mergekit_finance.scoring.text import DECORATION, clean_markup, first_sentence, strip_decoration

# Characters of a statement that are read. This bounds the time; no answer is longer.
MAX_STATEMENT = 400
# If an output has more markers than this, only the last ones are read.
_MAX_MARKERS = 100
# Maximum length of an answer in words, in characters.
_MAX_ANSWER_IN_WORDS = 40
# Characters before a marker that are searched for a qualification ("if the answer is").
_LOOK_BACK = 60

_CLOSERS = r"[\s*_\"'」』】\])]{0,6}"
# Text that may come between "answer" and its verb: the "(in millions)" of "The answer (in millions) is 5", or
# the ", rounded to two decimals," of "The answer, rounded to two decimals, is 5.25".
_BETWEEN = (
    r"(?:\((?:in|rounded)[^()\n]{0,40}\)\s?|,\s?[^,.:;=\n]{1,60},\s"
    r"|(?:rounded|expressed|in|for|as|to)\s[^,.:;=\n]{1,50}?\s(?=is\b|was\b)|rounded\s[^,.:;=\n]{1,50}(?=:))?"
)
_JAPANESE_ADJECTIVE = r"(?:正しい|適切な|適当な|不適切な|不適当な|誤っている|間違っている|該当する)"
# "答え　3": a space instead of a colon, at the start of a sentence and before a number. Not the heading of a
# step, "解答 1：売上高の確認".
_JAPANESE_SPACE = (
    r"(?:^|(?<=[。、\n]))[ \t]{0,8}(?:答え|解答|回答|正解|正答)[ \t]{1,8}"
    r"(?=(?:選択肢)?[-+$¥(△▲]{0,3}[0-9])(?![0-9]{1,2}\s?[:.)]\s?[^\s0-9])"
)
# Some models answer in Chinese: 答案是2, 最不恰当的是选项2, 所以选2. The last two need a label.
_CHINESE_LABEL = r"(?=\s?(?:选项)?[\s(「]?[0-9](?![0-9.,%]))"
_CHINESE = (
    r"答案应?该?[是为:]"
    rf"|(?:不?(?:恰当|正确|适当|合适)|错误)的(?:选项|说法|[叙陈表]述)?[是为:]{_CHINESE_LABEL}"
    rf"|(?:所以|因此|故)[,、]?应?该?选择?{_CHINESE_LABEL}"
)
# An answer marker, in this order: "\boxed{"; "Answer" alone on a line; "####"; "the answer is", "Answer:",
# "the correct option is"; 答えは, 【正解】, 最終回答：; "最終回答 5"; "答え 5"; 答案是; 正しいものは; 回答
# alone on a line.
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
    r"|(?:^|(?<=[。、\n]))[ \t]*(?:訂正[ \t]?:"
    r"|正しくは、?(?=[^、。\n]{0,12}(?:[0-9]|はい|いいえ|[増減]|改善|悪化|一致)))"
    r"|最終回答[ \t](?=[0-9A-Za-z$¥(△▲-])"
    rf"|{_JAPANESE_SPACE}|{_CHINESE}"
    rf"|{_JAPANESE_ADJECTIVE}(?:(?:語句|用語|数値)の)?(?:の|もの|記述|選択肢|番号|組み?合わ?せ|語句|答えの番号|答え)(?:は、?|[:=])"
    r"|(?P<ja_heading>^[ \t#*【]{0,12}(?:最終的?な?)?(?:回答|解答|答え|結論)[ \t*】]{0,8}$)",
    re.IGNORECASE | re.MULTILINE,
)
# A statement that only announces the answer: "(The answer is) as follows:", "(答えは)以下の通りです。".
_ANNOUNCES = re.compile(
    r"(?:以下|次|下記)の(?:通り|とおり|よう)(?:に?なります|である|です|だ)?[。:]?"
    r"|(?:as follows|the following|below)\s?[.:]",
    re.IGNORECASE,
)
# An operator at the very end, where the token limit cut off an expression: "100 +".
UNFINISHED = re.compile(r"[0-9%)]\s?(?:[-+×÷/]|\s\*)\s*$")
# The first of two values, if the model rejects it in the same statement: the "not 5 but " of "not 5 but 7",
# the 5ではなく of 5ではなく7.
_REJECTED_FIRST = re.compile(
    r"(?:not\s(?=[^\s]{0,3}[0-9]|[A-Z]\b|option|choice)[^.;\n]{1,60}?,?\s(?:but|rather)(?: rather)?\s"
    r"|(?:[^。\n]{1,40}?(?:では|じゃ)なく(?:て)?[、,]?\s?)+)",
    re.IGNORECASE,
)

# The words around a marker up to its end: "the final ", "my answer is: ".
_ANSWER = (
    r"(?:(?:the|my|our|this|an?) )?(?:(?:final|correct|right|best|true) )*"
    r"(?:(?:final )?answer is:?[ $]{0,3})?$"
)
# Text before a marker that states no answer: "if the answer is", "a tempting answer is", もし答えは,
# 誤った答えは, 如果答案是, 错误的答案是.
_SUPPOSED = re.compile(
    r"(?:\b(?:if|whether|suppose|supposing|assume|assuming|imagine|unless)(?: that)?,? "
    r"|\b(?:wrong|incorrect|false|tempting|naive|intermediate|preliminary|initial|common|previous) )"
    rf"{_ANSWER}"
    r"|(?:もし|仮に|たとえ)[^。\n]{0,10}$|(?:誤った|間違った|誤りの)$"
    r"|(?:如果|假如|假设|不认为)[^。\n]{0,10}$|错误的?$",
    re.IGNORECASE,
)
# Text that negates the marker after it: "I don't think that the answer is", "it is not true that the answer
# is".
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|\bdoubt)(?: (?:think|believe|mean|say|suggest|imply|conclude|true|the case|sure"
    rf"|certain))?(?: that)? {_ANSWER}",
    re.IGNORECASE,
)
# Words after an answer that retract it: "5. Wait, ...", "5. Actually ...", "5. Let me redo ...", 5。訂正,
# 5。不对.
RETRACTED = re.compile(
    r"[.!?,;\n][ \t\n]{0,4}(?:but |oh,? |no,? )?(?:wait\b|hmm|oops\b)"
    r"|[.!?\n][ \t\n]{0,4}(?:but |oh,? )?(?:no, |actually\b|correction\b|sorry\b|my mistake|on second thought"
    r"|let me (?:correct|redo|recalculate|reconsider))"
    r"|[。!?\n][ \t\n]{0,4}(?:いや|いいえ|待って|待てよ|訂正|間違え|やはり|不对|等一下)",
    re.IGNORECASE,
)
# A condition at the start of a sentence, and in a question that states one itself.
CONDITION = re.compile(
    r"(?:but |and |so |thus,? |therefore,? |note that )?(?:if|assuming|supposing|suppose|unless|without"
    r"|ignoring|excluding|disregarding|had)\b"
    r"|(?:もし|仮に)|[^、。\n]{1,30}(?:なら(?:ば)?|とすると|とすれば|と仮定すると|場合(?:は|には)?)、",
    re.IGNORECASE,
)
STATES_CONDITION = re.compile(
    r"\b(?:if|assum\w+|suppos\w+|without|ignoring|excluding|had|when|would|given|unless|disregard\w*)\b"
    r"|もし|仮に|なら|すると|とすれば|場合|仮定",
    re.IGNORECASE,
)
_SENTENCE_START = re.compile(r"[。!?\n]|(?<=[^0-9.][^0-9.])\.\s|(?<=[0-9])\.\s")
# First words of a statement that starts to reason instead of answering: "Answer: Let's see", "Answer: First".
_REASONS = re.compile(r"(?:let|we|i|to|first)\b", re.IGNORECASE)
_ASKS = re.compile(r"(?:でしょう|だろう|です|ます)か$")
# List marks at the start of a line: "- x", "1. x", and "1. 5" where the item is a number.
_BULLET = re.compile(r"[ \t]{0,8}[-*•・][ \t]{1,8}")
_STAR_BULLET = re.compile(r"(?<=\n)[ \t]{0,8}\*[ \t]{1,8}\Z")
_NUMBERED = re.compile(r"\(?[0-9]{1,2}[.)][ \t]{1,8}(?=\S)")
_LIST_MARK = re.compile(rf"{_BULLET.pattern}|[ \t]{{0,8}}{_NUMBERED.pattern}")
_NUMBERED_NUMBER = re.compile(r"\(?[0-9]{1,2}[.)][ \t]{1,8}[-+$€£¥(△▲]{0,3}[0-9]")


@dataclass(frozen=True)
class Statement:
    """The line that follows an answer marker.

    Attributes:
        text: the line, without decoration.
        whole: the line must be an answer and nothing else, as after "####" and in "\\boxed{}".
        denied: the statement is a question, is negated, or is retracted by the model.
        numbered: the line is an item of a numbered list.
        bulleted: the line is an item of a bulleted list.
        below: the text after the line.
        conditional: the marker follows a condition in its sentence: "If the tax is zero, the answer is 5".
    """

    text: str
    whole: bool = False
    denied: bool = False
    numbered: bool = False
    bulleted: bool = False
    below: str = ""
    conditional: bool = False

    @property
    def items(self) -> list[str]:
        """The items of the list that starts on the line, or else the line itself."""
        below = bulleted_items(self.below) if self.bulleted or self.numbered else []
        return [_NUMBERED.sub("", self.text, count=1), *below] if below else [self.text]


def bulleted_items(text: str) -> list[str]:
    r"""Return the items of the list at the start of a text: "- a\n- b\nc" and "1. a\n2. b" -> ["a", "b"]."""
    lines = list(takewhile(_LIST_MARK.match, text.split("\n")))
    return [strip_decoration(_LIST_MARK.sub("", line, count=1)) for line in lines]


def marked_statements(text: str) -> list[Statement]:
    r"""Return the statements after the answer markers of an output, in order, up to a new question.

    "Answer: 1\n#### 2\n答えは3です。" gives statements with the texts "1", "2" and "3です。".
    """
    return [statement for _, statement in located_statements(answering_part(text))]


def answering_part(text: str) -> str:
    """Return an output without markup, up to a new question.

    After an answer, a question without a heading counts as a new question too.
    """
    body = cut_at_new_question(clean_markup(text))
    for marker in islice(_MARKER.finditer(body), _MAX_MARKERS):
        if _answer_follows(body, marker.end()):
            return body[: find_unheaded_question(body, marker.end())]
    return body


def _answer_follows(body: str, start: int) -> bool:
    """Return whether the line after a marker has a number, or is an answer in a few words."""
    line = body[start : start + MAX_STATEMENT].lstrip(DECORATION).partition("\n")[0]
    text = strip_decoration(line)
    is_short = len(first_sentence(text)) <= _MAX_ANSWER_IN_WORDS
    return bool(
        (is_short and re.search(r"\w", text) and not _REASONS.match(text)) or re.search("[0-9]", text)
    )


def located_statements(body: str) -> Iterator[tuple[int, Statement]]:
    """Yield the position of each marker and its statement.

    Suppositions ("if the answer is 5"), empty statements and those cut off inside an expression are left out.

    Args:
        body: the answering part of an output.
    """
    markers = deque(_MARKER.finditer(body), maxlen=_MAX_MARKERS)
    ends = [*(marker.start() for marker in markers), len(body)][1:]
    for marker, end in zip(markers, ends, strict=True):
        before = body[max(0, marker.start() - _LOOK_BACK) : marker.start()]
        statement = None if _SUPPOSED.search(before) else _read_statement(body, marker)
        if statement:
            is_retracted = _DENIED.search(before) or RETRACTED.search(body, marker.end(), end)
            denied = bool(is_retracted) or _is_question(statement.text)
            conditional = bool(CONDITION.match(_sentence_before(body, marker.start())))
            yield marker.start(), replace(statement, denied=denied, conditional=conditional)


def _sentence_before(body: str, position: int) -> str:
    """Return the part of a sentence before a position, if it is at most `MAX_STATEMENT` characters long."""
    before = body[max(0, position - MAX_STATEMENT) : position]
    return _SENTENCE_START.split(before)[-1].lstrip(DECORATION)


def _read_statement(body: str, marker: re.Match[str]) -> Statement | None:
    """Return the statement after a marker, or None if there is none."""
    own_line, line, below = _boxed(body, marker.end()) if marker["boxed"] else _line_after(body, marker)
    bullet = _BULLET.match(line) if own_line else None
    line = line[bullet.end() :] if bullet else line
    text = "" if UNFINISHED.search(first_sentence(line)) else strip_decoration(line)
    rejected = _REJECTED_FIRST.match(text)
    text = strip_decoration(text[rejected.end() :] if rejected else text)
    if not re.search(r"\w", text):
        return None
    numbered = bool((_NUMBERED if own_line else _NUMBERED_NUMBER).match(text))
    whole = bool(marker["boxed"] or marker["hash"])
    return Statement(text, whole, numbered=numbered, bulleted=bool(bullet), below=below)


def _is_question(text: str) -> bool:
    """Return whether a statement is a question: "5?", 5でしょうか。"""
    sentence = first_sentence(text)
    return text[len(sentence) : len(sentence) + 1] == "?" or bool(_ASKS.search(sentence))


def _boxed(text: str, start: int) -> tuple[bool, str, str]:
    r"""Return the content of \boxed{...} as `_line_after` returns a line.

    The content is empty if the braces do not close: the output was cut off inside the answer.
    """
    depth = 1
    for position in range(start, min(len(text), start + MAX_STATEMENT)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return False, text[start:position].strip("{} "), ""
    return False, "", ""


def _line_after(text: str, marker: re.Match[str]) -> tuple[bool, str, str]:
    r"""Return the line of the answer: the rest of the marker's line, or the next line that is not empty.

    A \boxed{} after the marker ends the line, because it is itself a marker.

    Returns:
        Whether the answer is on a line after the marker's line, the answer's line, and the text below it.
    """
    after_marker = text[marker.end() : marker.end() + MAX_STATEMENT].partition("\\boxed")[0]
    if marker["hash"]:
        line, _, below = after_marker.partition("\n")
        return False, line, below
    answer = after_marker.lstrip(DECORATION)
    announcement = _ANNOUNCES.match(answer)
    answer = (answer[announcement.end() :] if announcement else answer).lstrip(DECORATION)
    line, _, below = answer.partition("\n")
    before = after_marker[: len(after_marker) - len(answer)]
    bullet = _STAR_BULLET.search(before)  # `DECORATION` has a star too
    return "\n" in before, f"{bullet.group()}{line}" if bullet else line, below
