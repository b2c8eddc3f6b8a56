"""From raw records to the rows that task YAMLs use: one adapter per raw layout.

Every row gets `item_id` (unique, stable) and `cluster_id` (what shares a source and so is not
independent: a report, a document, a conversation).
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergekit_finance.data.records import Record
from mergekit_finance.errors import DataError, did_you_mean

Row = dict[str, Any]
Text = Annotated[str, Field(min_length=1)]
# Records by split in, rows of the test split out (with a `subset` where one file holds several).
Adapter = Callable[[dict[str, list[Record]]], list[Row]]

N_SHOTS = 5  # of Financial PhraseBank, as BloombergGPT and AdaptLLM have it


class _Raw(BaseModel):
    # strict: a number that arrives as text is a broken row, not something to guess at
    model_config = ConfigDict(extra="ignore", strict=True)


class _AdaptChoice(_Raw):
    id: int | str
    input: Text
    options: Annotated[list[Text], Field(min_length=2)]
    gold_index: Annotated[int, Field(ge=0)]


class _Phrase(_Raw):
    id: int | str
    sentence: Text
    label: Literal["negative", "neutral", "positive"]


class _DocMath(_Raw):
    question_id: Text
    question: Text
    paragraphs: Annotated[list[str], Field(min_length=1)]
    ground_truth: float | int
    scale: str = ""


class _JFinQA(_Raw):
    id: Text
    subtask: Text
    source_doc_id: str = ""
    edinet_code: str = ""
    pre_text: list[str]
    post_text: list[str]
    table_headers: list[str]
    table_rows: list[list[str]]
    question: Text
    answer: Text


def check(model: type[_Raw], record: Record) -> Any:
    """The record as `model`, or an error that names file, line and column."""
    try:
        return model.model_validate(record.data)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        column = ".".join(map(str, error["loc"])) or "row"
        raise DataError(f"{record.place}: column {column!r}: {error['msg'].lower()}") from fault


def digest(*parts: str) -> str:
    """A short stable name for a piece of text."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def adaptllm_choice(records: dict[str, list[Record]]) -> list[Row]:
    """AdaptLLM/finance-tasks: `input` holds the demonstrations already."""
    rows = []
    for record in records["test"]:
        raw = check(_AdaptChoice, record)
        if raw.gold_index >= len(raw.options):
            raise DataError(
                f"{record.place}: column 'gold_index': "
                f"{raw.gold_index} is not one of {len(raw.options)} options"
            )
        item = {"item_id": str(raw.id), "cluster_id": digest(raw.input.rsplit("\n\n", 1)[-1])}
        rows.append(
            item
            | {
                "input": raw.input,
                "text": "",
                "shots": [],
                "options": raw.options,
                "gold_index": raw.gold_index,
            }
        )
    return rows


def phrasebank(records: dict[str, list[Record]]) -> list[Row]:
    """Sentences with labels; demonstrations come from the train split, drawn per item by hash."""
    options = ["negative", "neutral", "positive"]
    train = [check(_Phrase, record) for record in records.get("train", [])]
    rows = []
    for record in records["test"]:
        raw = check(_Phrase, record)
        shots = _drawn(train, str(raw.id), N_SHOTS)
        rows.append(
            {
                "item_id": str(raw.id),
                "cluster_id": digest(raw.sentence),  # repeated sentences are one cluster
                "input": "",
                "text": raw.sentence,
                "shots": [{"text": s.sentence, "answer": s.label} for s in shots],
                "options": options,
                "gold_index": options.index(raw.label),
            }
        )
    return rows


def _drawn(train: Iterable[_Phrase], item: str, count: int) -> list[_Phrase]:
    """`count` demonstrations, the same for an item on every machine."""
    return sorted(train, key=lambda s: digest(item, str(s.id)))[:count]


def docmath(records: dict[str, list[Record]]) -> list[Row]:
    """DocMath-Eval rows; questions on the same paragraphs are one cluster."""
    rows = []
    for record in records["test"]:
        raw = check(_DocMath, record)
        rows.append(
            {
                "item_id": raw.question_id,
                "cluster_id": digest(*raw.paragraphs),
                "question": raw.question,
                "paragraphs": raw.paragraphs,
                "ground_truth": float(raw.ground_truth),
                "percent": raw.scale == "percent",
            }
        )
    return rows


def _jfinqa_row(raw: _JFinQA) -> Row:
    fields = ("pre_text", "post_text", "table_headers", "table_rows", "question", "answer", "edinet_code")
    document = raw.source_doc_id or raw.edinet_code or raw.id
    row = {"item_id": raw.id, "cluster_id": document, "subset": raw.subtask}
    return row | {name: getattr(raw, name) for name in fields}


def jfinqa(records: dict[str, list[Record]]) -> list[Row]:
    """The Hub's flat layout; one cluster per filing."""
    return [_jfinqa_row(check(_JFinQA, record)) for record in records["test"]]


def jfinqa_nested(records: dict[str, list[Record]]) -> list[Row]:
    """The repository's own layout (`table` and `qa` are objects), with all three subtasks in one file."""
    flat = [Record(_flattened(r.data), r.file, r.line) for r in records["test"]]
    return jfinqa({"test": flat})


def _flattened(data: dict[str, Any]) -> dict[str, Any]:
    table, qa = data.get("table"), data.get("qa")
    if not isinstance(table, dict) or not isinstance(qa, dict):
        return data
    return data | qa | {"table_headers": table.get("headers"), "table_rows": table.get("rows")}


ADAPTERS: dict[str, Adapter] = {
    f.__name__: f for f in (adaptllm_choice, phrasebank, docmath, jfinqa, jfinqa_nested)
}


def adapter(name: str) -> Adapter:
    """One adapter by the name that registry and manifest give it."""
    if name not in ADAPTERS:
        raise DataError(f"unknown adapter {name!r}. {did_you_mean(name, ADAPTERS)}")
    return ADAPTERS[name]
