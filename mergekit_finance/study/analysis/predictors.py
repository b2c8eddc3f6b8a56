"""Test whether similarity before a merge predicts its success: Figure 5 of the paper and headroom.

One value per combination, at its selected point: the mean over its pairs of constituents of L2 and cosine,
and complementarity headroom, against Macro-Gain and Macro-OG.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np

from mergekit_finance.similarity.measured import MeasuredEntry, ModelPair, Similarity, TaskVectorPair
from mergekit_finance.statistics.correlation import critical, spearman
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Correlation, Effects, PredictorRow

PREDICTORS = ("l2", "cosine", "headroom")
OUTCOMES = ("macro_gain", "macro_og")
AnyPair = TypeVar("AnyPair", ModelPair, TaskVectorPair)


def table(
    results: StudyResults, similarity: Similarity | None, best: Mapping[str, Effects]
) -> list[PredictorRow]:
    """Return one row per combination. `best`: combination -> the effects of its selected point."""
    total = similarity.total if similarity else None
    return [_row(results, total, combination, effects) for combination, effects in best.items()]


def _row(
    results: StudyResults, total: MeasuredEntry | None, combination: str, effects: Effects
) -> PredictorRow:
    """Return the means over the pairs of constituents, before the merge, beside Macro-Gain and Macro-OG."""
    point = results.points[effects.point]
    references = list(combinations(point.references, 2))
    all_pairs, all_vectors = (total.pairs, total.task_vector_pairs) if total else ([], [])
    pairs = [pair for names in references if (pair := _pair(all_pairs, names))]
    vectors = [vector for names in references if (vector := _pair(all_vectors, names))]
    macro = effects.sets["macro"]
    return PredictorRow(
        combination=combination,
        stage=point.stage,
        point=effects.point,
        l2=_mean([pair.l2 for pair in pairs], 6),
        cosine=_mean([pair.cosine for pair in pairs], 9),
        task_vector_cosine=_mean([pair.cosine for pair in vectors], 9),
        sign_conflicts=_mean([pair.sign_conflicts for pair in vectors], 9),
        headroom=round(headroom(results, effects.constituents), 6),
        macro_gain=macro.gain.value,
        macro_og=macro.og.value,
    )


def _pair(pairs: Sequence[AnyPair], names: Sequence[str]) -> AnyPair | None:
    return next((pair for pair in pairs if {pair.a, pair.b} == set(names)), None)


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    """Return the mean, or None where there is no pair: the base has no task vector."""
    numbers = [value for value in values if value is not None]
    return round(float(np.mean(numbers)), digits) if numbers else None


def headroom(results: StudyResults, constituents: Sequence[str]) -> float:
    """Return the complementarity headroom: what a perfect choice among constituents adds to the best one.

    Weighted mean over the macro's tasks, on the selection items, of the share of items that another
    constituent gets right and the best one does not, minus the share that the others would get right there by
    guessing.
    """
    by_task = [_headroom(results, task, constituents) for task in results.macro]
    return float(np.average(by_task, weights=[results.tasks[task].weight for task in results.macro]))


def _headroom(results: StudyResults, task: str, constituents: Sequence[str]) -> float:
    correct = results.selection[task].correct
    best = max(constituents, key=lambda name: (float(correct[name].mean()), name))
    wrong = ~correct[best]
    others = np.any([correct[name] for name in constituents if name != best], axis=0)
    by_guessing = 1 - (1 - chance(results, task)) ** (len(constituents) - 1)
    return float((wrong & others).mean() - by_guessing * wrong.mean())


def chance(results: StudyResults, task: str) -> float:
    """Return the share of right answers by guessing: 1 / options; 0 where the answer is written."""
    options = np.array(results.columns("base")[task].options, dtype=float)
    return float(np.mean(np.divide(1.0, options, out=np.zeros_like(options), where=options > 1)))


def correlations(rows: Sequence[PredictorRow]) -> list[Correlation]:
    """Return Spearman's rho of each predictor with each outcome, over all combinations and over pairs."""
    subsets = {"all": list(rows), "pairs": [row for row in rows if row.stage == 2]}
    return [
        _correlation(over, subset, predictor, outcome)
        for over, subset in subsets.items()
        for predictor in PREDICTORS
        for outcome in OUTCOMES
    ]


def _correlation(over: str, rows: Sequence[PredictorRow], predictor: str, outcome: str) -> Correlation:
    complete = [(getattr(row, predictor), getattr(row, outcome)) for row in rows]
    pairs = [(x, y) for x, y in complete if x is not None and y is not None]
    result = spearman([x for x, _ in pairs], [y for _, y in pairs])
    return Correlation(
        over=over,
        predictor=predictor,
        outcome=outcome,
        rho=_number(result.rho),
        p=_number(result.p),
        n=result.n,
        exact=result.exact,
        needed=_number(critical(result.n)) if result.n else None,
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
