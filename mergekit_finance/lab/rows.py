"""Test rows in the raw layouts that the datasets' adapters read."""

from collections.abc import Callable
from typing import Any

from mergekit_finance.lab import arithmetic, finance, general, japanese
from mergekit_finance.lab.draw import Case, Draw, Item, draws

ROWS_SEED = 0
# Enough for an interval of ±0.06 on a score of one half; a headline makes six questions, others one or two.
COUNT = 240
HARD = 0.6  # share of sums beyond what the base was taught
Record = dict[str, Any]
Ids = Callable[[int], Record]


def _sums(make: Callable[[Draw, finance.Asked], Case]) -> Callable[[Draw], Case]:
    return lambda draw: make(draw, finance.asked_term(draw))


def _named(field: str, form: str = "lab-{}") -> Ids:
    return lambda n: {field: form.format(n)}


def _numbered(field: str) -> Ids:
    return lambda n: {field: n}


def _jfinqa(name: str) -> tuple[Callable[[Draw], Case], str, Ids, int]:
    make = getattr(japanese, f"jfinqa_{name}")
    return make, "jfinqa", lambda n: {"id": f"lab-{name}-{n}", "source_doc_id": f"lab-{name}-{n}"}, COUNT


# (dataset, subset): how a case is made, the adapter that reads it, its ids, how many records
SOURCES: dict[tuple[str, str], tuple[Callable[[Draw], Case], str, Ids, int]] = {
    ("fpb", "default"): (finance.fpb, "phrasebank", _named("id"), COUNT),
    ("fiqa_sa", "default"): (finance.fiqa_sa, "fiqa", _named("id"), COUNT),
    ("headline", "default"): (finance.headline, "headline_columns", _named("URL"), COUNT // 5),
    ("fin_ner", "default"): (finance.fin_ner, "fin_ner", _named("id"), COUNT),
    ("convfinqa", "default"): (
        _sums(finance.convfinqa), "convfinqa", _named("id", "Single_LAB/{}/page_1.pdf-1"), COUNT // 2,
    ),
    ("docmath", "simpshort"): (_sums(finance.docmath_simple), "docmath", _named("question_id"), COUNT),
    ("docmath", "compshort"): (_sums(finance.docmath_compound), "docmath", _named("question_id"), COUNT),
    ("chabsa", "default"): (
        japanese.chabsa, "chabsa", lambda n: {"header": {"document_id": f"lab-{n}"}}, COUNT // 2,
    ),
    ("cma_basics", "default"): (japanese.cma_basics, "jlm_exam", _numbered("id"), COUNT),
    ("security_sales_1", "default"): (japanese.security_sales_1, "jlm_exam", _numbered("id"), 100),
    ("fp2", "default"): (japanese.fp2, "jlm_numbered", _numbered("id"), COUNT),
    ("cpa_audit", "default"): (japanese.cpa_audit, "cpa_audit", _numbered("q_no"), COUNT),
    ("jfinqa", "numerical_reasoning"): _jfinqa("numerical"),
    ("jfinqa", "consistency_checking"): _jfinqa("consistency"),
    ("jfinqa", "temporal_reasoning"): _jfinqa("temporal"),
    ("arc", "default"): (general.retention_arc, "arc", _named("id"), 120),
    ("hellaswag", "default"): (general.retention_hellaswag, "hellaswag", _numbered("ind"), 96),
    ("gsm8k", "default"): (arithmetic.probe_m, "gsm8k", lambda n: {}, COUNT),
    ("mgsm_ja", "default"): (japanese.probe_mj, "mgsm", lambda n: {}, COUNT),
    ("jcommonsenseqa", "default"): (japanese.probe_j, "jcommonsenseqa", _numbered("q_id"), 108),
}  # fmt: skip


def cases(dataset: str, subset: str = "default") -> list[Case]:
    """The test cases of a dataset, no two with the same questions."""
    make, _, ids, count = SOURCES[dataset, subset]
    draw = draws(f"rows {ROWS_SEED} {dataset} {subset}", hard=HARD, test=True)
    found: dict[str, Case] = {}
    while len(found) < count:
        case = make(draw)
        found.setdefault(_asked(case.items[0]), Case(ids(len(found)) | case.record, case.items))
    return list(found.values())


def _asked(item: Item) -> str:
    """What makes two cases the same question; the order of options does not."""
    return repr(
        [
            item.row.get(name)
            for name in (
                "question",
                "text",
                "sentence",
                "context",
                "statements",
                "paragraphs",
                "table",
                "table_rows",
                "target",
                "choices",
            )
        ]
    )


def records(dataset: str, subset: str = "default") -> tuple[dict[str, list[Record]], str]:
    """Raw records by split, and the name of the adapter that reads them."""
    if (dataset, subset) not in SOURCES:
        from mergekit_finance.errors import DataError  # brings click, which training does without

        raise DataError(f"{dataset}/{subset}: the lab has no rows of it")
    return {"test": [case.record for case in cases(dataset, subset)]}, SOURCES[dataset, subset][1]


def items(task: str) -> list[Item]:
    """The test items of one task, for probing without a host."""
    return [item for key in SOURCES for case in cases(*key) for item in case.items if item.task == task]
