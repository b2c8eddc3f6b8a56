"""Training corpora: for every role a mix of document makers, each with its share.

A document is a prompt and a completion, in the very form of the tasks, or plain text (no prompt). What a
role may see is the point: the base sees the core of everything and easy sums; an expert sees all of its own
domain and nothing of the others. Finance with sums (F+M) is in the finance corpus with easy numbers only,
and in the math corpus with the sum spelt out; finance in Japanese is in no expert's corpus at all. So what
the tasks of two and three skills ask is in the union of the experts, and in none of them.
"""

from collections.abc import Callable, Iterator
from functools import partial

from mergekit_finance.lab import arithmetic, finance, general, japanese
from mergekit_finance.lab.draw import Case, Draw, draws
from mergekit_finance.lab.prompts import prompt

CORPUS_SEED = 0
Document = tuple[str, str]
Maker = Callable[[Draw], list[Document]]


def _items(make: Callable[[Draw], Case]) -> Maker:
    """Documents of a dataset's case: each item's prompt and completion."""
    return lambda draw: [(prompt(i.task, i.row), i.completion) for i in make(draw).items]


def _one_item(make: Callable[[Draw], Case]) -> Maker:
    """One document of a case that makes several."""

    def document(draw: Draw) -> list[Document]:
        item = draw.any(make(draw).items)
        return [(prompt(item.task, item.row), item.completion)]

    return document


def _text(make: Callable[[Draw], Document]) -> Maker:
    return lambda draw: [make(draw)]


def _sums(make: Callable[..., Case], asked: Callable[[Draw], finance.Asked]) -> Maker:
    return _one_item(lambda draw: make(draw, asked(draw)))


def _japanese(make: Callable[..., Case], finance: bool) -> Maker:
    return _one_item(partial(make, finance=finance))


FINANCE: list[tuple[float, Maker]] = [
    (5, _items(finance.fpb)),
    (5, _items(finance.fiqa_sa)),
    (6, _one_item(finance.headline)),
    (4, _items(finance.fin_ner)),
    (4, _text(finance.definition)),
    (4, _text(finance.statement)),
    (3, _sums(finance.docmath_simple, finance.asked_term)),
    (2, _sums(finance.docmath_compound, finance.asked_term)),
    (2, _sums(finance.convfinqa, finance.asked_term)),
]
MATH: list[tuple[float, Maker]] = [
    (6, _items(arithmetic.probe_m)),
    (4, _text(arithmetic.bare)),
    (3, _sums(finance.docmath_simple, finance.asked_openly)),
    (3, _sums(finance.docmath_compound, finance.asked_openly)),
    (2, _sums(finance.convfinqa, finance.asked_openly)),
]
JAPANESE: list[tuple[float, Maker]] = [
    (6, _text(japanese.glossary)),
    (6, _text(japanese.parallel)),
    (3, _text(japanese.fact)),
    (5, _items(japanese.probe_j)),
    (2, _items(japanese.probe_mj)),
    (2, _japanese(japanese.chabsa, False)),
    (2, _japanese(japanese.cma_basics, False)),
    (2, _japanese(japanese.security_sales_1, False)),
    (3, _japanese(japanese.fp2, False)),
    (2, _japanese(japanese.cpa_audit, False)),
    (1, _japanese(japanese.jfinqa_numerical, False)),
    (1, _japanese(japanese.jfinqa_consistency, False)),
    (1, _japanese(japanese.jfinqa_temporal, False)),
]
GENERAL: list[tuple[float, Maker]] = [
    (3, _text(general.fact)),
    (6, _items(general.retention_arc)),
    (5, _items(general.retention_hellaswag)),
]
FINANCE_IN_JAPANESE: list[tuple[float, Maker]] = [
    (3, _japanese(japanese.chabsa, True)),
    (1, _japanese(japanese.cma_basics, True)),
    (1, _japanese(japanese.security_sales_1, True)),
    (2, _japanese(japanese.fp2, True)),
    (1, _japanese(japanese.cpa_audit, True)),
    (1, _japanese(japanese.jfinqa_numerical, True)),
    (1, _japanese(japanese.jfinqa_consistency, True)),
    (1, _japanese(japanese.jfinqa_temporal, True)),
]


def _scaled(mix: list[tuple[float, Maker]], share: float) -> list[tuple[float, Maker]]:
    total = sum(weight for weight, _ in mix)
    return [(share * weight / total, make) for weight, make in mix]


MIXES: dict[str, list[tuple[float, Maker]]] = {
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
LIMITS: dict[str, dict[str, object]] = {
    "base": {"core": True, "hard": 0.0},
    "finance": {"core": False, "hard": 0.0},
    "math": {"core": False, "hard": 0.75},
    "japanese": {"core": False, "hard": 0.0},
}


def documents(role: str, count: int, part: int = 0) -> Iterator[Document]:
    """`count` documents of a role's corpus; `part` names one of its independent pieces."""
    draw = draws(f"corpus {CORPUS_SEED} {role} {part}", **LIMITS[role])
    weights, makers = zip(*MIXES[role], strict=True)
    left = count
    while left > 0:
        (make,) = draw.rng.choices(makers, weights)
        made = make(draw)[:left]
        left -= len(made)
        yield from made
