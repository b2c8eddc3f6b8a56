"""Successive rejects: how many items the settings of a race answer in each round, and which are dropped.

All settings of a round answer the same items, so that they are compared by paired differences: what makes an
item easy for all of them cancels. After each round the worst are dropped, and the others answer more items.

Followed: Lyu, Nejma, Wegel, Yang and Dorner (arXiv 2606.07726, "SySRs"): successive rejects (Audibert, Bubeck
and Munos 2010) with shared items for all settings, drawn without replacement; with m settings left, each has
answered a number of items proportional to 1/m; and what rounds that already use all items save goes to the
other rounds. Chosen here: a round drops half of the settings, where successive rejects drops one, because
every round is a point at which processes wait for each other; a setting may cost several models (mask seeds);
the budget includes the winner's remaining items; and every round has items of every task.
"""

from collections.abc import Sequence
from dataclasses import dataclass

STEPS = 60  # of the bisection for the length of the rounds


@dataclass(frozen=True)
class Round:
    """A round of a race.

    Attributes:
        settings: how many take part.
        items: items that each of them has answered at its end, those of earlier rounds included.
        kept: how many take part in the next round.
    """

    settings: int
    items: int
    kept: int


def rounds(costs: Sequence[int], items: int, least: int, budget: float) -> list[Round]:
    """Return the rounds of a race: the longest whose answers fit the budget.

    Args:
        costs: models of each setting: 1, or its number of mask seeds.
        items: items that a setting answers in the full grid.
        least: items that every setting answers at least, even if the budget allows fewer.
        budget: share of the answers of the full grid.

    Returns:
        The rounds in their order; none if there is only one setting.
    """
    counts = [len(costs)]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    allowed = budget * sum(costs) * items
    low, high = 0.0, float(len(costs))  # items with m settings left: factor * items / m
    for _ in range(STEPS):
        middle = (low + high) / 2
        fits = answers(_rounds(counts, items, least, middle), costs, items) <= allowed
        low, high = (middle, high) if fits else (low, middle)
    return _rounds(counts, items, least, low)


def _rounds(counts: Sequence[int], items: int, least: int, factor: float) -> list[Round]:
    """Return the rounds in which a setting of m answers `factor` * items / m items."""
    return [
        Round(settings, min(items, max(least, int(factor * items / settings))), kept)
        for settings, kept in zip(counts, counts[1:], strict=False)
    ]


def answers(race: Sequence[Round], costs: Sequence[int], items: int) -> int:
    """Return the number of answers of a race, the winner's remaining items included.

    If settings have several models, it is the largest possible number: that of the most expensive ones.
    """
    expensive = sorted(costs, reverse=True)
    total, before = 0, 0
    for one in race:
        total += (one.items - before) * sum(expensive[: one.settings])
        before = one.items
    return total + items - before


def survivors(scores: "Sequence[float] | Sequence[tuple[float, ...]]", kept: int) -> list[int]:
    """Return the indices of the best settings, in their order.

    Args:
        scores: of the settings on the items of a round; of tuples, the first number counts most. Of equal
            scores the first are kept.
        kept: how many are kept.
    """
    ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)  # equal ones stay in order
    return sorted(ranked[:kept])
