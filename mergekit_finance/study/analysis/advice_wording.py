"""What to do with the result of a study, in words. Page, card and commands print these.

`short_advice` is one sentence for the top of the page. `advice_sentences` is the same sentence with its
numbers.
"""

from collections.abc import Sequence
from typing import Literal

from mergekit_finance.study.analysis import unit_wording, verdict
from mergekit_finance.study.analysis.phrases import (
    alternatives,
    cluster_count,
    difference,
    in_points,
    interval_in_words,
    merge_name,
)
from mergekit_finance.study.schema import AdviceKind, Interval, Summary

CLUSTER = "items from one source count as one"  # defines the word in the first text that has it
OPTIMISTIC = "selected and evaluated on the same items (optimistic)"
MOST_WORDS = 25  # of the short advice
MOST_EXPERTS = 3  # that it names
SHIPS = (AdviceKind.SHIP, AdviceKind.SHIP_AT_A_COST)
# What the advice may be under another seed.
KIND_WORDS = {
    AdviceKind.SHIP: "ship the merge",
    AdviceKind.SHIP_AT_A_COST: "ship it at a cost",
    AdviceKind.NOT_CLEAR: "no merge is clearly better",
    AdviceKind.NO_MERGE: "keep the best single model",
    AdviceKind.CONTRADICTION: "keep it for now",
    AdviceKind.BORDERLINE: "borderline",
    AdviceKind.TOO_FEW_ITEMS: "too few items",
}
Look = Literal["yes", "no", "unclear"]


def advice_look(summary: Summary) -> Look:
    """Return whether the advice is for a merge: "yes", "no", or "unclear": a merge, with a reservation.

    "yes" needs a merge that loses nothing significantly and was not selected on the items of its score.
    """
    advice = verdict.advice(summary)
    if advice.kind is AdviceKind.SHIP:
        return "unclear" if advice.optimistic or verdict.losses(summary) else "yes"
    return "unclear" if {advice.kind, *advice.between} <= {*SHIPS, AdviceKind.BORDERLINE} else "no"


# ---- one sentence


def short_advice(summary: Summary, owner: str = "your") -> str:
    """Return what to do in one sentence of at most MOST_WORDS words: ship a merge, or keep a model.

    Args:
        summary: the answer of a study that selects.
        owner: whose base and experts: "your", or "the" in a text for others.
    """
    ship, advice = summary.ship, verdict.advice(summary)
    merge, seed = _merge(summary), "seed" if summary.objective else "random seed"
    if advice.kind in SHIPS:
        return _ship(summary, owner)
    if advice.kind is AdviceKind.BORDERLINE and set(advice.between) <= set(SHIPS):
        return (
            f"Ship {merge} with care: it gains {_gain(summary)} over {ship.best_single}; whether it loses "
            f"something depends on the {seed}."
        )
    keep = f"Keep {owner} {_kept_model(summary)}"
    differs = f"the selected merge, {merge}, differs by {_difference(summary)}"
    if advice.kind is AdviceKind.NOT_CLEAR:
        return f"{keep}: no merge is clearly better; {differs}."
    if advice.kind is AdviceKind.NO_MERGE:
        return f"{keep}, the best model; {differs}."
    if advice.kind is AdviceKind.CONTRADICTION:
        return f"{keep} for now: it was selected; {merge} is better by {_gain(summary)} on report items."
    if advice.kind is AdviceKind.BORDERLINE:
        return f"{keep} for now: whether {merge} is better ({_difference(summary)}) depends on the {seed}."
    return f"{keep} for now: {ship.clusters} independent items are too few to tell whether {merge} is better."


def _ship(summary: Summary, owner: str) -> str:
    ship = summary.ship
    if lost := verdict.losses(summary):
        gain, most = in_points(ship.merge_over_single.value), 3
        if summary.objective:
            gain, most = f"{gain} of the objective", 2
        return f"Ship {_merge(summary)} at a cost: gains {gain} over {ship.best_single}, {_lost(lost, most)}."
    start = f"Ship {_merge(summary)}: it gains {_gain(summary)} over {owner} {_single(ship.best_single)}"
    if verdict.advice(summary).optimistic:
        return f"{start}, measured on the items that selected it."
    if ship.retention_over_base is None:
        return f"{start}; retention was not measured."
    return f"{start}, and nothing is significantly lost."


def _lost(losses: Sequence[verdict.Loss], most: int) -> str:
    """Return `loses 11.4 of retention, 5.0 on math`: at most `most` losses, each against the best model."""
    largest: dict[str, float] = {}
    for loss in losses:
        largest[loss.what] = min(largest.get(loss.what, 0.0), loss.numbers.value)
    parts = [
        f"{in_points(-value)} {'of' if what == 'retention' else 'on'} {what}"
        for what, value in list(largest.items())[:most]
    ]
    return f"loses {', '.join(parts)}" + (" and more" if len(largest) > most else "")


def _merge(summary: Summary) -> str:
    """Return the experts of the best merge as `finance + math`, or their number if they are many."""
    point = summary.points.get(summary.ship.best_merge)
    if point is None:
        return summary.ship.best_merge
    experts = point.combination
    return (
        merge_name("+".join(experts))
        if len(experts) <= MOST_EXPERTS
        else f"the merge of {len(experts)} experts"
    )


def _kept_model(summary: Summary) -> str:
    ship = summary.ship
    return _single(ship.best_single if ship.is_merge else ship.model)


def _single(name: str) -> str:
    return "base" if name == "base" else f"{name} expert"


def _gain(summary: Summary) -> str:
    return f"{in_points(summary.ship.merge_over_single.value)} {_unit(summary)}"


def _difference(summary: Summary) -> str:
    return difference(summary.ship.merge_over_single, _unit(summary))


def _unit(summary: Summary) -> str:
    """Return the unit of the difference between the best merge and the best single model."""
    return "points of the objective" if summary.objective else "points"


# ---- the same sentence with its numbers


def advice_sentences(summary: Summary, owner: str = "your") -> str:
    """Return the short advice and its numbers."""
    return f"{short_advice(summary, owner)} {advice_numbers(summary)}"


def advice_numbers(summary: Summary) -> str:
    """Return the intervals that the advice was decided by."""
    ship, advice = summary.ship, verdict.advice(summary)
    text = f"The selected merge is {ship.best_merge}: {_over_single(summary)}"
    if ship.retention_over_base is None:
        text += ", retention not measured"
    lost = verdict.losses(summary) if advice.kind in SHIPS else []
    if lost:
        text += f", but it loses {' and '.join(map(_loss, lost))}"
    elif ship.retention_over_base is not None:
        text += f", retention {interval_in_words(ship.retention_over_base, sign=True)} vs base"
    text += f" (95 % intervals, {cluster_count(ship.clusters)}: {CLUSTER})."
    if advice.kind is AdviceKind.BORDERLINE:
        kinds = alternatives([KIND_WORDS[kind] for kind in advice.between])
        text += f" The advice is {kinds}. To decide, raise resamples in study.yml, or the number of items."
    return text


def _over_single(summary: Summary) -> str:
    ship = summary.ship
    gap = f"{interval_in_words(ship.merge_over_single, sign=True)} vs the best single model"
    return f"{gap} ({ship.best_single})" + (" in the objective" if summary.objective else "")


def _loss(loss: verdict.Loss) -> str:
    """Return `11.4 [5.0, 20.0] points of retention vs base`."""
    amount = Interval(-loss.numbers.value, -loss.numbers.high, -loss.numbers.low)
    on = "of retention" if loss.what == "retention" else f"on tasks of {loss.what}"
    return f"{interval_in_words(amount)} points {on} vs {loss.versus}"


def advice_for_point(summary: Summary, point: str) -> str:
    """Return what the study advises about a point, in a text for others than its owner."""
    if not summary.has_selection:
        return unit_wording.NOT_SELECTED_NOTE
    advice = advice_sentences(summary, "the")
    if point == summary.ship.best_merge:
        return advice
    return f"This point was chosen by hand. Advice of the whole study: {advice}"
