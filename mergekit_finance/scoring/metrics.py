"""`process_results` of every task: one document and the model's results in, its metrics out.

Named in the YAMLs as `!function mergekit_finance.scoring.metrics.<name>`. Every function returns

* `score`, the task's primary metric: a float, or the tuple that the task's aggregation turns into one float
  (`weighted_f1`, `headline_mean_f1`, `corpus_entity_f1`, `macro_f1_two_class` in `aggregate`);
* `correct`, 1.0 or 0.0 for this item alone, which answer sheets are made of;
* for generation, `no_answer`, 1.0 where nothing could be extracted; such an item is wrong.

A gold index of -1 (no option is right) is an error whatever the model says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mergekit_finance.scoring import answers, numbers, spans
from mergekit_finance.scoring import entities as ner

Document = dict[str, Any]
Metrics = dict[str, Any]
_YES_NO = {"yes", "no"}
_QUESTION = 300


def choice_f1(doc: Document, results: Sequence[tuple[float, bool]]) -> Metrics:
    """fpb, fiqa_sa: `score` is (gold, choice), for `weighted_f1`. Choices as in `_choice_metrics`."""
    metrics, choice = _choice_metrics(doc, results)
    return {"score": (doc["gold_index"], choice), **metrics}


def headline(doc: Document, results: Sequence[tuple[float, bool]]) -> Metrics:
    """headline: `score` is (class_id, gold, choice), for `headline_mean_f1`."""
    metrics, choice = _choice_metrics(doc, results)
    return {"score": (doc["class_id"], doc["gold_index"], choice), **metrics}


def chabsa(doc: Document, results: Sequence[tuple[float, bool]]) -> Metrics:
    """chabsa: `score` is (gold, choice), for `macro_f1_two_class`; gold -1 is a neutral row, always wrong."""
    return choice_f1(doc, results)


def choice_acc(doc: Document, results: Sequence[tuple[float, bool]]) -> Metrics:
    """cma_basics, cpa_audit, fp2, security_sales_1: `score` is accuracy by option likelihood."""
    metrics, _ = _choice_metrics(doc, results)
    return {"score": metrics["acc"], **metrics}


def choice_cot(doc: Document, results: Sequence[str]) -> Metrics:
    """fp2_cot: accuracy of the label that the reasoning closes with (`answers.final_choice`)."""
    labels = doc["options"]
    label = answers.final_choice(_text(results), labels)
    gold = doc["gold_index"]
    right = label is not None and 0 <= gold < len(labels) and label == labels[gold]
    return _generation_metrics(right, label is None)


def convfinqa(doc: Document, results: Sequence[str]) -> Metrics:
    """convfinqa: `score` by `numbers.convfinqa_match` against the executed value; yes and no literally.

    The written `answer` stands in where a row has no executed value. `convfinqa_adaptllm` is AdaptLLM's rule.
    Optional in the document: `percent`, or `question`, which tells whether a percentage is asked for.
    """
    text, answer = _text(results), str(doc["answer"]).strip()
    if answer.lower() in _YES_NO:
        said = answers.direct_yes_no(text)
        right, missing = said == answer.lower(), said is None
    else:
        number = answers.direct_number(text, _question(doc))
        right, missing = _convfinqa_right(doc, answer, number), number is None
    loose = float(numbers.convfinqa_adaptllm(text, answer))
    return {**_generation_metrics(right, missing), "convfinqa_adaptllm": loose}


def docmath(doc: Document, results: Sequence[str]) -> Metrics:
    """docmath_ss, docmath_cs: the number on the first line; `docmath_official` is the repository's rule."""
    return _docmath_metrics(doc, answers.direct_number(_text(results), _question(doc)))


def docmath_cot(doc: Document, results: Sequence[str]) -> Metrics:
    """docmath_ss_cot, docmath_cs_cot: the last marked answer ("Therefore, the answer is ...")."""
    return _docmath_metrics(doc, answers.final_number(_text(results), _question(doc)))


def jfinqa(doc: Document, results: Sequence[str]) -> Metrics:
    """jfinqa_*: `score` is `numerical_match`; both numbers equal those of lm-eval's built-in jfinqa tasks."""
    answer, gold = numbers.jfinqa_answer(_text(results)), str(doc["answer"])
    right = numbers.jfinqa_match(answer, gold)
    exact = float(numbers.jfinqa_exact(answer, gold))
    metrics = _generation_metrics(right, missing=not answer)
    return {**metrics, "numerical_match": float(right), "exact_match": exact}


def entities(doc: Document, results: Sequence[str]) -> Metrics:
    """fin_ner: `score` is (right, predicted, gold) mentions, for `corpus_entity_f1`.

    `correct` where the mentions are exactly the gold ones. `adaptllm_f1` is AdaptLLM's number for the
    sentence, against its own `label` text where the document has one.
    """
    text = _text(results)
    found = ner.parse_entities(text)
    counts = ner.match_counts(map(ner.mention_key, doc["entities"]), map(ner.mention_key, found))
    label = doc.get("label") or ner.format_entities(doc["entities"])
    metrics = _generation_metrics(counts[0] == counts[1] == counts[2], missing=not found)
    return {**metrics, "score": counts, "adaptllm_f1": ner.adaptllm_f1(label, text)}


def _choice_metrics(doc: Document, results: Sequence[tuple[float, bool]]) -> tuple[Metrics, int]:
    """`acc`, `acc_norm` and `correct`, and the choice: the option with the highest summed log-likelihood.

    `acc_norm` divides by the option's characters, as lm-eval. AdaptLLM's own choice is by mean log-likelihood
    per *token*; the host passes no token counts and they depend on the model, so `acc_token` is there only
    for documents that carry `option_tokens`. The first of equals wins, as in the host.
    """
    options, gold = doc["options"], doc["gold_index"]
    likelihoods = [likelihood for likelihood, _ in results[: len(options)]]
    choice = _best(likelihoods, [1] * len(options))
    right = float(choice == gold)
    metrics = {"acc": right, "acc_norm": float(_best(likelihoods, [len(text) for text in options]) == gold)}
    if doc.get("option_tokens"):
        metrics["acc_token"] = float(_best(likelihoods, doc["option_tokens"]) == gold)
    return {**metrics, "correct": right}, choice


def _best(likelihoods: Sequence[float], lengths: Sequence[int]) -> int:
    """Index of the highest likelihood per unit of length; NaN is the lowest."""
    rates = [likelihood / max(length, 1) for likelihood, length in zip(likelihoods, lengths, strict=True)]
    rates = [-math.inf if math.isnan(rate) else rate for rate in rates]
    return max(range(len(rates)), key=rates.__getitem__)


def _question(doc: Document) -> str:
    """The question, or the end of a prompt that comes whole, which tells the sign of a fall (`answers`)."""
    before, _, asked = str(doc.get("input") or "")[-_QUESTION:].rpartition("?")[0].rpartition("?")
    return str(doc.get("question") or "") or asked or before


def _text(results: Sequence[Any]) -> str:
    """The generated text; repeats, if any, come as a list of which the first counts."""
    first = results[0] if results else ""
    return str(first[0] if isinstance(first, list) and first else first or "")


def _generation_metrics(right: bool, missing: bool) -> Metrics:
    return {"score": float(right), "correct": float(right), "no_answer": float(missing)}


def _convfinqa_right(doc: Document, answer: str, number: numbers.Number | None) -> bool:
    executed = doc.get("executed_answer")
    gold = numbers.parse_number(answer)
    if executed is None and gold:
        executed = gold.written
    if number is None or not isinstance(executed, int | float):
        return False
    percent = bool(doc.get("percent")) or numbers.asks_percent(str(doc.get("question", "")))
    return numbers.convfinqa_match(number, float(executed), answer, percent=percent)


def _docmath_metrics(doc: Document, number: numbers.Number | None) -> Metrics:
    gold = float(doc["ground_truth"])
    percent_ok = bool(doc.get("percent")) or numbers.asks_percent(str(doc["question"]))
    right = number is not None and numbers.docmath_match(number, gold, percent_ok=percent_ok)
    official = number is not None and numbers.docmath_official(number, gold)
    return {**_generation_metrics(right, number is None), "docmath_official": float(official)}


def exact_number_cot(doc: Document, results: Sequence[str]) -> Metrics:
    """GSM8K, MGSM: the last marked answer equals the gold number."""
    number = answers.final_number(_text(results), _question(doc))
    right = number is not None and math.isclose(number.value, doc["ground_truth"], abs_tol=1e-6)
    return _generation_metrics(right, number is None)


def tatqa(doc: Document, results: Sequence[str]) -> Metrics:
    """TAT-QA: the first line, or the list that begins there, by `spans.tatqa_match`."""
    text = _text(results)
    said = "; ".join(answers.direct_items(text))
    return _tatqa_metrics(doc, said, answers.direct_number(text, _question(doc)))


def tatqa_cot(doc: Document, results: Sequence[str]) -> Metrics:
    """TAT-QA with reasoning: the last marked statement, by `spans.tatqa_match`."""
    text = _text(results)
    statement = next(reversed(answers.marked_statements(text)), None)
    said = "" if statement is None or statement.denied else "; ".join(statement.items)
    return _tatqa_metrics(doc, said, answers.final_number(text, _question(doc)))


def _tatqa_metrics(doc: Document, said: str, number: numbers.Number | None) -> Metrics:
    missing = number is None if spans.is_computed(doc) else not said
    return _generation_metrics(bool(said) and spans.tatqa_right(said, number, doc), missing)
