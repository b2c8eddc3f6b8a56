"""`process_results` of the tasks in `finance_bench_published`: `score` is the metric that was published.

Each takes its metric from the function of `scoring.metrics` that computes it beside our own `score`.
"""

from __future__ import annotations

from mergekit_finance.errors import DataError
from mergekit_finance.scoring.documents import (
    ChoiceDocument,
    ConvFinQADocument,
    EntitiesDocument,
    HeadlineDocument,
    JfinqaDocument,
    NumberDocument,
)
from mergekit_finance.scoring.metrics import (
    Generations,
    Likelihoods,
    Metrics,
    choice_f1,
    convfinqa,
    docmath_cot,
    entities,
    headline,
    jfinqa,
)


def choice_f1_token(doc: ChoiceDocument, results: Likelihoods) -> Metrics:
    """Score FPB and FiQA as AdaptLLM: `score` is (gold, choice per token), for `weighted_f1`.

    Raises:
        DataError: the row has no token counts, because the loader had no tokenizer.
    """
    return _per_token(choice_f1(doc, results))


def headline_f1_token(doc: HeadlineDocument, results: Likelihoods) -> Metrics:
    """Score Headline as AdaptLLM: `score` is (class_id, gold, choice per token), for `headline_mean_f1`.

    Raises:
        DataError: the row has no token counts, because the loader had no tokenizer.
    """
    return _per_token(headline(doc, results))


def _per_token(computed: Metrics) -> Metrics:
    if "f1_token" not in computed:
        raise DataError(
            "AdaptLLM's score needs the number of tokens of each option: the model names no tokenizer. "
            'Add it: --metadata \'{"tokenizer": "MODEL"}\'.'
        )
    return {"score": computed["f1_token"], "correct": computed["acc_token"]}


def entities_adaptllm(doc: EntitiesDocument, results: Generations) -> Metrics:
    """Score FIN NER as AdaptLLM: `score` is the F1 of the sentence."""
    computed = entities(doc, results)
    return {**_only(computed, "adaptllm_f1"), "correct": computed["correct"]}


def convfinqa_adaptllm(doc: ConvFinQADocument, results: Generations) -> Metrics:
    """Score ConvFinQA as AdaptLLM: whether a number on the first line is within 0.01 of the gold answer."""
    return _only(convfinqa(doc, results), "convfinqa_adaptllm")


def docmath_official(doc: NumberDocument, results: Generations) -> Metrics:
    """Score DocMath-Eval with chain of thought by the rule of its repository, for the number that we read."""
    computed = docmath_cot(doc, results)
    return {**_only(computed, "docmath_official"), "no_answer": computed["no_answer"]}


def jfinqa_builtin(doc: JfinqaDocument, results: Generations) -> Metrics:
    """Score jfinqa as lm-eval's built-in tasks: `score` is their `numerical_match`."""
    computed = jfinqa(doc, results)
    return {**_only(computed, "numerical_match"), "exact_match": computed["exact_match"]}


def _only(computed: Metrics, name: str) -> Metrics:
    """Return one metric as `score` and `correct`."""
    return {"score": computed[name], "correct": computed[name]}
