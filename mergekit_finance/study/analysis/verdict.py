"""The verdict, decided once: per task, per combination, and what to ship. `wording` puts it into words.

A verdict compares ends of intervals with 0, and corrected p values with ALPHA. Both are Monte-Carlo
estimates: another seed moves them within a range. `statistics.intervals` (ends) and `statistics.signflip` (p)
define the ranges and give their sources; the study stores them in `ranges`. A verdict is decided for every
combination of sides that the ranges allow. Where they do not all agree the verdict is "borderline", and
`between` lists what it may be, so that the word does not depend on the seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple, TypeVar

from mergekit_finance.statistics.power import enough
from mergekit_finance.study.schema import (
    Advice,
    AdviceKind,
    Effect,
    EffectKind,
    Interval,
    Ranges,
    Side,
    Summary,
    TaskEffect,
    TaskSet,
)

ALPHA = 0.05  # of corrected p values
AGREE = 0.75  # share of training seeds that must have the same direction
SKILL_GROUP = "skills: "  # what the names of task sets that hold one group of skills begin with
AnyKind = TypeVar("AnyKind")


def sides(name: str, interval: Interval | None, ranges: Ranges) -> list[Side]:
    """Return the sides of 0 that an interval may lie on under other seeds; the observed one first.

    Args:
        name: the interval's key in `ranges`; without an entry only the observed side is possible.
        interval: None (an older summary does not have it) is "unclear".
    """
    if interval is None:
        return ["unclear"]
    ends = ranges.get(name, ())
    if len(ends) != 4:
        return [interval.side]
    least_low, most_low, least_high, most_high = ends
    possible: dict[Side, bool] = {
        "above": most_low > 0,
        "below": least_high < 0,
        "unclear": least_low <= 0 and most_high >= 0,
    }
    others = [side for side, may in possible.items() if may and side != interval.side]
    return [interval.side, *others]


def significant(name: str, p: float | None, ranges: Ranges) -> list[bool]:
    """Return whether p is below ALPHA, and the other answer too if another seed may give it."""
    observed = p is not None and p < ALPHA
    ends = ranges.get(name, ())
    flips = len(ends) == 2 and (ends[0] < ALPHA) != (ends[1] < ALPHA)
    return [observed, not observed] if flips else [observed]


def _possible(kind: Callable[..., AnyKind], *facts: Sequence[object]) -> list[AnyKind]:
    """Return the distinct kinds over all combinations of facts; the observed one first."""
    return list(dict.fromkeys(kind(*combination) for combination in product(*facts)))


# ---- one task


def task_verdict(task: TaskEffect) -> str:
    """Return the verdict of one task.

    "outperforms" (all constituents), "interferes" (below their mean) and "gains" (above their mean) need a q
    below ALPHA, which only named tasks have; "below the best" is descriptive and uses the interval alone.
    """
    if not enough(task.clusters):
        return "too few items"
    words = _possible(
        _task_word,
        sides("og", task.og, task.ranges),
        sides("gain", task.gain, task.ranges),
        significant("q_og", task.q_og, task.ranges),
        significant("q_gain", task.q_gain, task.ranges),
    )
    return words[0] if len(words) == 1 else "borderline"


def _task_word(og: Side, gain: Side, significant_og: bool, significant_gain: bool) -> str:
    if significant_og and og == "above":
        return "outperforms"
    if significant_gain and gain == "below":
        return "interferes"
    if og == "below":
        return "below the best"
    if significant_gain and gain == "above":
        return "gains"
    return "no clear difference"


# ---- one combination


def tested_set(summary: Summary, combination: str) -> str:
    """Return the name of the set of tasks that a combination's effect is about.

    `named`, if study.yml names tasks for it or it is one expert (its skills and retention); else `own`, the
    tasks of its skills; else `macro`.
    """
    row = summary.combinations[combination]
    sets = summary.selected[row.selected].sets
    if "named" in sets and (combination in summary.study.named or row.stage == 1):
        return "named"
    return "own" if "own" in sets else "macro"


def effect(summary: Summary, combination: str) -> Effect:
    """Return the effect of a combination at its selected point: as stored, or decided for format 1."""
    row = summary.combinations[combination]
    if row.effect is not None:
        return row.effect
    name = tested_set(summary, combination)
    return effect_of(summary.selected[row.selected].sets[name], name)


def effect_of(row: TaskSet, tested: str) -> Effect:
    """Return the decided effect of a merge over one set of tasks, called `tested`."""
    if not enough(row.clusters):
        return Effect(kind=EffectKind.TOO_FEW_ITEMS, tested=tested)
    kinds = _possible(
        _effect_kind,
        sides("over_best_constituent", row.over_best_constituent, row.ranges),
        sides("over_base", row.over_base, row.ranges),
        sides("over_best_raw", row.over_best_raw, row.ranges),
        sides("gain", row.gain, row.ranges),
        significant("holm_over_all_models", row.holm_over_all_models, row.ranges),
        significant("holm_below_mean", row.holm_below_mean, row.ranges),
    )
    if len(kinds) == 1:
        return Effect(kind=kinds[0], tested=tested)
    return Effect(kind=EffectKind.BORDERLINE, tested=tested, between=kinds)


def _effect_kind(
    over_best: Side, over_base: Side, over_raw: Side, gain: Side, above_all: bool, below_mean: bool
) -> EffectKind:
    """`above_all`, `below_mean`: the claims that hold after Holm's correction over the stage."""
    if over_best == "above":
        if over_base != "above":
            return EffectKind.NOT_ABOVE_BASE
        if over_raw != "above":
            return EffectKind.NOT_ABOVE_EXPERTS
        return EffectKind.ABOVE_ALL if above_all else EffectKind.NOT_AFTER_CORRECTION
    if over_best == "below":
        interferes = gain == "below" and below_mean
        return EffectKind.INTERFERENCE if interferes else EffectKind.BELOW_BEST
    return EffectKind.BELOW_BASE if over_base == "below" else EffectKind.NO_EFFECT


DIRECTIONS: Mapping[EffectKind, int] = {
    EffectKind.ABOVE_ALL: 1,
    EffectKind.NOT_ABOVE_BASE: 1,
    EffectKind.NOT_ABOVE_EXPERTS: 1,
    EffectKind.NOT_AFTER_CORRECTION: 1,
    EffectKind.BELOW_BEST: -1,
    EffectKind.INTERFERENCE: -1,
}


def over_seeds(summaries: Sequence[Summary], combination: str) -> Effect:
    """Decide the effect of a combination in the same study over training seeds.

    The first study is the one that is tested. Its effect stands if the merge's difference from its best
    constituent has the same direction in at least three quarters of all studies; else it is NOT_REPEATED.
    Effects without a direction (no clear effect, borderline, too few items) are returned as they are.
    """
    first = effect(summaries[0], combination)
    direction = DIRECTIONS.get(first.kind, 0)
    rows = [_tested(summary, combination, first.tested) for summary in summaries]
    agreeing = sum(row.over_best_constituent.value * direction > 0 for row in rows)
    if direction and agreeing < AGREE * len(rows):
        return Effect(kind=EffectKind.NOT_REPEATED, tested=first.tested, between=[first.kind])
    return first


def _tested(summary: Summary, combination: str, name: str) -> TaskSet:
    return summary.selected[summary.combinations[combination].selected].sets[name]


# ---- what to ship


def advice(summary: Summary) -> Advice:
    """Return what to ship: as stored, or decided for format 1."""
    ship = summary.ship
    if ship.advice is not None:
        return ship.advice
    split = summary.selection.is_split
    if not enough(ship.clusters):
        return Advice(kind=AdviceKind.TOO_FEW_ITEMS, optimistic=not split)
    kinds = _possible(
        _advice_kind,
        [ship.is_merge],
        [split],
        sides("merge_over_single", ship.merge_over_single, ship.ranges),
        sides("retention_over_base", ship.retention_over_base, ship.ranges),
        sides("retention_over_single", ship.retention_over_single, ship.ranges),
        _loses_skills(summary),
    )
    if len(kinds) == 1:
        return Advice(kind=kinds[0], optimistic=not split)
    return Advice(kind=AdviceKind.BORDERLINE, between=kinds, optimistic=not split)


def _advice_kind(
    is_merge: bool, split: bool, gap: Side, over_base: Side, over_single: Side, loses_skills: bool
) -> AdviceKind:
    """`over_base`, `over_single`: its retention minus that of the base, and of the best single model."""
    if not is_merge:
        return AdviceKind.CONTRADICTION if gap == "above" and split else AdviceKind.NO_MERGE
    if gap != "above":
        return AdviceKind.NOT_CLEAR
    loses = loses_skills or "below" in (over_base, over_single)
    return AdviceKind.SHIP_AT_A_COST if loses else AdviceKind.SHIP


class Loss(NamedTuple):
    """What the best merge loses significantly.

    Attributes:
        what: `retention`, or the skills of a group of tasks as `finance+math`.
        versus: the model that is better.
        numbers: the merge minus that model; the whole interval is below 0.
    """

    what: str
    versus: str
    numbers: Interval


def losses(summary: Summary) -> list[Loss]:
    """Return what the best merge loses against the base or the best single model: retention, then skills."""
    ship = summary.ship
    retention = {"base": ship.retention_over_base, ship.best_single: ship.retention_over_single}
    rows = [Loss("retention", other, numbers) for other, numbers in retention.items() if numbers]
    for what, row in _skill_groups(summary):
        rows += [Loss(what, other, numbers) for other, (_, numbers) in _rivals(row, ship.best_single).items()]
    return [row for row in rows if row.numbers.side == "below"]


def _loses_skills(summary: Summary) -> list[bool]:
    """Return whether the best merge loses on a group of tasks, and the other answer if a seed decides."""
    observed, certain, possible = False, False, False
    for _, row in _skill_groups(summary):
        for name, numbers in _rivals(row, summary.ship.best_single).values():
            options = sides(name, numbers, row.ranges)
            observed |= options[0] == "below"
            certain |= options == ["below"]
            possible |= "below" in options
    return [observed] if certain or not possible else [observed, not observed]


def _skill_groups(summary: Summary) -> Iterator[tuple[str, TaskSet]]:
    """Yield the groups of tasks by skills, of the best merge, that have enough clusters for a verdict."""
    effects = summary.selected.get(summary.ship.best_merge)
    for name, row in effects.sets.items() if effects else ():
        if name.startswith(SKILL_GROUP) and enough(row.clusters):
            yield name.removeprefix(SKILL_GROUP), row


def _rivals(row: TaskSet, best_single: str) -> dict[str, tuple[str, Interval]]:
    """Return other model -> the field of the merge's difference from it, and the difference."""
    rivals = {}
    if row.over_base:
        rivals["base"] = ("over_base", row.over_base)
    if row.over_best_raw and row.best_raw == best_single != "base":
        rivals[best_single] = ("over_best_raw", row.over_best_raw)
    return rivals


def decide(summary: Summary) -> None:
    """Store the effects and the advice in a summary, in place."""
    for name, row in summary.combinations.items():
        row.effect = effect(summary, name)
    summary.ship.advice = advice(summary)
