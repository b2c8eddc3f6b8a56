"""Where a model stops answering and starts a question of its own."""

from __future__ import annotations

import re

# What a heading may be dressed in at the start of its line; a numeral, also in kanji.
_START = r"^[ \t]*(?:[#*_【\[(]{1,6}[ \t]?)?"
# Not merely spoken of: 問題2の記述は ..., 質問一覧.
_NUMERAL = r"(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3}(?=[ \t\n:.。、】\])]))(?![0-9のはでにをがもと])"
_KANJI = r"[0-9一二三四五六七八九十]{1,4}"
_PROMPTS = r"Question|Problem|Exercise|Example|Context|Passage|Document|Input|Instruction|User|Human|Task"
# Headings with a colon or bracket after them. "Q3:" may be a quarter, so a numbered Q needs a question.
_HEADED = (
    rf"\bQuestion\s?[0-9]{{0,4}}\s?:|(?:問題|質問|設問)\s?[0-9]{{0,4}}\s?[:】]"
    rf"|{_START}(?:(?:[Qq]uestion|{_PROMPTS})[ \t]?[0-9]{{0,4}}[ \t]?[*_]{{0,4}}[:】\]]"
    r"|[Qq]:|Q[0-9]{1,3}[:.](?=[^\n]{0,300}(?:\?|か。))"
    r"|(?:例題|例|ユーザー|入力|指示|文書)[ \t]?[0-9]{0,4}[ \t]?[:】\].])"
)
# Headings without one: alone on their line, or numbered.
_BARE = (
    rf"{_START}(?:Question|Problem|Exercise)(?:[ \t]{{0,8}}[0-9]{{1,4}})?"
    r"[ \t]{0,8}[.*_)]{0,4}[ \t]{0,8}\n"
    rf"|{_START}(?:Question|Problem|Exercise)[ \t]{{0,8}}[0-9]{{1,4}}\."
    rf"|{_START}(?:(?:問題|質問|設問|例題|問)[ \t]?{_NUMERAL}"
    rf"|第[ \t]?{_KANJI}[ \t]?問(?![のはでにをがもと題]))"
    rf"|{_START}(?:問題|質問|設問|例題|問)[ \t]?[】\])*_]{{0,4}}[ \t]{{0,8}}(?:\n|[.])"
)
# The next question announced, at the start of a line or sentence; the benchmark's own instructions recited.
_ANNOUNCED = (
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
_TOKENS = r"<\|[a-z_]{1,30}\|>|</s>|<eos>|\[/?INST\]"
# Matched on NFKC text.
_NEW_QUESTION = re.compile(f"{_HEADED}|{_BARE}|{_ANNOUNCED}|{_TOKENS}", re.MULTILINE)

_HEADING = re.compile(r"^[ \t]*###[ \t]+(.*)$", re.MULTILINE)
_OWN_HEADING = re.compile(
    r"[*_\s]*(?:[0-9]+[.)]?\s*)?(?:(?:the |final |my )?(?:answer|response|solution|step|calculation"
    r"|computation|explanation|reasoning|conclusion|result|summary|verification|analysis)"
    r"|最終|回答|解答|答|結論|計算|ステップ|手順|解説|説明|考え方|推論|まとめ|検算|分析)",
    re.IGNORECASE,
)

# A question without heading, which only an answer before it tells from the model's own reasoning: a paragraph
# or line that asks, a new table or list of options, the prompt's own words, a turn in mid-line.
_OWN_DOUBT = (
    r"(?:wait|hmm|but|however|actually|so|no|why|let|let's|check|checking|verify"
    r"|(?:is|are|does|do|did|can|could|should) (?:this|that|it|we|the answer|my|our|i))\b|本当|検算|確認"
)
_ASKS_JA = r"(?:どれ(?:です)?か|いくらか|選べ|選びなさい|(?:求め|答え)(?:よ|なさい)|述べよ|計算せよ)[。.:]"
_ASKED_ANEW = re.compile(
    rf"\n[ \t-]{{0,80}}\n[ \t]{{0,4}}(?=\S)(?!(?i:{_OWN_DOUBT}))[^\n?]{{0,600}}\?"
    r"|\n[ \t]{0,8}(?:What|How|Which|Who|When|Where)\b[^\n?]{0,300}\?[ \t]{0,8}(?=\n|$)"
    rf"|\n[ \t]{{0,8}}[^\n。]{{0,300}}{_ASKS_JA}"
    r"|\n[ \t]{0,8}(?:Table|Text|選択肢|表)[ \t]{0,4}:"
    r"|[ \t](?:Human|User): |Work out the question below|Give the answer only|次の問題について順を追って"
)


def find_asked_anew(text: str, start: int) -> int:
    """Where, after an answer that begins at `start`, the next question begins; else the end."""
    match = _ASKED_ANEW.search(text, start)
    return match.start() if match else len(text)


def cut_at_new_question(text: str) -> str:
    """The part before the model starts another question ("\\nQuestion:", 問題：, "### Instruction", a turn).

    A "### " heading counts as one unless it names a part of an answer (Step, Solution, 計算, ...) or opens
    the text. A restated question at the very start leaves nothing: what follows may answer anything.
    """
    end = next((match.start() for match in _NEW_QUESTION.finditer(text) if _is_new(text, match)), len(text))
    for heading in _HEADING.finditer(text, 0, end):
        if heading.start() and not _OWN_HEADING.match(heading[1]):
            return text[: heading.start()]
    return text[:end]


def _is_new(text: str, match: re.Match[str]) -> bool:
    """次の問題について考えます。 is how an answer opens, and a new question only after something."""
    return not match["opening"] or bool(re.search(r"\w", text[: match.start()]))
