"""Find where a model stops answering and starts another question.

After their answer, base models often continue with a new question in the style of the prompt. Numbers and
letters in that question and its answer must not be read as the answer.
"""

from __future__ import annotations

import re
from itertools import islice

# Decoration before a heading at the start of its line: "## Question", "**問題", "【例題".
_START = r"^[ \t]*(?:[#*_【\[(]{1,6}[ \t]?)?"
# The number of a question heading: the 2 of "問題2：", the 三 of "問 三。". Not if a particle follows,
# because then the question is only mentioned ("問題2の記述は ..."), and not in words such as 質問一覧.
_NUMERAL = r"(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3}(?=[ \t\n:.。、】\])]))(?![0-9のはでにをがもと])"
_KANJI_NUMERAL = r"[0-9一二三四五六七八九十]{1,4}"
_PROMPTS = r"Question|Problem|Exercise|Example|Context|Passage|Document|Input|Instruction|User|Human|Task"
# Headings closed by a colon or bracket: "Question 3:", "問題：", "【例題】", "### Input:", "User:". "Q3:"
# may name a quarter, so a numbered Q counts only if a question mark or か。 follows in the line.
_CLOSED_HEADING = (
    rf"(?:(?<=[.!?。] )|(?<=[.!?。]))Question\s?[0-9]{{0,4}}\s?:|(?:問題|質問|設問)\s?[0-9]{{0,4}}\s?[:】]"
    rf"|{_START}(?:(?:[Qq]uestion|{_PROMPTS})[ \t]?[0-9]{{0,4}}[ \t]?[*_]{{0,4}}[:】\]]"
    r"|Q[0-9]{1,3}[:.](?=[^\n]{0,300}(?:\?|か。))"
    r"|(?<=#)[ \t]?(?:Instruction|Input|Question|Problem|Exercise|Example|Task|User|Human)s?[ \t]*$"
    r"|(?:例題|例|問|ユーザー|入力|指示|文書)[ \t]?[0-9]{0,4}[ \t]?[:】\].])"
    r"|^[ \t]*(?:\*\*)?[Qq]:"  # not "* q: the quantity", an item of a list
)
# Headings without a colon, alone on their line or numbered: "Question 3" and a line break, "Problem 2.",
# "問3", "第二問".
_OPEN_HEADING = (
    rf"{_START}(?:Question|Problem|Exercise)(?:[ \t]{{0,8}}[0-9]{{1,4}})?"
    r"[ \t]{0,8}[.*_)]{0,4}[ \t]{0,8}\n"
    rf"|{_START}(?:Question|Problem|Exercise)[ \t]{{0,8}}[0-9]{{1,4}}\."
    rf"|{_START}(?:(?:問題|質問|設問|例題|問)[ \t]?{_NUMERAL}"
    rf"|第[ \t]?{_KANJI_NUMERAL}[ \t]?問(?![のはでにをがもと題]))"
    rf"|{_START}(?:問題|質問|設問|例題|問)[ \t]?[】\])*_]{{0,4}}[ \t]{{0,8}}(?:\n|[.])"
)
# Announcements at the start of a line or sentence: "次の問題", "では、もう1つの例題", "Now let's try
# another problem", "Here is a new question"; also repeated instructions of this benchmark's prompts.
_ANNOUNCEMENT = (
    r"(?P<opening>(?:^|(?<=[。!?.]))[ \t]*[*_]{0,4}"
    r"(?:(?:では|それでは|じゃあ|続いて|さて|さらに)[、,]?[ \t]?)?"
    r"(?:次|別|もう[1一]つ|以下)の(?:問題(?!点)|問い|設問|質問|例題|問(?=[ \t]?[0-9:。\n])))"
    r"|(?:^|(?<=[.!?:] ))[ \t]*[*_]{0,4}(?i:(?:(?:ok|okay|so|now|next|then|let's|let us|let me|we|i|can"
    r"|will|shall|consider|take|look at|try|do|solve|answer|move|go|on|to|turn|here is|here's|for|with"
    r"),?[ \t]){0,8}"
    r"(?:another|the next|a new|a different|next|new)[ \t](?:problem|question|example|exercise)\b"
    r"(?! is (?:how|whether|to)))"
    r"|^[ \t]*(?:Work out the question below|Give the answer only|Now answer this question)"
)
_SPECIAL_TOKENS = r"<\|[a-z_]{1,30}\|>|</s>|<eos>|\[/?INST\]"
# Matched on NFKC text.
_NEW_QUESTION = re.compile(
    f"{_CLOSED_HEADING}|{_OPEN_HEADING}|{_ANNOUNCEMENT}|{_SPECIAL_TOKENS}", re.MULTILINE
)

# Openings with which a model checks its answer, without a new question: "Wait, is that right?", "Let's
# check", "Does this make sense?", "検算".
_SELF_CHECK = (
    r"(?:wait|hmm|but|however|actually|so|no|why|let|let's|check|checking|verify"
    r"|(?:is|are|does|do|did|can|could|should) (?:this|that|it|we|the answer|my|our|i))\b|本当|検算|確認"
)
_JAPANESE_REQUEST = (
    r"(?:どれ(?:です)?か|いくらか|選べ|選びなさい|(?:求め|答え)(?:よ|なさい)|述べよ|計算せよ)[。.:]"
)
# A question without a heading, which counts only after an answer: a new paragraph or line with a question
# ("What is the total?", "合計を求めよ。"), a new table or list of options ("Table:", "選択肢:"), a chat turn
# inside a line (" User: "), or this benchmark's instructions.
_UNHEADED_QUESTION = re.compile(
    rf"\n[ \t-]{{0,80}}\n[ \t]{{0,4}}(?=\S)(?!(?i:{_SELF_CHECK}))[^\n?]{{0,600}}\?"
    r"|\n[ \t]{0,8}(?:What|How|Which|Who|When|Where)\b[^\n?]{0,300}\?[ \t]{0,8}(?=\n|$)"
    rf"|\n[ \t]{{0,8}}[^\n。]{{0,300}}{_JAPANESE_REQUEST}"
    r"|\n[ \t]{0,8}(?:Table|Text|選択肢|表)[ \t]{0,4}:"
    r"|[ \t](?:Human|User): |Work out the question below|Give the answer only|次の問題について順を追って"
)
# A paragraph that ends in a question, and the words that tell what it is about.
_PARAGRAPH_END = re.compile(r"\n[ \t]{0,80}\n\s{0,80}(?=\S)")
_ENDS_AS_QUESTION = re.compile(r"(?:\?|か。|なさい。|求めよ。|答えよ。)[ \t]*$")
_CONTENT_WORD = re.compile(r"[a-z]{4,}|[一-龥]{2,}|[ァ-ヶー]{2,}")
_COMMON_WORDS = frozenset(
    """what which when where whose many much more does will have with from that this then than they their them
    there each after before into over about could would should some other many left does need make""".split()
)
_MAX_PARAGRAPHS, _MAX_PARAGRAPH, _MIN_WORDS = 60, 600, 2


def find_unheaded_question(text: str, start: int) -> int:
    """Return where the next question without a heading begins, or the end of the text if there is none.

    Args:
        text: normalized text.
        start: where the model's answer begins. A question before the answer may be part of the reasoning.
    """
    match = _UNHEADED_QUESTION.search(text, start)
    return match.start() if match else len(text)


def find_unrelated_question(text: str, question: str) -> int:
    """Return where a paragraph begins that asks about other things than the question, or the end of the text.

    Base models continue with another problem without a heading: "Tom has 5 marbles. How many does he have?" A
    question about words that the output or its question have is part of the reasoning.

    Args:
        text: normalized text.
        question: the question that the output answers.
    """
    for gap in islice(_PARAGRAPH_END.finditer(text), _MAX_PARAGRAPHS):
        before, paragraph = (
            text[: gap.start()],
            text[gap.end() : gap.end() + _MAX_PARAGRAPH].split("\n", 1)[0],
        )
        words = set(_CONTENT_WORD.findall(paragraph.lower())) - _COMMON_WORDS
        is_question = _ENDS_AS_QUESTION.search(paragraph) and not re.match(
            _SELF_CHECK, paragraph, re.IGNORECASE
        )
        if not is_question or len(words) < _MIN_WORDS or not re.search("[0-9]", before):
            continue
        seen = f"{question}\n{before}".lower()
        if sum(word not in seen for word in words) >= len(words) / 2:
            return gap.start()
    return len(text)


def cut_at_new_question(text: str) -> str:
    r"""Return the part of an output before the model starts another question under a heading.

    "5\nQuestion: 3 + 4?" -> "5\n". Headings are "Question:", 問題：, "### Instruction", special tokens and
    similar ones. A "###" heading is a new question unless it titles a part of an answer ("### Step 2",
    "### 計算") or is at the start of the text. If the text starts with another question, the result is empty:
    any answer below may belong to that question.

    Args:
        text: normalized text.
    """
    end = next((match.start() for match in _NEW_QUESTION.finditer(text) if _is_new(text, match)), len(text))
    return text[:end]


def _is_new(text: str, match: re.Match[str]) -> bool:
    """Return whether a match starts a new question; 次の問題について考えます may begin an answer."""
    return not match["opening"] or bool(re.search(r"\w", text[: match.start()]))
