"""Adapters of the general datasets that probe a single skill: math, Japanese, and math in Japanese."""

from typing import Annotated

from pydantic import Field

from mergekit_finance.data.adapters.base import Finite, Raw, Row, VisibleText, short_id, validated
from mergekit_finance.data.adapters.retention import choice_row
from mergekit_finance.data.records import Record


class _Gsm8k(Raw):
    question: VisibleText
    answer: Annotated[str, Field(pattern=r"####\s*-?[\d,.]+\s*$")]


class _Svamp(Raw):
    ID: VisibleText
    Body: VisibleText
    Question: VisibleText
    Answer: Annotated[Finite, Field(strict=False)]  # a number, or on the Hub a number as text


class _Mgsm(Raw):
    question: VisibleText
    answer_number: int


class _MgsmText(Raw):
    question: VisibleText
    answer: Annotated[str, Field(pattern=r"^-?[\d,]+$")]


class _CommonSense(Raw):
    q_id: int
    question: VisibleText
    choice0: VisibleText
    choice1: VisibleText
    choice2: VisibleText
    choice3: VisibleText
    choice4: VisibleText
    label: Annotated[int, Field(ge=0, le=4)]


def gsm8k(records: dict[str, list[Record]]) -> list[Row]:
    """GSM8K: the number after #### is the answer."""
    raws = (validated(_Gsm8k, record) for record in records["test"])
    return [_problem(r.question, r.answer.rsplit("####", 1)[-1].strip().replace(",", "")) for r in raws]


def svamp(records: dict[str, list[Record]]) -> list[Row]:
    """SVAMP: a story and a question of one or two sums, with ids."""
    rows = []
    for record in records["test"]:
        raw = validated(_Svamp, record)
        problem = _problem(f"{raw.Body.strip()} {raw.Question.strip()}", raw.Answer)
        rows.append(problem | {"item_id": raw.ID, "cluster_id": raw.ID})
    return rows


def mgsm(records: dict[str, list[Record]]) -> list[Row]:
    """MGSM: the answer is a whole number."""
    raws = (validated(_Mgsm, record) for record in records["test"])
    return [_problem(r.question, r.answer_number) for r in raws]


def mgsm_text(records: dict[str, list[Record]]) -> list[Row]:
    """MGSM as its authors publish it: tab-separated question and answer, here as JSON lines."""
    raws = (validated(_MgsmText, record) for record in records["test"])
    return [_problem(r.question, r.answer.replace(",", "")) for r in raws]


def jcommonsenseqa(records: dict[str, list[Record]]) -> list[Row]:
    """JCommonsenseQA (JGLUE): five choices, without finance and arithmetic."""
    rows = []
    for record in records["test"]:
        raw = validated(_CommonSense, record)
        options = [raw.choice0, raw.choice1, raw.choice2, raw.choice3, raw.choice4]
        rows.append(choice_row(str(raw.q_id), raw.question, options, raw.label))
    return rows


def _problem(question: str, number: str | float) -> Row:
    item_id = short_id(question)  # GSM8K and MGSM have no ids
    return {"item_id": item_id, "cluster_id": item_id, "question": question, "ground_truth": float(number)}


ADAPTERS = (gsm8k, svamp, mgsm, mgsm_text, jcommonsenseqa)
