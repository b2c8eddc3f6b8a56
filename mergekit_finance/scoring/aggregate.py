"""Aggregations for the task YAMLs: each takes the items' values of one metric and returns a float in [0, 1].

The results equal those of scikit-learn and seqeval where these define the metric. Without items, it is 0.0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

CHABSA_CLASSES = (0, 1)


def f1(right: int, predicted: int, gold: int) -> float:
    """Return the harmonic mean of precision and recall, 0.0 if nothing is right: f1(1, 1, 2) -> 2/3."""
    return 2 * right / (predicted + gold) if right else 0.0


def class_f1(items: Iterable[Sequence[Hashable]]) -> dict[Hashable, tuple[float, int]]:
    """Return F1 and number of gold items of each class in (gold, prediction) pairs."""
    pairs = [(gold, pred) for gold, pred in items]
    golds, preds = Counter(gold for gold, _ in pairs), Counter(pred for _, pred in pairs)
    right = Counter(gold for gold, pred in pairs if gold == pred)
    return {label: (f1(right[label], preds[label], golds[label]), golds[label]) for label in golds | preds}


def fallback_share(items: Iterable[str]) -> float:
    """Return the share of outputs whose answer has no marker, from the items' `answer_from`."""
    sources = list(items)
    return sources.count("fallback") / len(sources) if sources else 0.0


def weighted_f1(items: Iterable[Sequence[Hashable]]) -> float:
    """Return the F1 of (gold, prediction) pairs per class, weighted by gold counts.

    It is scikit-learn's `f1_score(average="weighted")`, and the metric of FPB and FiQA-SA in BloombergGPT and
    AdaptLLM.
    """
    scores = class_f1(items).values()
    total = sum(count for _, count in scores)
    return sum(score * count for score, count in scores) / total if total else 0.0


def macro_f1_two_class(items: Iterable[Sequence[Hashable]]) -> float:
    """Return chABSA's score: the mean F1 of positive (0) and negative (1) over (gold, prediction) pairs.

    If the gold label is neutral (-1), every prediction is an error. pfnet-research/japanese-lm-fin-harness
    computes the same number as 1.5 times the macro F1 of three classes, because neutral is never predicted.
    The mean is over two classes even if one does not occur.
    """
    scores = class_f1(items)
    return sum(scores.get(label, (0.0, 0))[0] for label in CHABSA_CLASSES) / len(CHABSA_CLASSES)


def headline_f1_by_question(items: Iterable[Sequence[Hashable]]) -> dict[Hashable, float]:
    """Return the weighted F1 of each question, by class_id. Items are (class_id, gold, prediction)."""
    questions: defaultdict[Hashable, list[tuple[Hashable, Hashable]]] = defaultdict(list)
    for class_id, gold, pred in items:
        questions[class_id].append((gold, pred))
    return {class_id: weighted_f1(pairs) for class_id, pairs in questions.items()}


def headline_mean_f1(items: Iterable[Sequence[Hashable]]) -> float:
    """Return the weighted F1, averaged over the nine or six questions that occur (BloombergGPT, AdaptLLM).

    Args:
        items: (class_id, gold, prediction) of each item.
    """
    scores = headline_f1_by_question(items).values()
    return sum(scores) / len(scores) if scores else 0.0


def corpus_entity_f1(items: Iterable[Sequence[int]]) -> float:
    """Return the micro F1 over the corpus, which is seqeval's `f1_score`.

    Args:
        items: (right, predicted, gold) counts of each sentence.
    """
    right = predicted = gold = 0
    for item_right, item_predicted, item_gold in items:
        right, predicted, gold = right + item_right, predicted + item_predicted, gold + item_gold
    return f1(right, predicted, gold)
