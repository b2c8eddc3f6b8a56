"""The words of the verdict: effect words and sentences. Page, card and command print these.

Differences are in points of a hundred, as `value [low, high]` with a 95 % interval; n counts independent
clusters of items. "Best constituent" is the one model with the best mean over the tasks; "best constituent
per task" is what OG compares with.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from mergekit_finance.errors import counted
from mergekit_finance.files import Json
from mergekit_finance.operators import number_of, operator_of, parameter_of, value_order, value_text
from mergekit_finance.statistics.power import MIN_CLUSTERS, enough
from mergekit_finance.study.analysis import objective_wording, search_wording, unit_wording, verdict
from mergekit_finance.study.analysis.advice_wording import OPTIMISTIC, advice_sentences
from mergekit_finance.study.analysis.item_flips import flips_note
from mergekit_finance.study.analysis.phrases import (
    alternatives,
    cluster_count,
    how,
    in_points,
    interval_in_words,
    merge_name,
    number,
    sample_size,
    symbol,
    task_list,
    weights_note,
)
from mergekit_finance.study.analysis.text_tables import table_lines
from mergekit_finance.study.schema import (
    Effect,
    EffectKind,
    Effects,
    OperatorDifference,
    Sentence,
    Side,
    Summary,
    TaskSet,
)

STAGES = {1: "recovery", 2: "complementarity", 3: "emergence"}
PREDICTORS = {"l2": "L2 distance", "cosine": "cosine", "headroom": "complementarity headroom"}
LEGEND = (
    "Points of 100, with 95 % intervals in brackets. Gain: the merge minus the mean of its constituents, the "
    "models in it. OG: minus the best constituent of each task. Cluster: an item, or several items from one "
    "source."
)
# Words that differ from the kind's stored name. ABOVE_ALL is named after the stage instead.
EFFECT_WORDS = {
    EffectKind.NOT_ABOVE_BASE: "above constituents, not above base",
    EffectKind.NOT_ABOVE_EXPERTS: "above constituents, not above all experts",
    EffectKind.NOT_AFTER_CORRECTION: "above all models before correction only",
}


# ---- combinations


def effect_word(effect: Effect, stage: int) -> str:
    """Return the word for an effect; ABOVE_ALL is recovery, complementarity or emergence, by stage."""
    if effect.kind is EffectKind.BORDERLINE:
        return f"borderline ({alternatives([_kind_word(kind, stage) for kind in effect.between])})"
    if effect.kind is EffectKind.NOT_REPEATED:
        return f"not repeated ({_kind_word(effect.between[0], stage)} in the first study only)"
    if effect.kind is EffectKind.TOO_FEW_ITEMS:
        return f"inconclusive (fewer than {MIN_CLUSTERS} clusters)"
    return _kind_word(effect.kind, stage)


def _kind_word(kind: EffectKind, stage: int) -> str:
    return STAGES[stage] if kind is EffectKind.ABOVE_ALL else EFFECT_WORDS.get(kind, kind.value)


def short_effect_word(effect: Effect, stage: int) -> str:
    """Return the effect for a table, without the explanation in parentheses."""
    return effect_word(effect, stage).split(" (")[0]


def overview_rows(summary: Summary) -> list[list[str]]:
    """Return the table of combinations with its header, one row per combination."""
    header = ["stage", "merge", "macro", "Macro-Gain", "Macro-OG", "selected", "retention", "effect"]
    rows = []
    for name, row in sorted(summary.combinations.items(), key=lambda item: item[1].stage):
        macro, point = summary.selected[row.selected].sets["macro"], summary.points[row.selected]
        rows.append(
            [
                str(row.stage),
                merge_name(name),
                in_points(macro.score.value),
                interval_in_words(macro.gain),
                interval_in_words(macro.og),
                how(summary, row.selected),
                in_points(point.retention.value) if point.retention else "",
                short_effect_word(verdict.effect(summary, name), row.stage),
            ]
        )
    return [header, *rows]


def verdict_text(summary: Summary, width: int | None = None) -> str:
    """Return what the command prints: the table of combinations, then the sentences, wrapped at `width`.

    If nothing was selected, the tables are those of every merge in each unit.
    """
    if summary.has_selection:
        lines = table_lines(overview_rows(summary), width)
        lines += ["", LEGEND if width is None else textwrap.fill(LEGEND, width, break_on_hyphens=False)]
    else:
        tables = [table_lines(unit_wording.unit_rows(summary, unit), width) for unit in summary.units]
        lines = [line for table in tables for line in ("", *table)][1:]
    verdict_lines = verdict_sentences(summary)
    for about in dict.fromkeys(line.about for line in verdict_lines):
        lines += ["", "Notes" if about == "caution" else about.capitalize()]
        lines += [_wrapped(line.text, width) for line in verdict_lines if line.about == about]
    return "\n".join(lines)


def _wrapped(sentence: str, width: int | None) -> str:
    if width is None:
        return f"  - {sentence}"
    return textwrap.fill(
        sentence, width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
    )


def verdict_sentences(summary: Summary) -> list[Sentence]:
    """Return the verdict in words: as stored, or worded for a summary of format 1."""
    if summary.verdict and not (summary.has_selection and summary.ship.advice is None):
        return summary.verdict
    if not summary.has_selection:
        lines = [("caution", unit_wording.NOT_SELECTED_NOTE), *unit_wording.unit_sentences(summary)]
        return [Sentence(about=about, text=text) for about, text in [*lines, *_cautions(summary)]]
    lines = [
        *_stage_one(summary),
        *_later_stages(summary),
        *_interference(summary),
        *_operators(summary),
        *_similarity(summary),
        *objective_wording.objective_sentences(summary),
        *unit_wording.unit_sentences(summary),
        *search_wording.search_sentences(summary),
        ("ship", advice_sentences(summary)),
        *_cautions(summary),
    ]
    return [Sentence(about=about, text=text) for about, text in lines]


def _stage_one(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield what CPT lost and the merge recovered, what it kept of the expert's skill, and both together."""
    for name, row in summary.combinations.items():
        if row.stage != 1:
            continue
        effects, effect = summary.selected[row.selected], verdict.effect(summary, name)
        for line in (*_recovered(effects), *_kept(effects, name)):
            yield "recovery", f"{merge_name(name)}, {line}."
        if effect.kind is not EffectKind.TOO_FEW_ITEMS:
            tested = _tested_with_base(summary, name, effects, effect)
            yield "recovery", f"{merge_name(name)}, {tested}: {effect_word(effect, 1)}."


def _tested_with_base(summary: Summary, name: str, effects: Effects, effect: Effect) -> str:
    """Return which tasks the effect of a merge with the base is about."""
    if effect.tested != "named" or name in summary.study.named:
        return _tasks_of(effects.sets[effect.tested], effect)
    words = {"retention": "retention", "own": "tasks of its skill"}
    parts = [word for key, word in words.items() if key in effects.sets]
    return " and ".join(parts) + (" together" if len(parts) > 1 else " alone")


def _recovered(effects: Effects) -> Iterator[str]:
    if not effects.recovery:
        return
    numbers, retention = effects.recovery, effects.sets["retention"]
    vs_base, vs_expert = (flips_note(retention.flips.get(name)) for name in effects.base_and_experts)
    sides = verdict.sides("lost", numbers.lost, numbers.ranges)
    if sides == ["above"]:
        lost = f"lost {in_points(numbers.lost.value)}{flips_note(numbers.flips_of_expert)}"
        lost += f", recovered {interval_in_words(numbers.recovered)}{vs_expert}"
    else:
        word = "borderline" if "above" in sides else "no clear"
        lost = f"{word} loss by continual pre-training ({interval_in_words(numbers.lost)})"
    size = sample_size(retention.clusters)
    yield f"retention: {lost}, vs base {interval_in_words(numbers.over_base)}{vs_base}, {size}"


def _kept(effects: Effects, expert: str) -> Iterator[str]:
    skill = effects.sets.get("own")
    if not skill:
        return
    scores = f"expert {in_points(skill.constituents[expert].value)}"
    if skill.base:
        scores += f", base {in_points(skill.base.value)}"
    score, gap = in_points(skill.score.value), interval_in_words(skill.og)
    yield f"tasks of its skill: {score} ({scores}), OG {gap}, {sample_size(skill.clusters)}"


def _later_stages(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield the merge against its best constituent and the base, as a whole and task by task."""
    for name, row in sorted(summary.combinations.items(), key=lambda item: item[1].stage):
        if row.stage == 1:
            continue
        effects, effect = summary.selected[row.selected], verdict.effect(summary, name)
        tested = effects.sets[effect.tested]
        better = [task for task, of_task in effects.tasks.items() if of_task.verdict == "outperforms"]
        outperforms = f" Outperforms all constituents on {task_list(better)}." if better else ""
        yield (
            STAGES[row.stage],
            f"{merge_name(name)}: {effect_word(effect, row.stage)}. {_comparisons(effects, tested, effect)}; "
            f"{_tasks_of(tested, effect)}, {cluster_count(tested.clusters)}.{outperforms}",
        )


def _comparisons(effects: Effects, tested: TaskSet, effect: Effect) -> str:
    """Return the numbers that the effect was decided by."""
    best, flips = tested.best_constituent, tested.flips
    parts = [
        f"{interval_in_words(tested.over_best_constituent)} vs best constituent ({best})"
        f"{flips_note(flips.get(best))}"
    ]
    if effect.kind is EffectKind.INTERFERENCE:
        parts.insert(0, f"{interval_in_words(tested.gain)} vs the mean of the constituents (Gain)")
    if tested.over_base:
        parts.append(f"{interval_in_words(tested.over_base)} vs base{flips_note(flips.get('base'))}")
    if tested.over_best_raw and not set(effects.constituents) <= set(effects.base_and_experts):
        parts.append(
            f"{interval_in_words(tested.over_best_raw)} vs best of base and raw experts ({tested.best_raw})"
        )
    if len(tested.tasks) > 1:
        parts.append(f"OG {interval_in_words(tested.og)} vs best constituent per task")
    return ", ".join(parts)


def _tasks_of(tested: TaskSet, effect: Effect) -> str:
    count = "1 task" if len(tested.tasks) == 1 else f"{len(tested.tasks)} tasks"
    which = {"named": "named in study.yml", "own": "of their skills", "macro": "of the macro average"}
    return f"{count} {which[effect.tested]}"


def _interference(summary: Summary) -> Iterator[tuple[str, str]]:
    for name, row in summary.combinations.items():
        tasks = summary.selected[row.selected].tasks
        worse = [task for task, of_task in tasks.items() if of_task.verdict == "interferes"]
        if worse:
            yield (
                "interference",
                f"{merge_name(name)}: below the mean of its constituents on {task_list(worse)}.",
            )


# ---- operators and predictors


def _operators(summary: Summary) -> Iterator[tuple[str, str]]:
    """Compare Task Arithmetic with the other operators: is it stronger, and more sensitive?"""
    for pair, row in summary.operators.differences.items():
        first, second = pair.split(" - ")
        if first != "task_arithmetic":
            continue
        names = " vs ".join(f"{operator_of(key).label} ({_grid(summary, key)})" for key in (first, second))
        if not enough(summary.ship.clusters):
            yield "operators", f"{names}: {sample_size(summary.ship.clusters)}."
            continue
        line = f"{names}. Best score: {_side_word('best', row)} ({interval_in_words(row.best)})."
        if all(summary.operators.operators[key].swept for key in (first, second)):
            line += (
                f" Sensitivity to hyperparameters: {_side_word('spread', row)} (spread over the grid "
                f"{interval_in_words(row.spread)}, share of the grid within one point of the best "
                f"{interval_in_words(row.near)})."
            )
        yield "operators", line


def _side_word(name: Literal["best", "spread"], row: OperatorDifference) -> str:
    """Return whether the first operator's number is higher or lower; borderline if the seed decides."""
    sides = verdict.sides(name, row.best if name == "best" else row.spread, row.ranges)
    by_side: Mapping[Side, str] = {"above": "higher", "below": "lower", "unclear": "not clearly different"}
    words = [by_side[side] for side in sides]
    return f"borderline: {alternatives(words)}" if len(words) > 1 else words[0]


def _grid(summary: Summary, operator: str) -> str:
    """Return the range of the grid, which the comparison depends on: `density 0.1 to 1, λ 1`."""
    tried: dict[str, list[Json]] = {}
    for point in summary.points.values():
        for key, value in point.values.items() if point.operator == operator else ():
            tried.setdefault(parameter_of(key), []).append(value)
    parts = []
    for name, values in tried.items():
        if name != "seed":
            parts.append(f"{symbol(name)} {_values(values)}")
    return ", ".join(parts) or "no hyperparameter"


def _values(values: Sequence[Json]) -> str:
    """Return `0.2 to 1` of numbers; other values, such as gradients and filters, one by one."""
    in_order = sorted(values, key=value_order)
    if all(number_of(value) is not None for value in values):
        in_order = [in_order[0], in_order[-1]]
        return " to ".join(dict.fromkeys(map(value_text, in_order)))
    return ", ".join(dict.fromkeys(map(value_text, in_order)))


def _similarity(summary: Summary) -> Iterator[tuple[str, str]]:
    rows = [
        row for row in summary.similarity.correlations if (row.over, row.outcome) == ("all", "macro_gain")
    ]
    parts = [
        f"{PREDICTORS[row.predictor]} {number(row.rho, 2)} (p = {row.p:.3f})"
        for row in rows
        if row.rho is not None and row.p is not None
    ]
    if parts:
        n, needed = rows[0].n, rows[0].needed
        limit = f"significant from |ρ| = {needed:.3f} on" if needed else "too few for any to be significant"
        yield (
            "similarity",
            f"Spearman's ρ with Macro-Gain over {counted(n, 'combination')} ({limit}): {', '.join(parts)}. "
            "The correlations describe these merges only.",
        )


# ---- cautions


def _cautions(summary: Summary) -> Iterator[tuple[str, str]]:
    clusters = [task.report_clusters for task in summary.tasks.values()]
    if few := too_few_clusters(clusters):
        yield "caution", few
    if weighted := weights_note({name: task.weight for name, task in summary.tasks.items()}):
        yield "caution", weighted
    if without := [name for name, task in summary.tasks.items() if task.is_zero_shot]:
        yield (
            "caution",
            f"Evaluated without demonstrations (0-shot), because there are no train rows: "
            f"{task_list(without)}.",
        )
    selection = summary.selection
    if summary.has_selection and verdict.advice(summary).optimistic:
        optimism = selection.optimism.mean if selection.optimism else None
        size = ""
        if selection.same_items and optimism is not None:
            size = f", by {in_points(optimism)} points as measured on random halves"
        what = "Hyperparameters and the best model were" if selection.same_items else "The best model was"
        yield "caution", f"{what} {OPTIMISTIC}{size}."


def too_few_clusters(clusters: Sequence[int]) -> str:
    """Return how many tasks have too few clusters for a verdict of their own, or "". `clusters`: per task."""
    few = sum(not enough(count) for count in clusters)
    if not few:
        return ""
    tasks = "1 task" if len(clusters) == 1 else f"{len(clusters)} tasks"
    verb = "has" if few == 1 else "have"
    least = f"fewer than {MIN_CLUSTERS} independent items (clusters) to report on"
    return f"{few} of {tasks} {verb} {least}: scores are shown without a verdict."
