"""`process_results` of every task: functions from a document and the model's results to the item's metrics.

The YAMLs call them as `!function mergekit_finance.scoring.metrics.<name>`. Every function returns

* `score`: the task's primary metric, a float or a tuple that the task's aggregation (in `aggregate`) turns
  into a float;
* `correct`: 1.0 or 0.0 for this item, shown in answer sheets;
* for generation, `no_answer`: 1.0 if no answer could be extracted. Such an item counts as wrong;
* where an answer without a marker is read from the last sentences, `answer_from`: "marker", "fallback" or
  "none", and `marker_score`: the score if only marked answers counted.

If the gold index is -1 (no option is right), every choice is an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from mergekit_finance.scoring.answers import (
    FinalAnswer,
    direct_items,
    direct_number,
    direct_yes_no,
    final_answer,
)
from mergekit_finance.scoring.choices import committed_choice
from mergekit_finance.scoring.documents import (
    ChoiceDocument,
    ConvFinQADocument,
    EntitiesDocument,
    HeadlineDocument,
    JfinqaDocument,
    NumberDocument,
    TatqaDocument,
)
from mergekit_finance.scoring.entities import (
    adaptllm_f1,
    format_entities,
    match_counts,
    mention_key,
    parse_entities,
)
from mergekit_finance.scoring.japanese_answers import judge
from mergekit_finance.scoring.japanese_text import AnswerSource
from mergekit_finance.scoring.markers import marked_statements
from mergekit_finance.scoring.matching import (
    convfinqa_adaptllm_match,
    convfinqa_match,
    docmath_official_match,
    jfinqa_answer,
    jfinqa_exact,
    jfinqa_match,
)
from mergekit_finance.scoring.number_match import asked, is_written_as_percent, number_matches
from mergekit_finance.scoring.numbers import Number, parse_number
from mergekit_finance.scoring.tatqa import tatqa_is_computed, tatqa_match

Metrics: TypeAlias = dict[str, "float | str | tuple[int, ...]"]
# For each option: its summed log-likelihood, and whether greedy decoding would generate it.
Likelihoods: TypeAlias = Sequence[tuple[float, bool]]
# The generated text, or a list of texts if the task sets repeats.
Generations: TypeAlias = Sequence["str | list[str]"]

# The question of a complete prompt is searched in this many characters at its end.
_QUESTION_LENGTH = 300


# ---- choices


def choice_f1(doc: ChoiceDocument, results: Likelihoods) -> Metrics:
    """Score fpb, fiqa_sa and fomc: `score` is (gold, choice), for `weighted_f1`.

    `f1_token` is the same for AdaptLLM's choice, by the mean log-likelihood per token.
    """
    return _f1_metrics(doc, results)


def headline(doc: HeadlineDocument, results: Likelihoods) -> Metrics:
    """Score headline: `score` and `f1_token` are (class_id, gold, choice), for `headline_mean_f1`."""
    return _f1_metrics(doc, results, doc["class_id"])


def chabsa(doc: ChoiceDocument, results: Likelihoods) -> Metrics:
    """Score chabsa: `score` is (gold, choice), for `macro_f1_two_class`.

    A neutral row (gold -1) is always wrong. `f1_space` is (gold, choice) among the options after one space,
    the delimiter of the pfnet harness. The task asks for them after the plain options.
    """
    metrics, with_space = choice_f1(doc, results), results[len(doc["options"]) :]
    if with_space:
        metrics["f1_space"] = (doc["gold_index"], _choice_metrics(doc, with_space)[1])
    return metrics


def choice_acc(doc: ChoiceDocument, results: Likelihoods) -> Metrics:
    """Score the examinations and general multiple-choice tasks: `score` is accuracy."""
    metrics, _ = _choice_metrics(doc, results)
    return {"score": metrics["acc"], **metrics}


def gap_choice(doc: ChoiceDocument, results: Likelihoods) -> Metrics:
    """Score winogrande: one text is rated after each option, so the options' lengths do not matter."""
    metrics, _ = _choice_metrics(doc, results)
    return {"score": metrics["acc"], "acc": metrics["acc"], "correct": metrics["correct"]}


def last_word(doc: object, results: Likelihoods) -> Metrics:
    """Score lambada: whether greedy decoding would write the word; `perplexity` takes its log-likelihood."""
    ((log_likelihood, is_greedy),) = results
    right = float(is_greedy)
    return {"score": right, "acc": right, "perplexity": log_likelihood, "correct": right}


def _f1_metrics(doc: ChoiceDocument, results: Likelihoods, *question: int) -> Metrics:
    """Return the metrics of a choice with `score` and, if possible, `f1_token`: (*question, gold, choice)."""
    metrics, choice = _choice_metrics(doc, results)
    gold, token_choice = doc["gold_index"], _choice_per_token(doc, results)
    if token_choice is not None:
        metrics["f1_token"] = (*question, gold, token_choice)
    return {"score": (*question, gold, choice), **metrics}


def _choice_metrics(doc: ChoiceDocument, results: Likelihoods) -> tuple[Metrics, int]:
    """Return `acc`, `acc_norm`, `correct`, `acc_token` if possible, and the index of the chosen option.

    The option with the highest summed log-likelihood is chosen, the first in a tie, as in lm-eval.
    `acc_norm` divides by the option's number of characters, `acc_token` by its number of tokens.
    """
    options, gold = doc["options"], doc["gold_index"]
    likelihoods = _likelihoods(doc, results)
    choice = _most_likely(likelihoods, [1] * len(options))
    acc = float(choice == gold)
    acc_norm = float(_most_likely(likelihoods, [len(text) for text in options]) == gold)
    metrics: Metrics = {"acc": acc, "acc_norm": acc_norm}
    token_choice = _choice_per_token(doc, results)
    if token_choice is not None:
        metrics["acc_token"] = float(token_choice == gold)
    return {**metrics, "correct": acc}, choice


def _choice_per_token(doc: ChoiceDocument, results: Likelihoods) -> int | None:
    """Return AdaptLLM's choice: the option with the highest mean log-likelihood per token.

    lm-eval passes no token counts, so the result is None for documents without `option_tokens`.
    """
    option_tokens = doc.get("option_tokens")
    return _most_likely(_likelihoods(doc, results), option_tokens) if option_tokens else None


def _likelihoods(doc: ChoiceDocument, results: Likelihoods) -> list[float]:
    return [likelihood for likelihood, _ in results[: len(doc["options"])]]


def _most_likely(likelihoods: Sequence[float], lengths: Sequence[int]) -> int:
    """Return the index of the highest likelihood per unit of length. NaN counts as the lowest."""
    rates = [likelihood / max(length, 1) for likelihood, length in zip(likelihoods, lengths, strict=True)]
    rates = [-math.inf if math.isnan(rate) else rate for rate in rates]
    return max(range(len(rates)), key=rates.__getitem__)


# ---- generation


def choice_cot(doc: ChoiceDocument, results: Generations) -> Metrics:
    """Score fp2_cot: whether the label that `choices.committed_choice` reads is the gold label."""
    labels, gold = doc["options"], doc["gold_index"]
    label, source = committed_choice(_text(results), labels)
    right = label is not None and 0 <= gold < len(labels) and label == labels[gold]
    return _sourced_metrics(right, source)


def convfinqa(doc: ConvFinQADocument, results: Generations) -> Metrics:
    """Score convfinqa: the number on the first line, by `matching.convfinqa_match`; yes and no as words.

    If a document has no executed value, the written `answer` is the gold number. `convfinqa_adaptllm` is
    AdaptLLM's rule. A document with neither `percent` nor `question` does not ask for a percentage.
    """
    text = _text(results)
    return _convfinqa_metrics(doc, text, _direct(text, doc))


def convfinqa_cot(doc: ConvFinQADocument, results: Generations) -> Metrics:
    """Score convfinqa_cot: as convfinqa, but the last marked statement is the answer, or the last sentence.

    `convfinqa_adaptllm` is AdaptLLM's rule for the marked statement.
    """
    text = _text(results)
    statement = next(reversed(marked_statements(text)), None)
    line = "" if statement is None or statement.denied else statement.text
    return _convfinqa_metrics(doc, line, final_answer(text, _question(doc)))


def _convfinqa_metrics(doc: ConvFinQADocument, line: str, read: FinalAnswer) -> Metrics:
    """Return the metrics of an answer, given as a text that starts with it and as the number it states."""
    source: AnswerSource
    answer = str(doc["answer"]).strip()
    if answer.lower() in ("yes", "no"):
        yes_or_no = direct_yes_no(line)
        right, source = yes_or_no == answer.lower(), "marker" if yes_or_no else "none"
    else:
        right, source = _convfinqa_right(doc, answer, read.number), read.source
    loose = float(convfinqa_adaptllm_match(line, answer))
    return {**_sourced_metrics(right, source), "convfinqa_adaptllm": loose}


def _convfinqa_right(doc: ConvFinQADocument, answer: str, number: Number | None) -> bool:
    executed = doc.get("executed_answer")
    written = parse_number(answer)
    if executed is None and written:
        executed = written.written
    if number is None or not isinstance(executed, int | float):
        return False
    document = "\n".join(str(doc.get(part) or "") for part in ("before", "table", "after", "input"))
    about = asked(_question(doc), document, percent=bool(doc.get("percent")))
    if number.percent and is_written_as_percent(document, Number(float(executed))):
        about = replace(about, rate=True)
    return convfinqa_match(number, float(executed), answer, about)


def docmath(doc: NumberDocument, results: Generations) -> Metrics:
    """Score docmath_ss and docmath_cs: the number on the first line.

    `score` is `number_match.number_matches`; `docmath_official` is the rule of the dataset's repository.
    """
    text = _text(results)
    return _docmath_metrics(doc, text, _direct(text, doc))


def docmath_cot(doc: NumberDocument, results: Generations) -> Metrics:
    """Score docmath_ss_cot, docmath_cs_cot and financemath: the number that `final_answer` reads."""
    text = _text(results)
    return _docmath_metrics(doc, text, final_answer(text, _question(doc)))


def _direct(text: str, doc: ConvFinQADocument | NumberDocument | TatqaDocument) -> FinalAnswer:
    """Return the number on the first line, which a task without reasoning takes as marked."""
    number = direct_number(text, _question(doc))
    return FinalAnswer(number, "none" if number is None else "marker")


def _docmath_metrics(doc: NumberDocument, text: str, read: FinalAnswer) -> Metrics:
    gold, number = float(doc["ground_truth"]), read.number
    document = "\n".join([*doc.get("paragraphs", []), *doc.get("tables", [])])
    about = asked(str(doc["question"]), document, percent=bool(doc.get("percent")))
    right = number is not None and number_matches(
        number, gold, about, is_percent_elsewhere=is_written_as_percent(text, number)
    )
    official = number is not None and docmath_official_match(number, gold)
    return {**_sourced_metrics(right, read.source), "docmath_official": float(official)}


def exact_number_cot(doc: NumberDocument, results: Generations) -> Metrics:
    """Score GSM8K, SVAMP and MGSM: whether the number of the last answer is the gold number (within 1e-6).

    Parentheses around it are no minus sign, because these problems are not about accounts.
    """
    number, source = final_answer(_text(results), _question(doc))
    value = 0.0 if number is None else -number.value if number.in_parentheses else number.value
    right = number is not None and math.isclose(value, doc["ground_truth"], abs_tol=1e-6)
    return _sourced_metrics(right, source)


def jfinqa(doc: JfinqaDocument, results: Generations) -> Metrics:
    """Score jfinqa: `score` by `japanese_answers.judge`.

    `numerical_match` and `exact_match` are the rules of lm-eval's built-in jfinqa tasks.
    """
    return _jfinqa_metrics(doc, _text(results), reasoning=False)


def jfinqa_cot(doc: JfinqaDocument, results: Generations) -> Metrics:
    """Score jfinqa with chain of thought: as `jfinqa`, but the first line is not the answer."""
    return _jfinqa_metrics(doc, _text(results), reasoning=True)


def _jfinqa_metrics(doc: JfinqaDocument, text: str, *, reasoning: bool) -> Metrics:
    right, source = judge(text, doc, reasoning=reasoning)
    builtin, gold = jfinqa_answer(text), str(doc["answer"])
    return {
        **_sourced_metrics(right, source),
        "numerical_match": float(jfinqa_match(builtin, gold)),
        "exact_match": float(jfinqa_exact(builtin, gold)),
    }


def entities(doc: EntitiesDocument, results: Generations) -> Metrics:
    """Score fin_ner: `score` is the counts of right, predicted and gold mentions, for `corpus_entity_f1`.

    `correct` is 1.0 if the mentions equal the gold mentions exactly. `adaptllm_f1` is AdaptLLM's F1 of the
    sentence, against the dataset's `label` text if the document has it.
    """
    text = _text(results)
    predicted = parse_entities(text)
    counts = match_counts(map(mention_key, doc["entities"]), map(mention_key, predicted))
    label = doc.get("label") or format_entities(doc["entities"])
    metrics = _generation_metrics(counts[0] == counts[1] == counts[2], missing=not predicted)
    return {**metrics, "score": counts, "adaptllm_f1": adaptllm_f1(label, text)}


def tatqa(doc: TatqaDocument, results: Generations) -> Metrics:
    """Score tatqa: the first line, or the bulleted list that starts there, by `tatqa.tatqa_match`."""
    text = _text(results)
    return _tatqa_metrics(doc, "; ".join(direct_items(text)), _direct(text, doc))


def tatqa_cot(doc: TatqaDocument, results: Generations) -> Metrics:
    """Score tatqa_cot: the last marked statement, by `tatqa.tatqa_match`; a number also without marker."""
    text = _text(results)
    statement = next(reversed(marked_statements(text)), None)
    answer = "" if statement is None or statement.denied else "; ".join(statement.items)
    return _tatqa_metrics(doc, answer, final_answer(text, _question(doc)))


def _tatqa_metrics(doc: TatqaDocument, answer: str, read: FinalAnswer) -> Metrics:
    if tatqa_is_computed(doc):
        return _sourced_metrics(tatqa_match(answer, read.number, doc), read.source)
    right = bool(answer) and tatqa_match(answer, read.number, doc)
    return _sourced_metrics(right, "marker" if answer else "none")


def _generation_metrics(right: bool, missing: bool) -> Metrics:
    return {"score": float(right), "correct": float(right), "no_answer": float(missing)}


def _sourced_metrics(right: bool, source: AnswerSource) -> Metrics:
    """Return the metrics of an answer, its source, and `marker_score`, which counts marked answers only."""
    metrics = _generation_metrics(right, missing=source == "none")
    return {**metrics, "answer_from": source, "marker_score": float(right and source == "marker")}


def _text(results: Generations) -> str:
    """Return the generated text; with repeats, the first one."""
    first = results[0] if results else ""
    return str(first[0] if isinstance(first, list) and first else first or "")


def _question(doc: ConvFinQADocument | NumberDocument | TatqaDocument) -> str:
    """Return the question, or the last question in `input`.

    It decides the sign of a decrease or a loss (`stated_number.signed`).
    """
    prompt_end = str(doc.get("input") or "")[-_QUESTION_LENGTH:]
    before, _, last_question = prompt_end.rpartition("?")[0].rpartition("?")
    return str(doc.get("question") or "") or last_question or before
