"""A task's aggregation as a function of sums over items, so that a cluster bootstrap is a matrix product.

`sufficient` turns per-item values, as lm-eval writes them in a sample (tuples become lists), into
an array (n items, s) and a `total`. `total(rows summed over any multiset of items)` is the aggregation of
that multiset. All aggregations in `scoring/aggregate.py` can be written this way, equal to 1e-12; any
other is called on the items themselves, which is much slower.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from mergekit_finance.errors import DataError
from mergekit_finance.files import Json
from mergekit_finance.hosts.metric_modules import AGGREGATIONS, host_metric
from mergekit_finance.plugins.manager import plugin_packages

Total = Callable[[np.ndarray], np.ndarray]  # (..., s) sums -> (...) scores
Sufficient = tuple[np.ndarray, Total]
Function = Callable[[Sequence[Json]], float]
Aggregation = str | Function

MAX_CELLS = 50_000_000  # items x classes; a task of 20,000 items has 40 classes at most
OURS = "mergekit_finance.scoring.aggregate"
LIKELIHOODS = ("perplexity", "weighted_perplexity", "bits_per_byte")  # of lm-eval, by their names there


def sufficient(aggregation: Aggregation, values: Sequence[Json]) -> Sufficient:
    """Return per-item statistics and the function of their sums that equals the aggregation.

    Args:
        aggregation: a name ("mean", "weighted_f1", with or without its module) or the function itself.
        values: each item's value of the metric, in any order.

    Returns:
        (n, s) float64, and a function of (..., s) sums that returns (...) scores.
    """
    builder = BUILDERS.get(known_name(aggregation))
    return builder(values) if builder else by_item(_resolve(aggregation), values)


def known_name(aggregation: Aggregation) -> str:
    """Return the key in `BUILDERS`, or "" for an aggregation that is called on the items themselves.

    A function is recognized by its module and name, because another library's `mean` may be a different one.
    """
    name = aggregation if isinstance(aggregation, str) else _qualified(aggregation)
    if host_metric(name) == "mean" or name == "acc":
        return "mean"
    if (host_metric(name) or name) in LIKELIHOODS:
        return host_metric(name) or name
    short = name.removeprefix(f"{OURS}.")
    return short if short in BUILDERS else ""


def aggregation_name(function: Function) -> str:
    """Return the name of a function for `named_aggregation`: `mean`, or `module:name`."""
    return known_name(function) or f"{function.__module__}:{getattr(function, '__qualname__', '')}"


def named_aggregation(name: str) -> Aggregation:
    """Return the aggregation for a name from `aggregation_name`: the name, or the function `module:name`.

    The name may come from an untrusted study folder, and the function will be called. Therefore only
    functions defined in packages of installed plugins or in lm-eval's metrics are allowed; no other module is
    imported.

    Raises:
        DataError: the function does not exist or is not allowed.
    """
    if ":" not in name:
        return name
    module, _, attribute = name.partition(":")
    if module not in AGGREGATIONS and module.split(".")[0] not in plugin_packages():
        raise DataError(
            f"aggregation {name!r}: is not in the package of an installed plugin. Install the plugin."
        )
    try:
        value = import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"aggregation {name!r}: is not in this version of the plugin ({error}).") from error
    if not callable(value) or getattr(value, "__module__", None) != module:
        raise DataError(f"aggregation {name!r}: is not a function of that module.")
    return value


def _qualified(function: Function) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"


def _resolve(aggregation: Aggregation) -> Function:
    """Return the function; a name is looked up in lm-eval's registry."""
    if callable(aggregation):
        return aggregation
    # Imported here: lm_eval takes seconds, and only third-party aggregations need it.
    from lm_eval.api.registry import get_aggregation

    function: Function | None = get_aggregation(aggregation)
    if function is None:
        raise DataError(
            f"aggregation {aggregation!r}: mergekit-finance and lm-eval have none of this name. "
            "Pass the function itself."
        )
    return function


def _ratio(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return upper / lower, and 0 where lower is 0 (without items the score is 0.0)."""
    upper, lower = np.broadcast_arrays(np.asarray(upper, float), np.asarray(lower, float))
    return np.divide(upper, lower, out=np.zeros(upper.shape), where=lower != 0)


# Mean: (value, 1).


def mean(values: Sequence[float]) -> Sufficient:
    """Accuracy and every other mean: sum of values over number of items."""
    numbers = np.asarray(values, dtype=float).reshape(-1)
    return np.column_stack([numbers, np.ones_like(numbers)]), mean_total


def mean_total(sums: np.ndarray) -> np.ndarray:
    """Return the mean of (..., s) sums: (...)."""
    return _ratio(sums[..., 0], sums[..., 1])


# Likelihoods: (log-likelihood, words or bytes), or the log-likelihood alone.


def perplexity(values: Sequence[float]) -> Sufficient:
    """exp of minus the mean log-likelihood of the items."""
    return mean(values)[0], perplexity_total


def weighted_perplexity(values: Sequence[Sequence[float]]) -> Sufficient:
    """exp of minus the log-likelihood per word or byte of all items."""
    return np.asarray(values, dtype=float).reshape(len(values), 2), perplexity_total


def perplexity_total(sums: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-_ratio(sums[..., 0], sums[..., 1])))


def bits_per_byte(values: Sequence[Sequence[float]]) -> Sufficient:
    """Minus the log-likelihood per byte of all items, in bits."""
    return np.asarray(values, dtype=float).reshape(len(values), 2), bits_total


def bits_total(sums: np.ndarray) -> np.ndarray:
    return -_ratio(sums[..., 0], sums[..., 1]) / np.log(2)


@dataclass(frozen=True)
class Negated:
    """A total with the sign turned, so that more is better."""

    total: Total

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        return -self.total(sums)


# Confusion counts per class: (gold, predicted, right).


def _counts(pairs: Iterable[Sequence[Hashable]], labels: Sequence[Hashable]) -> np.ndarray:
    """Return (n, classes, 3) indicators of (gold, pred) pairs: class is gold, is predicted, is both."""
    index = {label: k for k, label in enumerate(labels)}
    pairs = list(pairs)
    _require_size(len(pairs) * len(labels))
    counts = np.zeros((len(pairs), len(labels), 3))
    for row, (gold, pred) in enumerate(pairs):
        for column, label in ((0, gold), (1, pred)) + (((2, gold),) if gold == pred else ()):
            if label in index:
                counts[row, index[label], column] = 1
    return counts


def _require_size(cells: int) -> None:
    """Raise DataError, before memory is allocated, if values are nearly all different and so not classes."""
    if cells > MAX_CELLS:
        raise DataError("too many different values for an aggregation of classes")


def _labels(pairs: Iterable[Sequence[Hashable]]) -> list[Hashable]:
    """Return the classes, in an order that does not depend on that of the items."""
    return sorted({label for pair in pairs for label in pair}, key=repr)


def _class_f1(counts: np.ndarray) -> np.ndarray:
    """Return the F1 of each class, 2 right / (gold + predicted): (..., classes, 3) -> (..., classes)."""
    return _ratio(2 * counts[..., 2], counts[..., 0] + counts[..., 1])


def _weighted(counts: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the classes, weighted by gold counts: (..., classes, 3) -> (...)."""
    gold = counts[..., 0]
    return _ratio((gold * _class_f1(counts)).sum(-1), gold.sum(-1))


def weighted_f1(values: Sequence[Sequence[Hashable]]) -> Sufficient:
    """F1 per class of (gold, pred), weighted by gold counts (FPB, FiQA-SA, FOMC)."""
    counts = _counts(values, _labels(values))
    return counts.reshape(len(values), -1), weighted_f1_total


def weighted_f1_total(sums: np.ndarray) -> np.ndarray:
    """Return the weighted F1 of (..., s) sums: (...)."""
    return _weighted(_split(sums, 3))


def macro_f1_two_class(values: Sequence[Sequence[Hashable]]) -> Sufficient:
    """chABSA: the mean F1 of classes 0 and 1; items with a neutral gold (-1) count only as predictions."""
    return _counts(values, (0, 1)).reshape(len(values), -1), macro_f1_two_class_total


def macro_f1_two_class_total(sums: np.ndarray) -> np.ndarray:
    """Return the mean F1 of classes 0 and 1 of (..., s) sums: (...)."""
    return _class_f1(_split(sums, 3)).mean(-1)


def headline_mean_f1(values: Sequence[Sequence[Hashable]]) -> Sufficient:
    """Headline: mean over questions of weighted F1, from (class_id, gold, pred); class_id is the question."""
    pairs = [(gold, pred) for _, gold, pred in values]
    labels, question_of_item = _labels(pairs), [question for question, _, _ in values]
    questions = sorted(set(question_of_item), key=repr)
    columns = np.array([questions.index(question) for question in question_of_item], dtype=int)
    _require_size(len(values) * len(questions) * len(labels))
    rows = np.zeros((len(values), len(questions), len(labels), 3))
    rows[np.arange(len(values)), columns] = _counts(pairs, labels)
    return rows.reshape(len(values), -1), HeadlineTotal(len(labels))


@dataclass(frozen=True)
class HeadlineTotal:
    """Map sums (..., questions x classes x 3) to the mean weighted F1 of the questions that have items."""

    classes: int

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        counts = _split(sums, self.classes, 3)
        present = (counts[..., 0].sum(-1) > 0).sum(-1)
        return _ratio(_weighted(counts).sum(-1), present)


def _split(sums: np.ndarray, *last: int) -> np.ndarray:
    """Reshape the last axis to (k, *last); k may be 0."""
    size = int(np.prod(last))
    return sums.reshape(*sums.shape[:-1], sums.shape[-1] // size if size else 0, *last)


# Entities: (right, predicted, gold) mentions.


def corpus_entity_f1(values: Sequence[Sequence[int]]) -> Sufficient:
    """Micro F1 over the corpus: 2 right / (predicted + gold)."""
    return np.asarray(values, dtype=float).reshape(len(values), 3), corpus_entity_f1_total


def corpus_entity_f1_total(sums: np.ndarray) -> np.ndarray:
    """Return the micro F1 of (..., s) sums: (...)."""
    return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


# Other aggregations: the count of each distinct value.


def by_item(aggregation: Function, values: Sequence[Json]) -> Sufficient:
    """Return statistics for any aggregation: a one-hot row per item, over the distinct values.

    Exact for every aggregation that does not depend on the order of the items. Memory is n x distinct values.
    """
    column_of: dict[str, int] = {}
    distinct: list[Json] = []
    index = []
    for value in values:
        if repr(value) not in column_of:
            distinct.append(value)
        index.append(column_of.setdefault(repr(value), len(column_of)))
    _require_size(len(index) * len(distinct))
    return np.eye(len(distinct))[np.array(index, dtype=int)], ItemTotal(aggregation, tuple(distinct))


@dataclass(frozen=True, eq=False)
class ItemTotal:
    """Map counts (..., distinct values) to (...): aggregate the values, each repeated by its count."""

    aggregation: Function
    values: tuple[Json, ...]

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        flat = np.rint(sums.reshape(-1, sums.shape[-1])).astype(int)
        return np.array([self._score(counts) for counts in flat]).reshape(sums.shape[:-1])

    def _score(self, counts: np.ndarray) -> float:
        items = [self.values[k] for k in np.repeat(np.arange(len(counts)), counts)]
        return float(self.aggregation(items)) if items else 0.0


BUILDERS: dict[str, Callable[..., Sufficient]] = {
    "mean": mean,
    "weighted_f1": weighted_f1,
    "macro_f1_two_class": macro_f1_two_class,
    "headline_mean_f1": headline_mean_f1,
    "corpus_entity_f1": corpus_entity_f1,
    "perplexity": perplexity,
    "weighted_perplexity": weighted_perplexity,
    "bits_per_byte": bits_per_byte,
}
