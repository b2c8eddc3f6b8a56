"""Adapters of the English datasets."""

import re
from typing import Annotated, Literal

from pydantic import Field

from mergekit_finance.data.adapters.base import (
    Finite,
    Raw,
    Row,
    VisibleText,
    column_error,
    draw_shots,
    short_id,
    validated,
)
from mergekit_finance.data.records import Record
from mergekit_finance.scoring.entities import entities_from_tags, format_entities, parse_entities

SENTIMENTS = ["negative", "neutral", "positive"]
# Demonstrations where the raw layout has none: 5 for choices, 20 for entities (BloombergGPT, AdaptLLM).
SHOTS_CHOICE, SHOTS_ENTITIES = 5, 20
_QUESTION = re.compile(r"\bQuestion:|\bNow answer this question:")
# FiQA gives scores in [-1, 1] and no classes; these thresholds are FinGPT's.
FIQA_NEGATIVE, FIQA_POSITIVE = -0.1, 0.1
# The 2021 release of the headlines has six binary columns; the nine-question release is AdaptLLM's.
HEADLINE_QUESTIONS = {
    "Price Direction Up": "Does the headline say that the price of gold went up?",
    "Price Direction Constant": "Does the headline say that the price of gold stayed the same?",
    "Price Direction Down": "Does the headline say that the price of gold went down?",
    "Asset Comparision": "Does the headline compare gold with another asset?",
    "Past Information": "Does the headline speak of what happened in the past?",
    "Future Information": "Does the headline speak of what will happen in the future?",
}


class _AdaptChoice(Raw):
    id: int | str
    input: VisibleText
    options: Annotated[list[VisibleText], Field(min_length=2)]
    gold_index: Annotated[int, Field(ge=0)]
    class_id: int = 0


class _AdaptText(Raw):
    id: int | str
    input: VisibleText
    label: str | list[str]


class _Phrase(Raw):
    id: int | str
    sentence: VisibleText
    label: Literal["negative", "neutral", "positive"]


class _Aspect(Raw):
    id: VisibleText
    sentence: VisibleText
    target: VisibleText
    sentiment_score: Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$")]


class _Tagged(Raw):
    id: VisibleText
    document: str = ""
    tokens: Annotated[list[str], Field(min_length=1)]
    ner_tags: Annotated[list[str], Field(min_length=1)]


class _Document(Raw):
    pre_text: str
    post_text: str
    table: dict[str, dict[str, object]]  # cells are text or numbers; only their text is used


class _Dialogue(Raw):
    conv_questions: Annotated[list[VisibleText], Field(min_length=1)]
    conv_answers: list[VisibleText]
    executed_answers: list[float | int | str]


class _Conversation(Raw):
    id: VisibleText
    doc: _Document
    dialogue: _Dialogue


class _DocMath(Raw):
    question_id: VisibleText
    question: VisibleText
    paragraphs: Annotated[list[str], Field(min_length=1)]
    ground_truth: Finite
    scale: str = ""


class _FinanceMath(Raw):
    question_id: VisibleText
    question: VisibleText
    tables: list[str]
    ground_truth: Finite


class _Fomc(Raw):
    id: int | str | None = None
    index: int | str | None = None
    sentence: VisibleText
    label: Annotated[int, Field(ge=0, le=2)] | Literal["0", "1", "2"]  # text in a .csv


class _TatTable(Raw):
    uid: VisibleText
    table: list[list[str]]


class _TatParagraph(Raw):
    order: int
    text: str


class _TatQuestion(Raw):
    uid: VisibleText
    question: VisibleText
    answer: list[str] | str | float | int
    answer_type: VisibleText
    scale: str


class _TatContext(Raw):
    table: _TatTable
    paragraphs: list[_TatParagraph]
    questions: Annotated[list[_TatQuestion], Field(min_length=1)]


def adaptllm_choice(records: dict[str, list[Record]]) -> list[Row]:
    """AdaptLLM/finance-tasks FPB, FiQA_SA, Headline: `input` contains the demonstrations."""
    return [_adaptllm_choice_row(record) for record in records["test"]]


def _adaptllm_choice_row(record: Record) -> Row:
    raw = validated(_AdaptChoice, record)
    if raw.gold_index >= len(raw.options):
        raise column_error(record, "gold_index", f"{raw.gold_index} is not one of {len(raw.options)} options")
    item = {
        "item_id": str(raw.id),
        "cluster_id": short_id(_last_subject(raw.input)),
        "class_id": raw.class_id,
    }
    empty = {"text": "", "target": "", "question": "", "shots": []}
    return item | empty | {"input": raw.input, "options": raw.options, "gold_index": raw.gold_index}


def _last_subject(prompt: str) -> str:
    """Return the text that a prompt's last question is about, which the nine questions on a headline share.

    Headlines are on one line with their question ('Headline: "…" Now answer this question: …?').
    """
    questions = list(_QUESTION.finditer(prompt))
    before = prompt[: questions[-1].start()] if questions else prompt
    return before.rsplit("\n\n", 1)[-1].rsplit("Headline:", 1)[-1].strip()


def phrasebank(records: dict[str, list[Record]]) -> list[Row]:
    """Financial PhraseBank: sentences with labels; a repeated sentence is one cluster."""
    train = [_phrase_shot(validated(_Phrase, r)) for r in records.get("train", [])]
    return [_phrase_row(validated(_Phrase, record), train) for record in records["test"]]


def _phrase_shot(raw: _Phrase) -> Row:
    return {"text": raw.sentence, "answer": raw.label}


def _phrase_row(raw: _Phrase, train: list[Row]) -> Row:
    return {
        "item_id": str(raw.id),
        "cluster_id": short_id(raw.sentence),
        "input": "",
        "text": raw.sentence,
        "shots": draw_shots(train, str(raw.id), SHOTS_CHOICE, each_answer=True),
        "options": SENTIMENTS,
        "gold_index": SENTIMENTS.index(raw.label),
    }


def fiqa(records: dict[str, list[Record]]) -> list[Row]:
    """FiQA task 1: sentence, target and a score, which FinGPT's thresholds turn into a class."""
    train = [_aspect_shot(validated(_Aspect, r)) for r in records.get("train", [])]
    return [_aspect_row(validated(_Aspect, record), train) for record in records["test"]]


def fiqa_class(score: float) -> int:
    """Return 0 (negative) below -0.1, 2 (positive) from 0.1 on, else 1 (neutral): FinGPT's thresholds."""
    return 0 if score < FIQA_NEGATIVE else 2 if score >= FIQA_POSITIVE else 1


def _aspect_shot(raw: _Aspect) -> Row:
    answer = SENTIMENTS[fiqa_class(float(raw.sentiment_score))]
    return {"text": raw.sentence, "target": raw.target, "answer": answer}


def _aspect_row(raw: _Aspect, train: list[Row]) -> Row:
    return {
        "item_id": raw.id,
        "cluster_id": short_id(raw.sentence),  # one sentence can have several targets
        "input": "",
        "text": raw.sentence,
        "target": raw.target,
        "shots": draw_shots(train, raw.id, SHOTS_CHOICE, each_answer=True),
        "options": SENTIMENTS,
        "gold_index": fiqa_class(float(raw.sentiment_score)),
    }


def headline_columns(records: dict[str, list[Record]]) -> list[Row]:
    """Headlines, release of 2021: a record has six binary columns and becomes six questions."""
    train = [shot for r in records.get("train", []) for shot in _headline_rows(r)]
    rows, headlines = [], set()
    for record in records["test"]:
        name = short_id(*(str(record.data.get(k, "")) for k in ("Dates", "URL", "News")))
        if name in headlines:
            continue  # the release repeats a few records; each headline counts once
        headlines.add(name)
        for row in _headline_rows(record):
            same = [
                {"text": s["text"], "answer": s["answer"]} for s in train if s["class_id"] == row["class_id"]
            ]
            item = f"{name}-{row['class_id']}"
            rows.append(
                row | {"item_id": item, "shots": draw_shots(same, item, SHOTS_CHOICE, each_answer=True)}
            )
    return rows


def _headline_rows(record: Record) -> list[Row]:
    rows = []
    text = record.data.get("News")
    if not text or not isinstance(text, str):
        raise column_error(record, "News", "field required")
    for number, (column, question) in enumerate(HEADLINE_QUESTIONS.items()):
        value = record.data.get(column)
        if value is None:
            raise column_error(record, column, "missing: not in the header, or the line is too short")
        if value not in ("0", "1"):
            raise column_error(record, column, f"expected 0 or 1, found {value!r}")
        answer = {"answer": "Yes" if value == "1" else "No"}
        row = {
            "cluster_id": short_id(text),
            "class_id": number,
            "input": "",
            "text": text,
            "question": question,
        }
        rows.append(row | answer | {"options": ["No", "Yes"], "gold_index": int(value)})
    return rows


def adaptllm_ner(records: dict[str, list[Record]]) -> list[Row]:
    """AdaptLLM/finance-tasks NER: the gold entities are text of the form "Entity (TYPE), …"."""
    rows = []
    for record in records["test"]:
        raw = validated(_AdaptText, record)
        label = raw.label if isinstance(raw.label, str) else ", ".join(raw.label)
        entities = [list(e) for e in parse_entities(label)]
        item = {"item_id": str(raw.id), "cluster_id": short_id(raw.input), "input": raw.input, "text": ""}
        rows.append(item | {"shots": [], "states_format": False, "entities": entities, "label": label})
    return rows


def fin_ner(records: dict[str, list[Record]]) -> list[Row]:
    """FIN3/FIN5: IO-tagged tokens; one cluster per document.

    Entities of type MISC are dropped, and sentences without PER, ORG or LOC left out, as in FLARE and
    AdaptLLM.
    """
    train = [_entity_shot(row) for row in map(_tagged, records.get("train", [])) if row["entities"]]
    rows = [row for row in map(_tagged, records["test"]) if row["entities"]]
    return [
        row | {"shots": draw_shots(train, row["item_id"], SHOTS_ENTITIES), "states_format": not train}
        for row in rows
    ]


def _entity_shot(row: Row) -> Row:
    return {"text": row["text"], "answer": row["label"]}


def _tagged(record: Record) -> Row:
    raw = validated(_Tagged, record)
    if len(raw.tokens) != len(raw.ner_tags):
        raise column_error(record, "ner_tags", f"{len(raw.ner_tags)} tags for {len(raw.tokens)} tokens")
    entities = [e for e in entities_from_tags(raw.tokens, raw.ner_tags) if e.type != "MISC"]
    item = {
        "item_id": raw.id,
        "cluster_id": raw.document or raw.id,
        "input": "",
        "text": " ".join(raw.tokens),
    }
    return item | {"entities": [list(e) for e in entities], "label": format_entities(entities)}


def adaptllm_convfinqa(records: dict[str, list[Record]]) -> list[Row]:
    """AdaptLLM/finance-tasks ConvFinQA: one row per turn; `input` contains document and history."""
    rows = []
    for record in records["test"]:
        raw = validated(_AdaptText, record)
        answer = raw.label if isinstance(raw.label, str) else raw.label[0]
        if not answer:
            raise column_error(record, "label", "the answer is empty")
        # Turns of a conversation open with the same document.
        item = {"item_id": str(raw.id), "cluster_id": short_id(raw.input[:400]), "input": raw.input}
        parts = {"before": "", "table": "", "after": "", "history": [], "question": ""}
        rows.append(item | parts | {"answer": answer, "executed_answer": None, "percent": "%" in answer})
    return rows


def convfinqa(records: dict[str, list[Record]]) -> list[Row]:
    """ConvFinQA: one row per turn, with the gold answers of earlier turns as history.

    One cluster per page, which several conversations can be about.
    """
    return [row for record in records["test"] for row in _turns(record)]


def _turns(record: Record) -> list[Row]:
    raw = validated(_Conversation, record)
    questions, answers, executed = (
        raw.dialogue.conv_questions, raw.dialogue.conv_answers, raw.dialogue.executed_answers,
    )  # fmt: skip
    for column, count in (("conv_answers", len(answers)), ("executed_answers", len(executed))):
        if count != len(questions):
            raise column_error(
                record, f"dialogue.{column}", f"{count} answers for {len(questions)} questions"
            )
    page = raw.id.split("_", 1)[-1].rsplit("-", 1)[0]
    document = {
        "before": raw.doc.pre_text,
        "table": _table_text(raw.doc.table),
        "after": raw.doc.post_text,
    }
    rows = []
    for turn, question in enumerate(questions):
        value = executed[turn]
        gold = float(value) if isinstance(value, int | float) else None
        history = [
            {"question": q, "answer": a} for q, a in zip(questions[:turn], answers[:turn], strict=True)
        ]
        item = {"item_id": f"{raw.id}#{turn}", "cluster_id": page, "input": "", "history": history}
        answer = {"answer": answers[turn], "executed_answer": gold, "percent": "%" in answers[turn]}
        rows.append(item | document | {"question": question} | answer)
    return rows


def _table_text(table: dict[str, dict[str, object]]) -> str:
    """Return a table given as {column: {row: value}} as lines of cells."""
    names = list(dict.fromkeys(name for column in table.values() for name in column))
    lines = [["", *table]] + [
        [name, *(str(column.get(name, "")) for column in table.values())] for name in names
    ]
    return "\n".join(" | ".join(line) for line in lines)


def docmath(records: dict[str, list[Record]]) -> list[Row]:
    """DocMath-Eval: questions about the same paragraphs are one cluster."""
    rows = []
    for record in records["test"]:
        raw = validated(_DocMath, record)
        item = {"item_id": raw.question_id, "cluster_id": short_id(*raw.paragraphs), "question": raw.question}
        answer = {"ground_truth": float(raw.ground_truth), "percent": raw.scale == "percent"}
        rows.append(item | {"paragraphs": raw.paragraphs} | answer)
    return rows


def financemath(records: dict[str, list[Record]]) -> list[Row]:
    """FinanceMath: the validation questions, because the test split has no answers."""
    rows = []
    for record in records["test"]:
        raw = validated(_FinanceMath, record)
        item = {"item_id": raw.question_id, "cluster_id": raw.question_id, "question": raw.question}
        rows.append(item | {"tables": raw.tables, "ground_truth": float(raw.ground_truth)})
    return rows


def fomc(records: dict[str, list[Record]]) -> list[Row]:
    """FOMC communication: 0 dovish, 1 hawkish, 2 neutral."""
    rows = []
    for record in records["test"]:
        raw = validated(_Fomc, record)
        item_id = next((str(v) for v in (raw.id, raw.index) if v is not None), short_id(raw.sentence))
        item = {"item_id": item_id, "cluster_id": short_id(raw.sentence), "text": raw.sentence}
        rows.append(item | {"options": ["dovish", "hawkish", "neutral"], "gold_index": int(raw.label)})
    return rows


def tatqa(records: dict[str, list[Record]]) -> list[Row]:
    """TAT-QA: one row per question, one cluster per context (a table with paragraphs)."""
    return [row for record in records["test"] for row in _tat_rows(validated(_TatContext, record))]


def _tat_rows(raw: _TatContext) -> list[Row]:
    paragraphs = [p.text for p in sorted(raw.paragraphs, key=lambda p: p.order)]
    table = "\n".join(" | ".join(cells) for cells in raw.table.table)
    rows = []
    for q in raw.questions:
        answer = [str(a) for a in (q.answer if isinstance(q.answer, list) else [q.answer])]
        item = {"item_id": q.uid, "cluster_id": raw.table.uid, "question": q.question, "table": table}
        gold = {"answer": answer, "answer_type": q.answer_type, "scale": q.scale}
        rows.append(item | {"paragraphs": paragraphs} | gold)
    return rows


ADAPTERS = (
    adaptllm_choice, phrasebank, fiqa, headline_columns, adaptllm_ner, fin_ner, adaptllm_convfinqa, convfinqa,
    docmath, financemath, fomc, tatqa,
)  # fmt: skip
