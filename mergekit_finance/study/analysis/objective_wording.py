"""The words about a study's own objective: what was maximized, and which merges keep its bounds."""

from collections.abc import Iterable, Iterator

from mergekit_finance.study.analysis.phrases import interval_in_words, merge_name
from mergekit_finance.study.schema import BoundResult, Keeps, Summary

KEEPS: tuple[Keeps, ...] = ("surely", "perhaps", "not")


def bound_text(name: str, bound: BoundResult) -> str:
    """Return `retention at least -2.0 vs base`."""
    return f"{name} at least {bound.points:+.1f} vs {bound.against}"


def objective_sentences(summary: Summary, only: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield what was maximized, how many merges keep the bounds, and what was chosen where none does.

    Args:
        only: a combination: nothing is said of the choices of others.
    """
    objective, select = summary.objective, summary.study.select
    if objective is None or select is None:
        return
    parts = ", ".join(f"{name} (weight {weight:g})" for name, weight in select.maximize.items())
    yield "objective", f"Selection maximizes the mean of {parts}."
    if not objective.bounds:
        return
    keeps = [objective.models[name].keeps for name in summary.points]
    counts = ", ".join(f"{word} {keeps.count(word)}" for word in KEEPS)
    bounds = " and ".join(bound_text(name, bound) for name, bound in objective.bounds.items())
    yield (
        "objective",
        f"Bounds, in points: {bounds}. Merges that keep all bounds on the selection items: {counts}.",
    )
    yield from _choices(summary, [name for name in summary.combinations if only in (None, name)])


def _choices(summary: Summary, combinations: Iterable[str]) -> Iterator[tuple[str, str]]:
    objective = summary.objective
    assert objective is not None
    for combination in combinations:
        row = summary.combinations[combination]
        model = objective.models[row.selected]
        if model.keeps == "surely":
            continue
        name = f"{merge_name(combination)}: no setting surely keeps the bounds. "
        chosen = "The best of those that perhaps keep them is selected"
        if model.keeps == "not":
            chosen = "None is likely to, so the closest is selected"
        numbers = (
            f"{bound} {interval_in_words(one) if one else 'without an interval'}"
            for bound, one in model.differences.items()
        )
        yield "objective", f"{name}{chosen}, {row.selected}: {', '.join(numbers)} on selection items."


def front(summary: Summary) -> frozenset[str]:
    """Return the merges that no other is better than in the objective and in every bound, on report items."""
    objective = summary.objective
    if objective is None:
        return frozenset()
    numbers = {
        name: (model.value.value, *(one.value if one else 0.0 for one in model.reported.values()))
        for name in summary.points
        for model in (objective.models[name],)
    }

    def is_behind(name: str) -> bool:
        mine = numbers[name]
        return any(
            other != mine and all(a >= b for a, b in zip(other, mine, strict=True))
            for other in numbers.values()
        )

    return frozenset(name for name in numbers if not is_behind(name))
