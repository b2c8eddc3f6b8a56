"""Does similarity before a merge predict its success? Figure 5 of the paper, and one predictor more.

One value per combination, at its selected point: the mean over its pairs of constituents of L2 and cosine,
and complementarity headroom, against Macro-Gain and Macro-OG.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mergekit_finance.statistics.correlation import critical, spearman
from mergekit_finance.statistics.data import TaskScores
from mergekit_finance.study.results import Loaded

PREDICTORS = ("l2", "cosine", "headroom")
OUTCOMES = ("macro_gain", "macro_og")


def table(
    loaded: Loaded, similarity: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row per combination. `rows`: combination -> the effects of its selected point."""
    return [_row(loaded, similarity, combination, row) for combination, row in rows.items()]


def _row(
    loaded: Loaded, similarity: Mapping[str, Any], combination: str, row: Mapping[str, Any]
) -> dict[str, Any]:
    macro = row["sets"]["macro"]
    return {
        "combination": combination,
        "stage": loaded.points[row["point"]]["stage"],
        "point": row["point"],
        **_distances(loaded, similarity, row["point"]),
        "headroom": round(headroom(loaded, row["parents"]), 6),
        "macro_gain": macro["gain"][0],
        "macro_og": macro["og"][0],
    }


def _distances(loaded: Loaded, similarity: Mapping[str, Any], point: str) -> dict[str, Any]:
    """Means over the pairs of constituents, as they are before the merge."""
    names = loaded.points[point]["constituents"]
    total = similarity["total"]
    found = [_pair(total["pairs"], pair) for pair in combinations(names, 2)]
    vectors = [_pair(total["task_vector_pairs"], pair) for pair in combinations(names, 2)]
    return {
        "l2": round(float(np.mean([pair["l2"] for pair in found])), 6),
        "cosine": round(float(np.mean([pair["cosine"] for pair in found])), 9),
        "task_vector_cosine": _mean([v["cosine"] for v in vectors if v]),
        "sign_conflicts": _mean([v["sign_conflicts"] for v in vectors if v]),
    }


def _pair(pairs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    return next((p for p in pairs if {p["a"], p["b"]} == set(names)), None)


def _mean(values: Sequence[float | None]) -> float | None:
    """None where there is no pair of task vectors: a base has none."""
    known = [v for v in values if v is not None]
    return round(float(np.mean(known)), 9) if known else None


def headroom(loaded: Loaded, parents: Sequence[str]) -> float:
    """Mean over the macro's tasks, on the selection items, of what a perfect choice among constituents would
    add to the best one: the share of items that another constituent gets right and the best does not, less
    the share that the others would get right there by guessing."""
    return float(np.mean([_headroom(loaded, task, parents) for task in loaded.macro]))


def _headroom(loaded: Loaded, task: str, parents: Sequence[str]) -> float:
    scores = loaded.selection[task]
    chance = guess(loaded, task)
    best = max(parents, key=lambda p: (float(scores.correct[p].mean()), p))
    wrong = ~scores.correct[best]
    others = np.any([scores.correct[p] for p in parents if p != best], axis=0)
    lucky = 1 - (1 - chance) ** (len(parents) - 1)
    return float((wrong & others).mean() - lucky * wrong.mean())


def guess(loaded: Loaded, task: str) -> float:
    """What guessing gets right: one over the number of options; nothing where the answer is written."""
    options = np.array(next(iter(loaded.tables.values()))[task]["options"], dtype=float)
    return float(np.mean(np.divide(1.0, options, out=np.zeros_like(options), where=options > 1)))


def correlations(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Spearman's rho of each predictor with each outcome, over all combinations and over pairs alone."""
    subsets = {"all": list(rows), "pairs": [row for row in rows if row["stage"] == 2]}
    return [
        _correlation(name, chosen, predictor, outcome)
        for name, chosen in subsets.items()
        for predictor in PREDICTORS
        for outcome in OUTCOMES
    ]


def _correlation(
    name: str, rows: Sequence[Mapping[str, Any]], predictor: str, outcome: str
) -> dict[str, Any]:
    found = spearman([row[predictor] for row in rows], [row[outcome] for row in rows])
    return {
        "over": name,
        "predictor": predictor,
        "outcome": outcome,
        "rho": _number(found.rho),
        "p": _number(found.p),
        "n": found.n,
        "exact": found.exact,
        "needed": _number(critical(found.n)) if found.n else None,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


__all__ = ["TaskScores", "correlations", "headroom", "table"]
