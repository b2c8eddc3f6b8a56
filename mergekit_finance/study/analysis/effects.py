"""Effects of a merge: Gain, OG and retention, with intervals, p values and verdicts per task."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from mergekit_finance.statistics import outperform
from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.contrasts import difference, difference_weights, gain_weights, score
from mergekit_finance.statistics.influence import contributions, count_clusters, standard_error
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.statistics.mcnemar import p_outperform
from mergekit_finance.statistics.multiplicity import benjamini_hochberg, holm
from mergekit_finance.statistics.power import enough, minimum_detectable_effect
from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.statistics.signflip import p_greater, p_range, p_two_sided
from mergekit_finance.study.analysis.item_flips import flips_by_model
from mergekit_finance.study.analysis.verdict import SKILL_GROUP, task_verdict
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import NO_SKILL, Effects, Ranges, Recovery, TaskEffect, TaskSet, rounded

Name = TypeVar("Name", bound=Hashable)


def effects_of(results: StudyResults, replicates: Replicates, point: str) -> Effects:
    """Return Gain, OG, retention and effects per task of one point on the report items, uncorrected."""
    constituents, raw = results.constituents(point), results.base_and_experts(point)
    combination = "+".join(results.points[point].combination)
    return Effects(
        point=point,
        constituents=constituents,
        base_and_experts=raw,
        tasks={task: _task(results, replicates, task, point, constituents, raw) for task in results.tasks},
        sets={
            name: task_set(results, replicates, tasks, point, constituents, raw)
            for name, tasks in sets(results, combination).items()
        },
        recovery=_recovery(results, replicates, point, raw),
    )


def sets(results: StudyResults, combination: str) -> dict[str, list[str]]:
    """Return the sets of tasks that are summed up, without empty ones.

    macro; named (`named_tasks`); own (tasks within the combination's skills); `skills: ...` for each skill
    group; retention; probes.
    """
    tasks = {
        "macro": results.macro,
        "named": named_tasks(results, combination),
        "own": results.within(_skills(results, combination)),
    }
    for group, of_group in skill_groups(results).items():
        if group != NO_SKILL:
            tasks[SKILL_GROUP + group] = of_group
    for kind in ("retention", "probes"):
        tasks[kind] = results.of_kind(kind)
    return {name: names for name, names in tasks.items() if names}


def skill_groups(results: StudyResults) -> dict[str, list[str]]:
    """Return the tasks of the macro average by their `skill_group`."""
    groups: dict[str, list[str]] = {}
    for task in results.macro:
        groups.setdefault(results.tasks[task].skill_group, []).append(task)
    return groups


def named_tasks(results: StudyResults, combination: str) -> list[str]:
    """Return the tasks that a combination's tests are about.

    Those of `named` in study.yml; by default the tasks of its skills and, for one expert, retention: stage 1
    asks whether what CPT lost comes back.
    """
    if listed := results.study.named.get(combination):
        return [task for task in results.tasks if task in listed]
    retention = results.of_kind("retention") if "+" not in combination else []
    return results.within(_skills(results, combination)) + retention


def _skills(results: StudyResults, combination: str) -> frozenset[str]:
    return frozenset[str]().union(*(results.study.skills[e] for e in combination.split("+")))


def task_set(
    results: StudyResults,
    replicates: Replicates,
    tasks: Sequence[str],
    point: str,
    constituents: Sequence[str],
    raw: Sequence[str],
) -> TaskSet:
    """Return mean score, Gain and OG over a set of tasks, with the sign-flip p of each."""
    scores = [results.report[task] for task in tasks]
    best, best_raw = (
        max(names, key=lambda name: (score(replicates, tasks, name).value, name))
        for names in (constituents, raw)
    )
    gains = contributions(scores, gain_weights(point, constituents))
    over_best = contributions(scores, difference_weights(point, best))
    p_above, p_below = (
        _p_over_all(scores, point, constituents),
        _p_below_some(scores, point, constituents),
    )
    all_models = [*dict.fromkeys((*constituents, *raw))]  # with `chain: best` constituents are merges
    tested = {
        "gain": outperform.gain(replicates, tasks, point, constituents),
        "over_best_constituent": outperform.over_best(replicates, tasks, point, constituents),
        "over_base": difference(replicates, tasks, point, "base"),
        "over_best_raw": outperform.over_best(replicates, tasks, point, raw),
    }
    return TaskSet(
        tasks=list(tasks),
        score=rounded(score(replicates, tasks, point)),
        constituents={name: rounded(score(replicates, tasks, name)) for name in constituents},
        gain=rounded(tested["gain"]),
        p_gain=round(p_greater(gains), 6),
        og=rounded(outperform.outperform_gap(replicates, tasks, point, constituents)),
        best_constituent=best,
        over_best_constituent=rounded(tested["over_best_constituent"]),
        p_over_best_constituent=round(min(1.0, 2 * min(p_above, p_below)), 6),
        p_over_all_constituents=round(p_above, 6),
        p_over_all_models=round(_p_over_all(scores, point, all_models), 6),
        p_below_mean=round(p_greater([-part for part in gains]), 6),
        base=rounded(score(replicates, tasks, "base")),
        over_base=rounded(tested["over_base"]),
        gain_raw=rounded(outperform.gain(replicates, tasks, point, raw)),
        og_raw=rounded(outperform.outperform_gap(replicates, tasks, point, raw)),
        best_raw=best_raw,
        over_best_raw=rounded(tested["over_best_raw"]),
        clusters=count_clusters(scores),  # clusters that tasks share count once
        mde=_mde(standard_error(over_best)),
        ranges=ranges_of(tested),
        flips=flips_by_model(scores, point, all_models),
    )


def ranges_of(estimates: Mapping[str, Estimate]) -> Ranges:
    """Return by name where the ends of the intervals may lie under other seeds: (low, low, high, high)."""
    return {
        name: (*_rounded_pair(e.low_range), *_rounded_pair(e.high_range))
        for name, e in estimates.items()
        if e.low_range and e.high_range
    }


def _rounded_pair(numbers: tuple[float, float]) -> tuple[float, float]:
    low, high = (round(number, 6) + 0.0 for number in numbers)
    return low, high


def _recovery(
    results: StudyResults, replicates: Replicates, point: str, raw: Sequence[str]
) -> Recovery | None:
    """Return what CPT lost and the merge recovered on the retention tasks; of one expert only."""
    tasks, expert = results.of_kind("retention"), raw[-1]
    if len(raw) != 2 or not tasks:
        return None
    lost = difference(replicates, tasks, "base", expert)
    return Recovery(
        lost=rounded(lost),
        ranges=ranges_of({"lost": lost}),
        recovered=rounded(difference(replicates, tasks, point, expert)),
        over_base=rounded(difference(replicates, tasks, point, "base")),
        flips_of_expert=flips_by_model([results.report[task] for task in tasks], expert, ["base"]).get(
            "base"
        ),
    )


def _p_over_all(scores: Sequence[TaskScores], point: str, others: Sequence[str]) -> float:
    """Return the one-sided p of "the mean is above that of every other model": the largest over them.

    An intersection-union test (Berger 1982, Technometrics 24:295), so no correction is needed.
    """
    return max(p_greater(contributions(scores, difference_weights(point, other))) for other in others)


def _p_below_some(scores: Sequence[TaskScores], point: str, others: Sequence[str]) -> float:
    """Return the one-sided p of "the mean is below that of some other model": Bonferroni over them."""
    smallest = min(p_greater(contributions(scores, difference_weights(other, point))) for other in others)
    return min(1.0, len(others) * smallest)


def _task(
    results: StudyResults,
    replicates: Replicates,
    task: str,
    point: str,
    constituents: Sequence[str],
    raw: Sequence[str],
) -> TaskEffect:
    scores = results.report[task]
    errors = [
        standard_error(contributions([scores], difference_weights(point, name))) for name in constituents
    ]
    tested = {
        "gain": outperform.gain(replicates, [task], point, constituents),
        "og": outperform.outperform_gap(replicates, [task], point, constituents),
    }
    return TaskEffect(
        items=len(scores.clusters),
        clusters=scores.count,
        score=rounded(score(replicates, [task], point)),
        constituents={name: round(replicates.observed[task][name], 6) for name in constituents},
        gain=rounded(tested["gain"]),
        og=rounded(tested["og"]),
        og_raw=rounded(outperform.outperform_gap(replicates, [task], point, raw)),
        p_og=round(p_outperform(scores, point, constituents), 6),
        mde=_mde(max(errors)),
        ranges=ranges_of(tested),
        flips=flips_by_model([scores], point, [*dict.fromkeys((*constituents, *raw))]),
    )


def _mde(error: float) -> float | None:
    """Return the minimum detectable effect; None where models never differed: 0.0 would promise power."""
    return round(minimum_detectable_effect(error), 6) if error > 0 else None


def correct_tasks(effects: Mapping[str, Effects], results: StudyResults) -> None:
    """Set q of OG and of Gain and the verdict of every task, in place.

    Benjamini-Hochberg within a stage, over its points and their named tasks with enough clusters.
    """
    for stage in sorted({results.points[name].stage for name in effects}):
        of_stage = {name: row for name, row in effects.items() if results.points[name].stage == stage}
        tested = {
            (name, task): row.tasks[task]
            for name, row in of_stage.items()
            for task in (row.sets["named"].tasks if "named" in row.sets else ())
            if enough(row.tasks[task].clusters)
        }
        for (name, task), effect in tested.items():
            weights = gain_weights(name, effects[name].constituents)
            parts = contributions([results.report[task]], weights)
            effect.p_gain = round(p_two_sided(parts), 6)  # above or below the mean of the constituents
        if tested:
            q_og = benjamini_hochberg({key: _p(effect.p_og) for key, effect in tested.items()})
            p_gain = {key: _p(effect.p_gain) for key, effect in tested.items()}
            q_gain, gain_ranges = _corrected(p_gain, benjamini_hochberg)
            for key, effect in tested.items():
                effect.q_og, effect.q_gain = round(q_og[key], 6), q_gain[key]
                effect.ranges["q_gain"] = gain_ranges[key]
    for row in effects.values():
        for effect in row.tasks.values():
            effect.verdict = task_verdict(effect)


def _p(value: float | None) -> float:
    """Return a p value, or 1 (never significant) if the test was not made."""
    return 1.0 if value is None else value


def _corrected(
    p: Mapping[Name, float], correct: Callable[[Mapping[Name, float]], dict[Name, float]]
) -> tuple[dict[Name, float], dict[Name, tuple[float, float]]]:
    """Return corrected p values, and where they may lie under other seeds of the sign flips.

    A correction rises with every p, so the least and greatest p of all give the ends of the range.
    """
    ranges = {name: p_range(value) for name, value in p.items()}
    least, most = (correct({name: ends[k] for name, ends in ranges.items()}) for k in (0, 1))
    values = {name: round(value, 6) for name, value in correct(p).items()}
    return values, {name: _rounded_pair((least[name], most[name])) for name in p}


def correct_combinations(best: Mapping[str, Effects], results: StudyResults) -> None:
    """Set Holm's p of every task set, in place. `best`: combination -> the effects of its selected point.

    Over the combinations of a stage, for the two claims that a verdict makes of a set of tasks: above all
    models, and below the mean of the constituents.
    """
    for stage in sorted({results.points[row.point].stage for row in best.values()}):
        of_stage = {n: row.sets for n, row in best.items() if results.points[row.point].stage == stage}
        for set_name in {name for task_sets in of_stage.values() for name in task_sets}:
            rows = {n: task_sets[set_name] for n, task_sets in of_stage.items() if set_name in task_sets}
            p_above = {name: _p(row.p_over_all_models) for name, row in rows.items()}
            p_below = {name: _p(row.p_below_mean) for name, row in rows.items()}
            above, above_ranges = _corrected(p_above, holm)
            below, below_ranges = _corrected(p_below, holm)
            for name, row in rows.items():
                row.holm_over_all_models, row.holm_below_mean = above[name], below[name]
                row.ranges["holm_over_all_models"] = above_ranges[name]
                row.ranges["holm_below_mean"] = below_ranges[name]
