"""The columns of a row ("document" in lm-eval's terms) that each task's metrics read."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from typing_extensions import Required


class _Tokenized(TypedDict, total=False):
    option_tokens: list[int] | None  # number of tokens of each option, if the loader has the tokenizer


class ChoiceDocument(_Tokenized):
    """A multiple-choice item. If `gold_index` is -1, no option is right."""

    options: list[str]
    gold_index: int


class HeadlineDocument(ChoiceDocument):
    """A question on a headline; `class_id` is the number of the question among the six or nine."""

    class_id: int


class _Asked(TypedDict, total=False):
    question: str | None
    input: str | None  # a complete prompt that ends with the question
    percent: bool  # the question asks for a percentage


class _Page(TypedDict, total=False):
    before: str  # the text around the table, which may state the unit of its numbers
    table: str
    after: str


class ConvFinQADocument(_Asked, _Page):
    """A turn of a ConvFinQA conversation: the written answer, and the executed value if there is one."""

    answer: str
    executed_answer: float | str | None


class NumberDocument(_Asked, total=False):
    """A question whose answer is one number: DocMath-Eval, FinanceMath, GSM8K, MGSM.

    `paragraphs` and `tables` state the unit of the numbers, if the question does not.
    """

    paragraphs: list[str]
    tables: list[str]

    ground_truth: Required[float]


class _Table(TypedDict, total=False):
    table: str  # lines with " | " between cells


class TatqaDocument(_Asked, _Table):
    """A TAT-QA question. `answer` has one entry, or several for a list of spans."""

    answer: list[str]
    answer_type: str  # "span", "multi-span", "arithmetic" or "count"
    scale: str  # "", "thousand", "million", "billion" or "percent"


class _JfinqaSource(TypedDict, total=False):
    question: str
    pre_text: list[str]
    table_headers: list[str]


class JfinqaDocument(_JfinqaSource):
    """A jfinqa question and its answer, a number with its unit or a word."""

    answer: str


class _Labeled(TypedDict, total=False):
    label: str | None  # the gold entities as text, in the dataset's format


class EntitiesDocument(_Labeled):
    """A sentence and its gold entities as (text, type) pairs."""

    entities: list[tuple[str, str]]
