"""The answer of a study in one sentence, and one plain sentence for each combination: the top of the page."""

from collections.abc import Sequence

from mergekit_finance.study.analysis import verdict
from mergekit_finance.study.analysis.phrases import in_points, interval, interval_in_words, merge_name
from mergekit_finance.study.schema import AdviceKind, Effect, EffectKind, Interval, Summary

MOST_WORDS = 25  # of the answer
LOSSES = 3  # most that the answer lists
MOST_EXPERTS = 3  # named in the answer
SHIPS = (AdviceKind.SHIP, AdviceKind.SHIP_AT_A_COST)


def answer_sentence(summary: Summary) -> str:
    """Return what to do with the result, in at most MOST_WORDS words: ship a merge, or keep a model."""
    ship, advice = summary.ship, verdict.advice(summary)
    merge = _merge(summary)
    if advice.kind in SHIPS:
        return _ship(summary)
    if advice.kind is AdviceKind.BORDERLINE and set(advice.between) <= set(SHIPS):
        return (
            f"Ship {merge} with care: it gains {_gain(summary)} points over {ship.best_single}; whether it "
            "loses something depends on the random seed."
        )
    keep = f"Keep your {_kept_model(summary)}"
    if advice.kind is AdviceKind.NOT_CLEAR:
        return f"{keep}: no merge is clearly better; {merge}, the best, differs by {_difference(summary)}."
    if advice.kind is AdviceKind.NO_MERGE:
        return f"{keep}: it is the best model; the best merge, {merge}, differs by {_difference(summary)}."
    if advice.kind is AdviceKind.CONTRADICTION:
        return (
            f"{keep} for now: it was selected, but {merge} is {_gain(summary)} points better on the report "
            "items."
        )
    if advice.kind is AdviceKind.BORDERLINE:
        return (
            f"{keep} for now: whether {merge} is better ({_difference(summary)}) depends on the random seed."
        )
    return f"{keep} for now: {ship.clusters} independent items are too few to tell whether {merge} is better."


def _ship(summary: Summary) -> str:
    ship = summary.ship
    if lost := verdict.losses(summary):
        return (
            f"Ship {_merge(summary)} at a cost: gains {_gain(summary)} over {ship.best_single}, "
            f"loses {_lost(lost)}."
        )
    start = f"Ship {_merge(summary)}: it gains {_gain(summary)} points over your {_single(ship.best_single)}"
    if verdict.advice(summary).optimistic:
        return f"{start}, measured on the items that selected it."
    if ship.retention_over_base is None:
        return f"{start}; retention was not measured."
    return f"{start}, and nothing is significantly lost."


def _lost(losses: Sequence[verdict.Loss]) -> str:
    """Return `11.4 of retention, 5.0 of math`: what is lost most against any model, once for each skill."""
    largest: dict[str, float] = {}
    for loss in losses:
        largest[loss.what] = min(largest.get(loss.what, 0.0), loss.numbers.value)
    parts = [f"{in_points(-value)} of {what}" for what, value in list(largest.items())[:LOSSES]]
    return ", ".join(parts) + (" and more" if len(largest) > LOSSES else "")


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
    return in_points(summary.ship.merge_over_single.value)


def _difference(summary: Summary) -> str:
    return f"{interval(summary.ship.merge_over_single, sign=True)} points"


def _signed(numbers: Interval) -> str:
    """Return `+1.2 [-0.4, +2.8] points`."""
    return f"{interval_in_words(numbers, sign=True)} points"


# ---- combinations


def combination_sentence(summary: Summary, combination: str) -> str:
    """Return the effect of a combination's selected merge as one plain sentence, with what decided it."""
    effect, merge = verdict.effect(summary, combination), merge_name(combination)
    row = summary.selected[summary.combinations[combination].selected].sets[effect.tested]
    best, difference = row.best_constituent, _signed(row.over_best_constituent)
    over_base = f" ({_signed(row.over_base)})" if row.over_base else ""
    if effect.kind is EffectKind.TOO_FEW_ITEMS:
        return (
            f"{row.clusters} independent items are too few for a verdict on {merge}: it differs by "
            f"{difference} from {best}, the best model in it."
        )
    if effect.kind in (EffectKind.BORDERLINE, EffectKind.NOT_REPEATED):
        return _uncertain(effect, merge, f"{difference} from {best}, the best model in it")
    above = f"{merge} scores higher than {best}, the best model in it, by {difference}"
    unclear = f"{merge} does not differ clearly from {best}, the best model in it ({difference})"
    sentences = {
        EffectKind.ABOVE_ALL: f"{above}, and higher than the base{over_base}.",
        EffectKind.NOT_ABOVE_BASE: f"{above}, but not clearly higher than the base{over_base}.",
        EffectKind.NOT_ABOVE_EXPERTS: f"{above}, but not clearly higher than every expert before merging.",
        EffectKind.NOT_AFTER_CORRECTION: f"{above}, but not after correction for the number of combinations.",
        EffectKind.NO_EFFECT: f"{unclear}.",
        EffectKind.BELOW_BASE: f"{unclear}, and scores lower than the base{over_base}.",
        EffectKind.BELOW_BEST: f"{merge} scores lower than {best}, the best model in it: {difference}.",
        EffectKind.INTERFERENCE: (
            f"{merge} scores lower than the mean of the models in it ({_signed(row.gain)}) and than {best}, "
            f"the best of them ({difference})."
        ),
    }
    return sentences[effect.kind]


def _uncertain(effect: Effect, merge: str, difference: str) -> str:
    if effect.kind is EffectKind.BORDERLINE:
        return f"The verdict on {merge} depends on the random seed: it differs by {difference}."
    return f"Other training runs do not repeat the effect of {merge}, which differs by {difference}."
