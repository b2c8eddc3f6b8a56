"""What a merge did: Gain, OG and retention of a point, with intervals, p values and verdicts per task."""

from collections.abc import Mapping, Sequence
from typing import Any

from mergekit_finance.statistics import outperform
from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.contrasts import difference, difference_weights, gain_weights, score
from mergekit_finance.statistics.data import TaskScores
from mergekit_finance.statistics.influence import clusters_of, contributions, standard_error
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.statistics.mcnemar import p_outperform
from mergekit_finance.statistics.multiplicity import benjamini_hochberg, holm
from mergekit_finance.statistics.power import enough, minimum_detectable_effect
from mergekit_finance.statistics.signflip import p_greater, p_two_sided
from mergekit_finance.study.results import Loaded

LEVEL = 0.05
Interval = list[float]


def shown(estimate: Estimate | Sequence[float]) -> Interval:
    """[value, low, high], rounded so that files do not depend on the last bits of a sum."""
    return [round(float(number), 6) for number in estimate]


def of_point(loaded: Loaded, found: Replicates, point: str) -> dict[str, Any]:
    """Everything about one point on the report items."""
    parents, raw = loaded.parents(point), loaded.raw(point)
    combination = "+".join(loaded.points[point]["combination"])
    return {
        "point": point,
        "parents": parents,
        "against_base_and_experts": raw,
        "tasks": {task: _task(loaded, found, task, point, parents, raw) for task in loaded.tasks},
        "sets": {
            name: compared(loaded, found, tasks, point, parents, raw)
            for name, tasks in sets(loaded, combination).items()
        },
        **recovery(loaded, found, point, raw),
    }


def sets(loaded: Loaded, combination: str) -> dict[str, list[str]]:
    """The sets of tasks that are summed up: the macro, the named set, the tasks of the combination's own
    skills, each skill group, retention, probes."""
    own = loaded.within(_skills(loaded, combination))
    found = {"macro": loaded.macro, "named": named(loaded, combination), "own": own}
    for task in loaded.macro:
        if skills := loaded.tasks[task]["skills"]:
            found.setdefault("skills: " + "+".join(skills), []).append(task)
    for kind in ("retention", "probes"):
        found[kind] = loaded.of_kind(kind)
    return {name: tasks for name, tasks in found.items() if tasks}


def named(loaded: Loaded, combination: str) -> list[str]:
    """The tasks that a combination's tests are about: those of study.yml, else the tasks of its union of
    skills, and for one expert retention too (what CPT lost is what stage 1 wants back)."""
    if given := loaded.study.named.get(combination):
        return [task for task in loaded.tasks if task in given]
    kept = loaded.of_kind("retention") if "+" not in combination else []
    return loaded.within(_skills(loaded, combination)) + kept


def _skills(loaded: Loaded, combination: str) -> frozenset[str]:
    return frozenset[str]().union(*(loaded.study.skills[e] for e in combination.split("+")))


def compared(
    loaded: Loaded,
    found: Replicates,
    tasks: Sequence[str],
    point: str,
    parents: Sequence[str],
    raw: Sequence[str],
) -> dict[str, Any]:
    """Macro score, Gain and OG over a set of tasks, with the sign-flip p of each."""
    scores = [loaded.report[task] for task in tasks]
    best, strongest = (
        max(names, key=lambda name: (score(found, tasks, name).value, name)) for names in (parents, raw)
    )
    parts = contributions(scores, gain_weights(point, parents))
    over_best = contributions(scores, difference_weights(point, best))
    p_above, p_below = _p_over_all(scores, point, parents), _p_below_best(scores, point, parents)
    everyone = [
        *dict.fromkeys((*parents, *raw))
    ]  # base and experts too: with `chain: best` parents are merges
    return {
        "tasks": list(tasks),
        "score": shown(score(found, tasks, point)),
        "parents": {parent: shown(score(found, tasks, parent)) for parent in parents},
        "gain": shown(outperform.gain(found, tasks, point, parents)),
        "p_gain": round(p_greater(parts), 6),
        "og": shown(outperform.outperform_gap(found, tasks, point, parents)),
        "best_parent": best,
        "over_best_parent": shown(outperform.over_best(found, tasks, point, parents)),
        "p_over_best_parent": round(min(1.0, 2 * min(p_above, p_below)), 6),
        "p_over_all_parents": round(p_above, 6),
        "p_over_everyone": round(_p_over_all(scores, point, everyone), 6),
        "p_below_mean": round(p_greater(contributions(scores, _negative(gain_weights(point, parents)))), 6),
        "base": shown(score(found, tasks, "base")),
        "over_base": shown(difference(found, tasks, point, "base")),
        "gain_raw": shown(outperform.gain(found, tasks, point, raw)),
        "og_raw": shown(outperform.outperform_gap(found, tasks, point, raw)),
        "best_raw": strongest,
        "over_best_raw": shown(outperform.over_best(found, tasks, point, raw)),
        "clusters": clusters_of(scores),  # twins share theirs
        "mde": _mde(standard_error(over_best)),
    }


def recovery(loaded: Loaded, found: Replicates, point: str, raw: Sequence[str]) -> dict[str, Any]:
    """Of one expert and the base, on retention: what CPT lost, what came back, what the merge has less than
    the base."""
    tasks, expert = loaded.of_kind("retention"), raw[-1]
    if len(raw) != 2 or not tasks:
        return {}
    pairs = {"lost": ("base", expert), "back": (point, expert), "over_base": (point, "base")}
    return {"recovery": {name: shown(difference(found, tasks, a, b)) for name, (a, b) in pairs.items()}}


def _p_over_all(scores: Sequence[TaskScores], point: str, parents: Sequence[str]) -> float:
    """One-sided p of "the macro is above that of every constituent": the largest over them, an
    intersection-union test (Berger 1982, Technometrics 24:295), so no correction is needed."""
    return max(p_greater(contributions(scores, difference_weights(point, p))) for p in parents)


def _negative(weights: Mapping[str, float]) -> dict[str, float]:
    return {model: -weight for model, weight in weights.items()}


def _p_below_best(scores: Sequence[TaskScores], point: str, parents: Sequence[str]) -> float:
    """One-sided p of "the macro is below that of some constituent": Bonferroni over them."""
    smallest = min(p_greater(contributions(scores, difference_weights(p, point))) for p in parents)
    return min(1.0, len(parents) * smallest)


def _task(
    loaded: Loaded, found: Replicates, task: str, point: str, parents: Sequence[str], raw: Sequence[str]
) -> dict[str, Any]:
    scores = loaded.report[task]
    errors = [standard_error(contributions([scores], difference_weights(point, p))) for p in parents]
    return {
        "items": len(scores.clusters),
        "clusters": scores.count,
        "score": shown(score(found, [task], point)),
        "parents": {parent: round(found.observed[task][parent], 6) for parent in parents},
        "gain": shown(outperform.gain(found, [task], point, parents)),
        "og": shown(outperform.outperform_gap(found, [task], point, parents)),
        "og_raw": shown(outperform.outperform_gap(found, [task], point, raw)),
        "p_og": round(p_outperform(scores, point, parents), 6),
        "mde": _mde(max(errors)),
    }


def _mde(error: float) -> float | None:
    """Unknown where the models never differed: the error is then no estimate, and 0.0 would promise power."""
    return round(minimum_detectable_effect(error), 6) if error > 0 else None


def adjust(rows: Mapping[str, dict[str, Any]], loaded: Loaded) -> None:
    """Give every row's tasks their q of OG and of Gain (Benjamini-Hochberg within the stage, over points and
    named tasks of enough clusters) and their verdict."""
    for stage in sorted({loaded.points[name]["stage"] for name in rows}):
        own = {name: row for name, row in rows.items() if loaded.points[name]["stage"] == stage}
        tested = {
            (name, task): row["tasks"][task]
            for name, row in own.items()
            for task in row["sets"].get("named", {}).get("tasks", ())
            if enough(row["tasks"][task]["clusters"])
        }
        for (name, task), numbers in tested.items():
            numbers["p_gain"] = round(_p_gain(loaded.report[task], name, rows[name]["parents"]), 6)
        for what in ("og", "gain") if tested else ():
            p_values = {place: numbers[f"p_{what}"] for place, numbers in tested.items()}
            for place, q in benjamini_hochberg(p_values).items():
                tested[place][f"q_{what}"] = round(q, 6)
    for row in rows.values():
        for task in row["tasks"].values():
            task["verdict"] = verdict(task)


def _p_gain(scores: TaskScores, point: str, parents: Sequence[str]) -> float:
    """Two-sided: a merge may be above or below the mean of its constituents."""
    return p_two_sided(contributions([scores], gain_weights(point, parents)))


def adjust_words(rows: Mapping[str, dict[str, Any]], loaded: Loaded) -> None:
    """Holm over the combinations of a stage (rows: combination -> its selected point), for the two claims
    that a verdict makes of a set of tasks: above everyone, and below the mean of the constituents."""
    for stage in sorted({loaded.points[row["point"]]["stage"] for row in rows.values()}):
        own = [row["sets"] for row in rows.values() if loaded.points[row["point"]]["stage"] == stage]
        for name in {name for sets_ in own for name in sets_}:
            for what in ("p_over_everyone", "p_below_mean"):
                found = {k: sets_[name][what] for k, sets_ in enumerate(own) if name in sets_}
                for k, p in holm(found).items():
                    own[k][name][what.replace("p_", "holm_", 1)] = round(p, 6)


def verdict(task: Mapping[str, Any]) -> str:
    """In a word, what the numbers of a task allow to say. A claim of a gain, a loss or the best needs its q,
    which only named tasks have; "below the best" is common, claims nothing, and goes by the interval."""
    if not enough(task["clusters"]):
        return "too few items"
    if task.get("q_og", 1.0) < LEVEL and task["og"][1] > 0:
        return "outperforms"
    if task.get("q_gain", 1.0) < LEVEL and task["gain"][2] < 0:
        return "interferes"
    if task["og"][2] < 0:
        return "below the best"
    if task.get("q_gain", 1.0) < LEVEL and task["gain"][1] > 0:
        return "gains"
    return "no clear difference"
