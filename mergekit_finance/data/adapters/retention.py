"""Adapters of the general datasets that measure retention: what a model may forget in further training.

Each dataset is read in two layouts: that of its Hub repository, and JSON lines in the layout of LLM Foundry
(`query`, `choices`, `gold`), which many evaluation suites copy. The second has no ids; a hash of the question
replaces them.
"""

from typing import Annotated, Literal

from pydantic import Field

from mergekit_finance.data.adapters.base import M, Raw, Row, VisibleText, column_error, short_id, validated
from mergekit_finance.data.records import Record


class _LabeledChoices(Raw):
    text: Annotated[list[VisibleText], Field(min_length=2)]
    label: list[VisibleText]


class _Labeled(Raw):
    id: VisibleText
    choices: _LabeledChoices
    answerKey: VisibleText


class _Arc(_Labeled):
    question: VisibleText


class _OpenBookQA(_Labeled):
    question_stem: VisibleText


class _HellaSwag(Raw):
    ind: int
    source_id: str = ""
    ctx: VisibleText
    endings: Annotated[list[VisibleText], Field(min_length=2)]
    label: Annotated[str, Field(pattern=r"^\d$")]


class _Piqa(Raw):
    goal: VisibleText
    sol1: VisibleText
    sol2: VisibleText
    label: Literal[0, 1]


class _BoolQ(Raw):
    passage: VisibleText
    question: VisibleText
    answer: bool


class _WinoGrande(Raw):
    sentence: Annotated[str, Field(pattern=r"^[^_]*_[^_]*$")]
    option1: VisibleText
    option2: VisibleText
    answer: Literal["1", "2"]


class _Lambada(Raw):
    text: Annotated[str, Field(pattern=r"\S \S+$")]


class _Query(Raw):
    query: VisibleText
    choices: Annotated[list[VisibleText], Field(min_length=2)]
    gold: Annotated[int, Field(ge=0)]


class _PassageQuery(_Query):
    query: Annotated[str, Field(pattern=r"(?s)^Passage: .+\nQuestion: [^\n]+\?$")]
    choices: Annotated[list[VisibleText], Field(min_length=2, max_length=2)]


class _ContextOptions(Raw):
    context_options: Annotated[list[VisibleText], Field(min_length=2)]
    continuation: VisibleText
    gold: Annotated[int, Field(ge=0)]


class _Continuation(Raw):
    context: VisibleText
    continuation: VisibleText


def arc(records: dict[str, list[Record]]) -> list[Row]:
    """ARC, both sets: school science questions with labeled choices."""
    return [_labeled(record, raw, raw.question) for record, raw in _checked(_Arc, records)]


def openbookqa(records: dict[str, list[Record]]) -> list[Row]:
    """OpenBookQA: the beginning of a statement or a question, with labeled choices."""
    return [_labeled(record, raw, raw.question_stem) for record, raw in _checked(_OpenBookQA, records)]


def hellaswag(records: dict[str, list[Record]]) -> list[Row]:
    """HellaSwag: which of four endings follows; one cluster per source text."""
    rows = []
    for record in records["test"]:
        raw = validated(_HellaSwag, record)
        row = choice_row(str(raw.ind), raw.ctx, raw.endings, int(raw.label))
        rows.append(row | {"cluster_id": raw.source_id or str(raw.ind)})
    return rows


def piqa(records: dict[str, list[Record]]) -> list[Row]:
    """PIQA: a goal and two ways to reach it. The dataset has no ids."""
    raws = (validated(_Piqa, record) for record in records["test"])
    return [choice_row(short_id(r.goal, r.sol1, r.sol2), r.goal, [r.sol1, r.sol2], r.label) for r in raws]


def boolq(records: dict[str, list[Record]]) -> list[Row]:
    """BoolQ: a yes-or-no question about a passage; one cluster per passage. The dataset has no ids."""
    raws = (validated(_BoolQ, record) for record in records["test"])
    return [_yes_no(r.passage, r.question, ["no", "yes"], int(r.answer)) for r in raws]


def winogrande(records: dict[str, list[Record]]) -> list[Row]:
    """WinoGrande: which of two names fills the gap of a sentence. The dataset has no ids."""
    rows = []
    for record in records["test"]:
        raw = validated(_WinoGrande, record)
        before, after = raw.sentence.split("_")
        contexts = [before + raw.option1, before + raw.option2]
        rows.append(_gap(contexts, after.strip(), int(raw.answer) - 1))
    return rows


def lambada(records: dict[str, list[Record]]) -> list[Row]:
    """LAMBADA as OpenAI prepared it: predict the last word of a passage. The dataset has no ids."""
    raws = (validated(_Lambada, record) for record in records["test"])
    return [_last_word(*raw.text.rsplit(" ", 1)) for raw in raws]


def choice_query(records: dict[str, list[Record]]) -> list[Row]:
    """Questions with choices in the layout of LLM Foundry; a leading "Question: " belongs to its prompt."""
    rows = []
    for record in records["test"]:
        raw = validated(_Query, record)
        question = raw.query.removeprefix("Question: ")
        rows.append(choice_row(short_id(question, *raw.choices), question, raw.choices, _in(record, raw)))
    return rows


def passage_query(records: dict[str, list[Record]]) -> list[Row]:
    """BoolQ in the layout of LLM Foundry: passage and question in one text, which ends in a question mark."""
    rows = []
    for record in records["test"]:
        raw = validated(_PassageQuery, record)
        passage, _, question = raw.query.removeprefix("Passage: ").rpartition("\nQuestion: ")
        rows.append(_yes_no(passage, question.removesuffix("?"), raw.choices, _in(record, raw)))
    return rows


def context_options(records: dict[str, list[Record]]) -> list[Row]:
    """WinoGrande in the layout of LLM Foundry: the beginnings with each name filled in, and the rest."""
    rows = []
    for record in records["test"]:
        raw = validated(_ContextOptions, record)
        if raw.gold >= len(raw.context_options):
            raise column_error(record, "gold", f"{raw.gold} is not an index of context_options")
        rows.append(_gap(raw.context_options, raw.continuation, raw.gold))
    return rows


def continuation(records: dict[str, list[Record]]) -> list[Row]:
    """LAMBADA in the layout of LLM Foundry."""
    raws = (validated(_Continuation, record) for record in records["test"])
    return [_last_word(raw.context, raw.continuation) for raw in raws]


def choice_row(item_id: str, question: str, options: list[str], gold: int) -> Row:
    """Return a row of a task with options; each item is its own cluster."""
    return {
        "item_id": item_id,
        "cluster_id": item_id,
        "question": question,
        "options": options,
        "gold_index": gold,
    }


def _checked(model: type[M], records: dict[str, list[Record]]) -> list[tuple[Record, M]]:
    return [(record, validated(model, record)) for record in records["test"]]


def _labeled(record: Record, raw: _Labeled, question: str) -> Row:
    """Return the row of a question whose answer is the label of a choice."""
    key = raw.answerKey.strip()  # OpenBookQA has keys with a leading space
    if key not in raw.choices.label:
        raise column_error(record, "answerKey", f"{key!r} is not one of {', '.join(raw.choices.label)}")
    return choice_row(raw.id, question, raw.choices.text, raw.choices.label.index(key))


def _in(record: Record, raw: _Query) -> int:
    if raw.gold >= len(raw.choices):
        raise column_error(record, "gold", f"{raw.gold} is not an index of choices")
    return raw.gold


def _yes_no(passage: str, question: str, options: list[str], gold: int) -> Row:
    row = choice_row(short_id(passage, question), question, options, gold)
    return row | {"passage": passage, "cluster_id": short_id(passage)}


def _gap(contexts: list[str], continuation: str, gold: int) -> Row:
    row = choice_row(short_id(*contexts, continuation), "", contexts, gold) | {"continuation": continuation}
    del row["question"]  # the options are the beginnings of the sentence; nothing stands before them
    return row


def _last_word(context: str, word: str) -> Row:
    item_id = short_id(context, word)
    return {"item_id": item_id, "cluster_id": item_id, "context": context, "word": word}


ADAPTERS = (
    arc, openbookqa, hellaswag, piqa, boolq, winogrande, lambada,
    choice_query, passage_query, context_options, continuation,
)  # fmt: skip
