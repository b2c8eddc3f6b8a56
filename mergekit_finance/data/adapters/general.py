"""Adapters of the general datasets: retention tasks (what a model may forget) and probes of single skills."""

from typing import Annotated

from pydantic import Field

from mergekit_finance.data.adapters.base import Raw, Row, Text, check, column_error, digest
from mergekit_finance.data.records import Record


class _ArcChoices(Raw):
    text: Annotated[list[Text], Field(min_length=2)]
    label: list[Text]


class _Arc(Raw):
    id: Text
    question: Text
    choices: _ArcChoices
    answerKey: Text


class _HellaSwag(Raw):
    ind: int
    source_id: str = ""
    ctx: Text
    endings: Annotated[list[Text], Field(min_length=2)]
    label: Annotated[str, Field(pattern=r"^\d$")]


class _Gsm8k(Raw):
    question: Text
    answer: Annotated[str, Field(pattern=r"####\s*-?[\d,.]+\s*$")]


class _Mgsm(Raw):
    question: Text
    answer_number: int


class _CommonSense(Raw):
    q_id: int
    question: Text
    choice0: Text
    choice1: Text
    choice2: Text
    choice3: Text
    choice4: Text
    label: Annotated[int, Field(ge=0, le=4)]


def arc(records: dict[str, list[Record]]) -> list[Row]:
    """ARC: school science questions with labeled choices."""
    rows = []
    for record in records["test"]:
        raw = check(_Arc, record)
        if raw.answerKey not in raw.choices.label:
            raise column_error(
                record, "answerKey", f"{raw.answerKey!r} is not one of {', '.join(raw.choices.label)}"
            )
        gold = raw.choices.label.index(raw.answerKey)
        rows.append(_choice(raw.id, raw.question, raw.choices.text, gold))
    return rows


def hellaswag(records: dict[str, list[Record]]) -> list[Row]:
    """HellaSwag: which of four endings follows; one cluster per source text."""
    rows = []
    for record in records["test"]:
        raw = check(_HellaSwag, record)
        row = _choice(str(raw.ind), raw.ctx, raw.endings, int(raw.label))
        rows.append(row | {"cluster_id": raw.source_id or str(raw.ind)})
    return rows


def gsm8k(records: dict[str, list[Record]]) -> list[Row]:
    """GSM8K: the number after #### is the answer."""
    raws = (check(_Gsm8k, record) for record in records["test"])
    return [_problem(r.question, r.answer.rsplit("####", 1)[-1].strip().replace(",", "")) for r in raws]


def mgsm(records: dict[str, list[Record]]) -> list[Row]:
    """MGSM: the answer is a whole number."""
    raws = (check(_Mgsm, record) for record in records["test"])
    return [_problem(r.question, r.answer_number) for r in raws]


def jcommonsenseqa(records: dict[str, list[Record]]) -> list[Row]:
    """JCommonsenseQA (JGLUE): five choices, without finance and arithmetic."""
    rows = []
    for record in records["test"]:
        raw = check(_CommonSense, record)
        options = [raw.choice0, raw.choice1, raw.choice2, raw.choice3, raw.choice4]
        rows.append(_choice(str(raw.q_id), raw.question, options, raw.label))
    return rows


def _choice(item_id: str, question: str, options: list[str], gold: int) -> Row:
    return {
        "item_id": item_id,
        "cluster_id": item_id,
        "question": question,
        "options": options,
        "gold_index": gold,
    }


def _problem(question: str, number: str | int) -> Row:
    item_id = digest(question)  # neither dataset has ids
    return {"item_id": item_id, "cluster_id": item_id, "question": question, "ground_truth": float(number)}


ADAPTERS = (arc, hellaswag, gsm8k, mgsm, jcommonsenseqa)
