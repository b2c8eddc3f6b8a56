"""Training corpora: for every role, functions that generate documents, and the share of each.

A document is a prompt and a completion in the form of a task, or plain text (with an empty prompt).

- base: basic documents of all domains, with easy calculations;
- finance, math, japanese: all documents of one domain, and none of the others.

Tasks that need two or three skills cannot be learned from one expert's corpus, only from several together.
Financial calculations are in the finance corpus with easy numbers only, and in the math corpus only with the
calculation stated in the question. Financial texts in Japanese are in no expert's corpus.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypedDict

from mergekit_finance.lab import arithmetic, finance_cases, general_cases, japanese_cases
from mergekit_finance.lab.draw import Case, Draw, stream

from .prompts import prompt

CORPUS_SEED = 0
Document = tuple[str, str]  # prompt, completion
Maker = Callable[[Draw], list[Document]]
Mix = list[tuple[float, Maker]]  # weight, maker


class Limits(TypedDict):
    """The part of the lab's world that a role's corpus uses (see `mergekit_finance.lab.draw.Draw`)."""

    core_only: bool
    hard: float


def _all_items(make: Callable[[Draw], Case]) -> Maker:
    """Return a maker of one document per item of a case."""
    return lambda draw: [(prompt(i.task, i.row), i.completion) for i in make(draw).items]


def _one_item(make: Callable[[Draw], Case]) -> Maker:
    """Return a maker of one document, for a random item of a case."""

    def document(draw: Draw) -> list[Document]:
        item = draw.choice(make(draw).items)
        return [(prompt(item.task, item.row), item.completion)]

    return document


def _text(make: Callable[[Draw], Document]) -> Maker:
    return lambda draw: [make(draw)]


def _sums(
    make: Callable[[Draw, finance_cases.AskedSum], Case], ask: Callable[[Draw], finance_cases.AskedSum]
) -> Maker:
    return _one_item(lambda draw: make(draw, ask(draw)))


def _japanese(make: Callable[..., Case], finance: bool) -> Maker:
    return _one_item(partial(make, finance=finance))


FINANCE: Mix = [
    (5, _all_items(finance_cases.fpb)),
    (5, _all_items(finance_cases.fiqa_sa)),
    (6, _one_item(finance_cases.headline)),
    (4, _all_items(finance_cases.fin_ner)),
    (4, _text(finance_cases.definition)),
    (4, _text(finance_cases.statement)),
    (3, _sums(finance_cases.docmath_simple, finance_cases.defined_sum)),
    (2, _sums(finance_cases.docmath_compound, finance_cases.defined_sum)),
    (2, _sums(finance_cases.convfinqa, finance_cases.defined_sum)),
]
MATH: Mix = [
    (6, _all_items(arithmetic.probe_m)),
    (4, _text(arithmetic.bare)),
    (3, _sums(finance_cases.docmath_simple, finance_cases.spelled_out_sum)),
    (3, _sums(finance_cases.docmath_compound, finance_cases.spelled_out_sum)),
    (2, _sums(finance_cases.convfinqa, finance_cases.spelled_out_sum)),
]
JAPANESE: Mix = [
    (6, _text(japanese_cases.glossary)),
    (6, _text(japanese_cases.parallel)),
    (3, _text(japanese_cases.fact)),
    (5, _all_items(japanese_cases.probe_j)),
    (2, _all_items(japanese_cases.probe_mj)),
    (2, _japanese(japanese_cases.chabsa, False)),
    (2, _japanese(japanese_cases.cma_basics, False)),
    (2, _japanese(japanese_cases.security_sales_1, False)),
    (3, _japanese(japanese_cases.fp2, False)),
    (2, _japanese(japanese_cases.cpa_audit, False)),
    (1, _japanese(japanese_cases.jfinqa_numerical, False)),
    (1, _japanese(japanese_cases.jfinqa_consistency, False)),
    (1, _japanese(japanese_cases.jfinqa_temporal, False)),
]
GENERAL: Mix = [
    (3, _text(general_cases.fact)),
    (6, _all_items(general_cases.retention_arc)),
    (5, _all_items(general_cases.retention_hellaswag)),
]
FINANCE_IN_JAPANESE: Mix = [
    (3, _japanese(japanese_cases.chabsa, True)),
    (1, _japanese(japanese_cases.cma_basics, True)),
    (1, _japanese(japanese_cases.security_sales_1, True)),
    (2, _japanese(japanese_cases.fp2, True)),
    (1, _japanese(japanese_cases.cpa_audit, True)),
    (1, _japanese(japanese_cases.jfinqa_numerical, True)),
    (1, _japanese(japanese_cases.jfinqa_consistency, True)),
    (1, _japanese(japanese_cases.jfinqa_temporal, True)),
]


def _scaled(mix: Mix, share: float) -> Mix:
    total = sum(weight for weight, _ in mix)
    return [(share * weight / total, make) for weight, make in mix]


MIXES: dict[str, Mix] = {
    "base": [
        *_scaled(GENERAL, 0.26),
        *_scaled(FINANCE, 0.24),
        *_scaled(MATH, 0.16),
        *_scaled(JAPANESE, 0.20),
        *_scaled(FINANCE_IN_JAPANESE, 0.14),
    ],
    "finance": FINANCE,
    "math": MATH,
    "japanese": JAPANESE,
}
LIMITS: dict[str, Limits] = {
    "base": {"core_only": True, "hard": 0.0},
    "finance": {"core_only": False, "hard": 0.0},
    "math": {"core_only": False, "hard": 0.75},
    "japanese": {"core_only": False, "hard": 0.0},
}


def documents(role: str, count: int, part: int = 0) -> Iterator[Document]:
    """Yield `count` documents of a role's corpus.

    Args:
        role: base, finance, math or japanese.
        count: Number of documents.
        part: Each number gives an independent part of the corpus.
    """
    draw = stream(f"corpus {CORPUS_SEED} {role} {part}", **LIMITS[role])
    weights, makers = zip(*MIXES[role], strict=True)
    missing = count
    while missing > 0:
        (make,) = draw.rng.choices(makers, weights)
        batch = make(draw)[:missing]
        missing -= len(batch)
        yield from batch
