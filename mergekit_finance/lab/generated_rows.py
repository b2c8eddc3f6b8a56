"""Test rows of the lab's world, in the raw layouts that the datasets' adapters read."""

from collections.abc import Callable
from functools import cache

from mergekit_finance.errors import DataError
from mergekit_finance.files import JsonObject
from mergekit_finance.lab import arithmetic, finance_cases, general_cases, japanese_cases, retention_cases
from mergekit_finance.lab.draw import Case, Draw, Item, stream

ROWS_SEED = 0
# Enough for an interval of ±0.06 on a score of one half; a headline makes six questions, others one or two.
COUNT = 240
HARD = 0.6  # share of sums with larger numbers than in the base's corpus
MakeCase = Callable[[Draw], Case]
Ids = Callable[[int], JsonObject]  # the id columns of the n-th record


def _sums(make: Callable[[Draw, finance_cases.AskedSum], Case]) -> MakeCase:
    return lambda draw: make(draw, finance_cases.defined_sum(draw))


def _text_id(column: str, form: str = "lab-{}") -> Ids:
    return lambda n: {column: form.format(n)}


def _number_id(column: str) -> Ids:
    return lambda n: {column: n}


def _jfinqa(name: str) -> tuple[MakeCase, str, Ids, int]:
    make: MakeCase = getattr(japanese_cases, f"jfinqa_{name}")
    return make, "jfinqa", lambda n: {"id": f"lab-{name}-{n}", "source_doc_id": f"lab-{name}-{n}"}, COUNT


# (dataset, subset): how a case is made, the adapter that reads it, its ids, the number of records
SOURCES: dict[tuple[str, str], tuple[MakeCase, str, Ids, int]] = {
    ("fpb", "default"): (finance_cases.fpb, "phrasebank", _text_id("id"), COUNT),
    ("fiqa_sa", "default"): (finance_cases.fiqa_sa, "fiqa", _text_id("id"), COUNT),
    ("headline", "default"): (finance_cases.headline, "headline_columns", _text_id("URL"), COUNT // 5),
    ("fin_ner", "default"): (finance_cases.fin_ner, "fin_ner", _text_id("id"), COUNT),
    ("convfinqa", "default"): (
        _sums(finance_cases.convfinqa), "convfinqa", _text_id("id", "Single_LAB/{}/page_1.pdf-1"), COUNT // 2,
    ),
    ("docmath", "simpshort"): (_sums(finance_cases.docmath_simple), "docmath", _text_id("question_id"), COUNT),
    ("docmath", "compshort"): (_sums(finance_cases.docmath_compound), "docmath", _text_id("question_id"), COUNT),
    ("chabsa", "default"): (
        japanese_cases.chabsa, "chabsa", lambda n: {"header": {"document_id": f"lab-{n}"}}, COUNT // 2,
    ),
    ("cma_basics", "default"): (japanese_cases.cma_basics, "jlm_exam", _number_id("id"), COUNT),
    ("security_sales_1", "default"): (japanese_cases.security_sales_1, "jlm_exam", _number_id("id"), 100),
    ("fp2", "default"): (japanese_cases.fp2, "jlm_numbered", _number_id("id"), COUNT),
    ("cpa_audit", "default"): (japanese_cases.cpa_audit, "cpa_audit", _number_id("q_no"), COUNT),
    ("jfinqa", "numerical_reasoning"): _jfinqa("numerical"),
    ("jfinqa", "consistency_checking"): _jfinqa("consistency"),
    ("jfinqa", "temporal_reasoning"): _jfinqa("temporal"),
    ("arc", "default"): (general_cases.retention_arc, "arc", _text_id("id"), 120),
    ("hellaswag", "default"): (general_cases.retention_hellaswag, "hellaswag", _number_id("ind"), 96),
    ("gsm8k", "default"): (arithmetic.probe_m, "gsm8k", lambda n: {}, COUNT),
    ("mgsm_ja", "default"): (japanese_cases.probe_mj, "mgsm", lambda n: {}, COUNT),
    ("jcommonsenseqa", "default"): (japanese_cases.probe_j, "jcommonsenseqa", _number_id("q_id"), 108),
}  # fmt: skip

# The same for datasets that no lab model was trained on.
UNTRAINED: dict[tuple[str, str], tuple[MakeCase, str, Ids, int]] = {
    ("arc_easy", "default"): (retention_cases.arc_easy, "arc", _text_id("id"), 96),
    ("piqa", "default"): (retention_cases.piqa, "piqa", lambda n: {}, 96),
    ("boolq", "default"): (retention_cases.boolq, "boolq", lambda n: {}, 96),
    ("winogrande", "default"): (retention_cases.winogrande, "winogrande", lambda n: {}, 96),
    ("lambada", "default"): (retention_cases.lambada, "lambada", lambda n: {}, 96),
    ("openbookqa", "default"): (retention_cases.openbookqa, "openbookqa", _text_id("id"), 96),
    ("svamp", "default"): (retention_cases.svamp, "svamp", _text_id("ID"), COUNT),
}
ALL_SOURCES = {**SOURCES, **UNTRAINED}

# Columns that make two cases the same question; the order of the options does not.
QUESTION_COLUMNS = (
    "question", "text", "sentence", "context", "statements", "paragraphs", "table", "table_rows", "target",
    "choices",
)  # fmt: skip


@cache
def cases(dataset: str, subset: str = "default") -> tuple[Case, ...]:
    """Return the test cases of a dataset, no two with the same question; the same ones every time."""
    make, _, ids, count = ALL_SOURCES[dataset, subset]
    draw = stream(f"rows {ROWS_SEED} {dataset} {subset}", hard=HARD, test=True)
    by_question: dict[str, Case] = {}
    while len(by_question) < count:
        case = make(draw)
        question = repr([case.items[0].row.get(column) for column in QUESTION_COLUMNS])
        by_question.setdefault(question, Case(ids(len(by_question)) | case.record, case.items))
    return tuple(by_question.values())


def records(dataset: str, subset: str = "default") -> tuple[dict[str, list[JsonObject]], str]:
    """Return raw records by split, and the name of the adapter that reads them.

    Raises:
        DataError: the lab has no rows of this dataset and subset.
    """
    if (dataset, subset) not in ALL_SOURCES:
        datasets = ", ".join(sorted({name for name, _ in ALL_SOURCES}))
        raise DataError(f"{dataset}/{subset}: the lab has no rows of it. It has rows of: {datasets}.")
    return {"test": [case.record for case in cases(dataset, subset)]}, ALL_SOURCES[dataset, subset][1]


def items(task: str) -> list[Item]:
    """Return the test items of one task; `task` is its name without the prefix `finance_bench_`."""
    every = (case for key in ALL_SOURCES for case in cases(*key))
    return [item for case in every for item in case.items if item.task == task]
