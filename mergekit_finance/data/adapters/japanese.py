"""Adapters of the Japanese datasets."""

from collections import Counter
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from mergekit_finance.data.adapters.base import Raw, Row, VisibleText, column_error, validated
from mergekit_finance.data.records import Record
from mergekit_finance.files import JsonObject

LETTERS = "ABCDEFGH"
STATEMENTS = "アイウエオカ"
POLARITIES = {"positive": 0, "negative": 1, "neutral": -1}


class _JFinQA(Raw):
    id: VisibleText
    subtask: VisibleText
    source_doc_id: str = ""
    edinet_code: str = ""
    pre_text: list[str]
    post_text: list[str]
    table_headers: list[str]
    table_rows: list[list[str]]
    question: VisibleText
    answer: VisibleText


class _Choice(Raw):
    id: int
    text: VisibleText


class _Exam(Raw):
    id: int
    question: VisibleText
    context: str
    choices: Annotated[list[_Choice], Field(min_length=2)]
    answer: Annotated[int, Field(ge=0)]


class _Opinion(Raw):
    target: str | None = None
    text: str | None = None  # the Hub's name for `target`
    polarity: Literal["positive", "negative", "neutral"]
    start: int = Field(alias="from")
    to: int


class _Sentence(Raw):
    sentence_id: int
    sentence: VisibleText
    opinions: list[_Opinion]


class _Header(Raw):
    document_id: VisibleText


class _Annotation(Raw):
    header: _Header
    sentences: list[_Sentence]


class _HubSentence(_Sentence):
    document_id: VisibleText


def jfinqa(records: dict[str, list[Record]]) -> list[Row]:
    """jfinqa, the Hub's flat layout; one cluster per filing."""
    return [_jfinqa_row(validated(_JFinQA, record)) for record in records["test"]]


def jfinqa_nested(records: dict[str, list[Record]]) -> list[Row]:
    """jfinqa, the repository's layout: `table` and `qa` are objects; all three subtasks are in one file."""
    return jfinqa({"test": [replace(record, data=_flattened(record.data)) for record in records["test"]]})


def _jfinqa_row(raw: _JFinQA) -> Row:
    fields = ("pre_text", "post_text", "table_headers", "table_rows", "question", "answer", "edinet_code")
    cluster = raw.source_doc_id or raw.edinet_code or raw.id
    row = {"item_id": raw.id, "cluster_id": cluster, "subset": raw.subtask}
    return row | {name: getattr(raw, name) for name in fields}


def _flattened(data: JsonObject) -> JsonObject:
    table, qa = data.get("table"), data.get("qa")
    if not isinstance(table, dict) or not isinstance(qa, dict):
        return data
    return data | qa | {"table_headers": table.get("headers"), "table_rows": table.get("rows")}


def jlm_exam(records: dict[str, list[Record]]) -> list[Row]:
    """cma_basics, security_sales_1: the answer is the letter of a choice.

    The column `comment` explains the answer, so it is dropped and never reaches a prompt.
    """
    return [_exam_row(record, letters=True) for record in records["test"]]


def jlm_numbered(records: dict[str, list[Record]]) -> list[Row]:
    """fp2: the choices are the full-width numerals that the statements in the context begin with.

    A record without a context cannot be answered and is an error.
    """
    return [_numbered_row(record) for record in records["test"]]


def _numbered_row(record: Record) -> Row:
    row = _exam_row(record, letters=False)
    if not row["context"].strip():
        raise column_error(record, "context", "empty, but it must contain the statements to choose from")
    return row


def _exam_row(record: Record, *, letters: bool) -> Row:
    raw = validated(_Exam, record)
    texts = [choice.text for choice in raw.choices]
    if raw.answer >= len(texts):
        raise column_error(record, "answer", f"{raw.answer} is not one of {len(texts)} choices")
    item = {
        "item_id": str(raw.id),
        "cluster_id": str(raw.id),
        "question": raw.question,
        "context": raw.context,
    }
    options = list(LETTERS[: len(texts)]) if letters else texts
    return item | {"choices": texts, "options": options, "gold_index": raw.answer}


def cpa_audit(records: dict[str, list[Record]]) -> list[Row]:
    """CPA audit exams: which pair of statements is true.

    Left out: questions that the source marks abnormal (annulled, or without a single answer), questions
    without an answer, and empty choices.
    """
    rows = [_cpa_row(record) for record in records["test"] if record.data.get("question")]
    return [row for row in rows if row]


def _cpa_row(record: Record) -> Row | None:
    data = record.data
    if data.get("abnormal_flg") == 1 or data.get("a_no") in ("-", None):
        return None
    choices = [str(data[str(n)]) for n in range(1, 7) if data.get(str(n))]
    if not isinstance(data["question"], str):
        raise column_error(record, "question", "must be text")
    answer = data["a_no"]
    if isinstance(answer, bool) or not isinstance(answer, int) or not 1 <= answer <= len(choices):
        raise column_error(record, "a_no", f"{answer!r} is not one of {len(choices)} choices")
    statements = [{"label": s, "text": str(data[s]).strip()} for s in STATEMENTS if data.get(s)]
    item_id = f"{data.get('key')}-{data.get('q_no')}"
    return {
        "item_id": item_id,
        "cluster_id": item_id,
        "question": data["question"],
        "statements": statements,
        "choices": choices,
        "options": list(LETTERS[: len(choices)]),
        "gold_index": answer - 1,
    }


def chabsa(records: dict[str, list[Record]]) -> list[Row]:
    """chABSA's annotation files: one row per opinion.

    Neutral opinions are included with gold -1 (always wrong), as in pfnet's harness. A target can occur twice
    in a sentence; its offsets distinguish the two.
    """
    rows = []
    for record in records["test"]:
        raw = validated(_Annotation, record)
        for sentence in raw.sentences:
            rows += _opinion_rows(raw.header.document_id, sentence)
    return rows


def chabsa_hub(records: dict[str, list[Record]]) -> list[Row]:
    """zenless-lab/chABSA: one record per sentence. The benchmark is its train and test rows together."""
    sentences = [validated(_HubSentence, record) for record in records["test"]]
    return [row for s in sentences for row in _opinion_rows(s.document_id, s)]


def _opinion_rows(document: str, sentence: _Sentence) -> list[Row]:
    rows: dict[str, Row] = {}
    start = f"{document}-{sentence.sentence_id}-"
    beginnings: Counter[str] = (
        Counter()
    )  # of the ids so far, counted once: counting for each row would be quadratic
    for opinion in sentence.opinions:
        item_id = f"{start}{opinion.start}-{opinion.to}"
        item_id += f"-{beginnings[item_id]}" if item_id in rows else ""
        if item_id not in rows:
            beginnings.update(item_id[:length] for length in range(len(start), len(item_id) + 1))
        rows[item_id] = {
            "item_id": item_id,
            "cluster_id": document,
            "sentence": sentence.sentence,
            "target": opinion.target or opinion.text or "",
            "options": ["positive", "negative"],
            "gold_index": POLARITIES[opinion.polarity],
        }
    return list(rows.values())


ADAPTERS = (jfinqa, jfinqa_nested, jlm_exam, jlm_numbered, cpa_audit, chabsa, chabsa_hub)
