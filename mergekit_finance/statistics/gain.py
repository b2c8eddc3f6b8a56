"""Gain and Outperform Gap (OG) of a merge against its constituents.

Gain is the merged model's score less the mean of the constituents' scores; OG is the merged model's
score less the best constituent's. Macro-Gain and Macro-OG are their unweighted means over tasks. The
words are those of arXiv 2511.02451, captions of Figures 2 and 5; scores are each task's `score`.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mergekit_finance.errors import DataError

SCORE = "score,none"


def gain(merged: float, constituents: Sequence[float]) -> float:
    """Merged score less the mean of the constituents'."""
    return merged - fmean(constituents)


def outperform_gap(merged: float, constituents: Sequence[float]) -> float:
    """Merged score less the best constituent's."""
    return merged - max(constituents)


def scores(results: Mapping[str, Any]) -> dict[str, float]:
    """The primary metric of each leaf task of lm-eval's results."""
    leaves = [name for name in results["results"] if name in results["configs"]]
    missing = [name for name in leaves if SCORE not in results["results"][name]]
    if missing:
        raise DataError(
            f"task {missing[0]!r} reports no `score`, so Gain is not defined for it; "
            "use a finance_bench task, or give yours a `score` metric under the filter `none`"
        )
    return {name: float(results["results"][name][SCORE]) for name in leaves}


def table(merged: Mapping[str, float], constituents: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Gain and OG per task and over all tasks.

    Args:
        merged: task -> score in [0, 1].
        constituents: model -> task -> score; every model has every task.
    """
    rows = {task: _row(merged[task], [c[task] for c in constituents.values()]) for task in sorted(merged)}
    macro = {name: fmean(row[name] for row in rows.values()) for name in ("merged", "gain", "og")}
    macro["constituents"] = {m: fmean(c[t] for t in rows) for m, c in constituents.items()}
    for task, row in rows.items():
        row["constituents"] = {model: c[task] for model, c in constituents.items()}
    return {"tasks": rows, "macro": macro}


def _row(merged: float, others: Sequence[float]) -> dict[str, Any]:
    return {"merged": merged, "gain": gain(merged, others), "og": outperform_gap(merged, others)}
