"""Aggregations named in the YAMLs: the per-item values of one metric in, one float out.

Own implementations, equal to scikit-learn's and seqeval's where those define the number. No items give 0.0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

CHABSA_CLASSES = (0, 1)


def f1(right: int, predicted: int, gold: int) -> float:
    """Harmonic mean of precision and recall from counts; 0.0 where nothing is right."""
    return 2 * right / (predicted + gold) if right else 0.0


def class_f1(items: Iterable[Sequence[Hashable]]) -> dict[Hashable, tuple[float, int]]:
    """Per class met in (gold, pred) pairs: its F1 and how many gold items it has."""
    pairs = [(gold, pred) for gold, pred in items]
    golds, preds = Counter(gold for gold, _ in pairs), Counter(pred for _, pred in pairs)
    right = Counter(gold for gold, pred in pairs if gold == pred)
    return {label: (f1(right[label], preds[label], golds[label]), golds[label]) for label in golds | preds}


def weighted_f1(items: Iterable[Sequence[Hashable]]) -> float:
    """F1 per class of (gold, pred), weighted by gold counts: scikit-learn's `average="weighted"`.

    The metric of FPB and FiQA-SA in BloombergGPT and AdaptLLM.
    """
    scores = class_f1(items).values()
    total = sum(count for _, count in scores)
    return sum(score * count for score, count in scores) / total if total else 0.0


def macro_f1_two_class(items: Iterable[Sequence[Hashable]]) -> float:
    """chABSA: mean F1 of positive (0) and negative (1); a neutral gold (-1) makes any prediction an error.

    pfnet-research/japanese-lm-fin-harness takes the macro F1 of three classes, of which neutral can never be
    predicted, times 1.5: the same number. Whichever classes are present, the mean is over two.
    """
    scores = class_f1(items)
    return sum(scores.get(label, (0.0, 0))[0] for label in CHABSA_CLASSES) / len(CHABSA_CLASSES)


def headline_f1_by_question(items: Iterable[Sequence[Hashable]]) -> dict[Hashable, float]:
    """Weighted F1 for each question of (class_id, gold, pred) items: the mean hides the easy ones."""
    questions: defaultdict[Hashable, list[tuple[Hashable, Hashable]]] = defaultdict(list)
    for class_id, gold, pred in items:
        questions[class_id].append((gold, pred))
    return {class_id: weighted_f1(pairs) for class_id, pairs in questions.items()}


def headline_mean_f1(items: Iterable[Sequence[Hashable]]) -> float:
    """Mean over the questions present of their weighted F1 (BloombergGPT, AdaptLLM), nine or six of them."""
    scores = headline_f1_by_question(items).values()
    return sum(scores) / len(scores) if scores else 0.0


def corpus_entity_f1(items: Iterable[Sequence[int]]) -> float:
    """Micro F1 over the corpus from sentences' (right, predicted, gold) counts, as seqeval's `f1_score`."""
    right = predicted = gold = 0
    for item_right, item_predicted, item_gold in items:
        right, predicted, gold = right + item_right, predicted + item_predicted, gold + item_gold
    return f1(right, predicted, gold)
