"""From stored scores to summary.json: select, measure, test, decide. No model is loaded."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.contrasts import difference, score
from mergekit_finance.statistics.influence import count_clusters
from mergekit_finance.statistics.outperform import point_gain, point_gap
from mergekit_finance.study.analysis import (
    effects,
    objective,
    operator_comparison,
    predictors,
    selection,
    verdict,
    wording,
)
from mergekit_finance.study.analysis.item_flips import flips_of_merge
from mergekit_finance.study.analysis.units import units
from mergekit_finance.study.results import StudyResults, load_results
from mergekit_finance.study.schema import (
    CombinationResult,
    Interval,
    ModelResult,
    OperatorComparison,
    PointResult,
    Predictors,
    SelectionResult,
    Ship,
    Summary,
    TaskResult,
    rounded,
)


def chosen_points(results: StudyResults) -> dict[str, str]:
    """Return the selected point of every combination."""
    return selection.select_points(results.points, objective.judged(results).ranking).by_combination


def summary(folder: Path) -> Summary:
    """Return the answer of the study in a folder, computed from its stored scores."""
    results = load_results(folder, finished=False)
    return answer(results, results.similarity)


def answer(results: StudyResults, similarity: Similarity | None) -> Summary:
    """Return the answer of a study. The same stored scores give the same bytes."""
    replicates = bootstrap(list(results.report.values()), results.study.resamples, results.study.seed)
    if not results.macro:
        return _without_selection(results, replicates)
    macro = selection.macro_on(results.selection, results.macro)
    by_objective = objective.judged(results)
    choice = selection.select_points(results.points, by_objective.ranking)
    selected = {name: effects.effects_of(results, replicates, name) for name in choice.by_operator.values()}
    effects.correct_tasks(selected, results)
    best = {combination: selected[name] for combination, name in choice.by_combination.items()}
    effects.correct_combinations(best, results)
    rows = predictors.table(results, similarity, best)
    answered = Summary(
        study=results.study,
        limit=results.limit,
        selection=_selection(results, by_objective),
        models={name: _model(results, replicates, name, macro) for name in results.models},
        tasks=_tasks(results),
        units=units(results),
        points={name: _point(results, replicates, name, macro, choice) for name in results.points},
        races=results.races,
        selected=selected,
        combinations=_combinations(results, choice),
        ship=_ship(results, replicates, by_objective, choice),
        objective=objective.objective_result(results, by_objective, replicates),
        operators=OperatorComparison()
        if results.study.race
        else operator_comparison.compare_operators(results, replicates),
        similarity=Predictors(combinations=rows, correlations=predictors.correlations(rows)),
    )
    verdict.decide(answered)
    answered.verdict = wording.verdict_sentences(answered)
    return answered


def _without_selection(results: StudyResults, replicates: Replicates) -> Summary:
    """Return the answer of a study of measures in other units: every merge, and none selected."""
    answered = Summary(
        study=results.study,
        limit=results.limit,
        selection=SelectionResult(split=False, seed=results.study.selection.seed),
        models={name: _model(results, replicates, name) for name in results.models},
        tasks=_tasks(results),
        units=units(results),
        points={name: _point(results, replicates, name) for name in results.points},
        selected={},
        combinations={},
    )
    answered.verdict = wording.verdict_sentences(answered)
    return answered


def _selection(results: StudyResults, by_objective: objective.Judged) -> SelectionResult:
    settings = results.study.selection
    has_bounds = bool(results.study.select and results.study.select.subject_to)
    # Optimism is of the choice among all settings by the objective alone.
    is_measured = not results.study.race and not has_bounds
    return SelectionResult(
        same_items=settings.same_items,
        split=results.splits,
        share=settings.share if results.splits else None,
        seed=settings.seed,
        optimism=selection.optimism(results, by_objective.weights) if is_measured else None,
    )


def _tasks(results: StudyResults) -> dict[str, TaskResult]:
    return {
        name: TaskResult(
            **task.model_dump(),
            items=len(results.full[name].clusters),
            clusters=results.full[name].count,
            report_items=len(results.report[name].clusters),
            report_clusters=results.report[name].count,
            chance=round(predictors.chance(results, name), 6),
        )
        for name, task in results.tasks.items()
    }


def _scores(results: StudyResults, replicates: Replicates, name: str) -> dict[str, float]:
    """Return a model's score on every task, on the report items."""
    return {task: round(replicates.observed[task][name], 6) for task in results.tasks}


def _mean(results: StudyResults, replicates: Replicates, name: str, kind: str) -> Interval | None:
    """Return a model's mean score over the tasks of a kind, on the report items; None without such tasks."""
    tasks = results.of_kind(kind)
    return rounded(score(replicates, tasks, name)) if tasks else None


def _groups(results: StudyResults, replicates: Replicates, name: str) -> dict[str, Interval] | None:
    """Return a model's mean score over the tasks of each group of skills, on the report items."""
    groups = effects.skill_groups(results)
    return {group: rounded(score(replicates, tasks, name)) for group, tasks in groups.items()} or None


def _model(
    results: StudyResults, replicates: Replicates, name: str, macro: selection.Macro | None = None
) -> ModelResult:
    entry = results.models[name]
    return ModelResult(
        reference=entry.reference,
        fingerprint=entry.fingerprint,
        folder=entry.folder,
        macro=_mean(results, replicates, name, "tasks"),
        macro_on_selection=round(macro(name), 6) if macro else None,
        scores=_scores(results, replicates, name),
        retention=_mean(results, replicates, name, "retention"),
        probes=_mean(results, replicates, name, "probes"),
        groups=_groups(results, replicates, name),
    )


def _point(
    results: StudyResults,
    replicates: Replicates,
    name: str,
    macro: selection.Macro | None = None,
    choice: selection.SelectedPoints | None = None,
) -> PointResult:
    entry, constituents = results.points[name], results.constituents(name)
    is_selected = choice is not None and name in choice.by_operator.values()
    pairs: dict[str, tuple[float, float]] = {}
    for task in results.tasks:
        merged, others = replicates.observed[task][name], [replicates.observed[task][c] for c in constituents]
        pairs[task] = (round(point_gain(merged, others), 6), round(point_gap(merged, others), 6))
    macro_gain, macro_og = _macro_effects(results, replicates, pairs)
    tasks = [results.report[task] for task in results.macro]
    flips = flips_of_merge(tasks, name, constituents, replicates.observed) if tasks else None
    return PointResult(
        folder=entry.folder,
        stage=entry.stage,
        combination=entry.combination,
        operator=entry.operator,
        values=entry.values,
        constituents=constituents,
        recipe=entry.recipe.model_dump(mode="json"),
        selected=is_selected,
        macro=_mean(results, replicates, name, "tasks"),
        macro_on_selection=round(macro(name), 6) if macro else None,
        scores=_scores(results, replicates, name),
        retention=_mean(results, replicates, name, "retention"),
        probes=_mean(results, replicates, name, "probes"),
        groups=_groups(results, replicates, name) if is_selected else None,
        gain_and_og=pairs,
        macro_gain=macro_gain,
        macro_og=macro_og,
        flips_gain=flips.gain if flips else None,
        flips_og=flips.og if flips else None,
    )


def _macro_effects(
    results: StudyResults, replicates: Replicates, pairs: Mapping[str, tuple[float, float]]
) -> tuple[float | None, float | None]:
    """Return the weighted means of Gain and OG over the tasks of the macro average; None without such."""
    if not results.macro:
        return None, None
    weights = replicates.weights(results.macro)
    gain, gap = np.average([pairs[t] for t in results.macro], axis=0, weights=weights).tolist()
    return round(gain, 6), round(gap, 6)


def _combinations(results: StudyResults, choice: selection.SelectedPoints) -> dict[str, CombinationResult]:
    skills = results.study.skills
    return {
        combination: CombinationResult(
            stage=results.points[name].stage,
            experts=combination.split("+"),
            skills=sorted(frozenset[str]().union(*(skills[e] for e in combination.split("+")))),
            named_tasks=effects.named_tasks(results, combination),
            selected=name,
            by_operator={o: p for (c, o), p in choice.by_operator.items() if c == combination},
        )
        for combination, name in choice.by_combination.items()
    }


def _ship(
    results: StudyResults,
    replicates: Replicates,
    by_objective: objective.Judged,
    choice: selection.SelectedPoints,
) -> Ship:
    """Return the best model on the selection items, and how the best merge compares on the report items."""

    def rank(name: str) -> tuple[float, ...]:
        return by_objective.ranking.of(name, results.points)

    merges = list(choice.by_combination.values())
    winner, single = max([*results.models, *merges], key=rank), max(results.models, key=rank)
    merge = max(merges, key=rank)
    retention, tasks = results.of_kind("retention"), list(by_objective.weights or results.macro)
    of_objective = objective.weighted(replicates, by_objective.weights)
    estimates = {"merge_over_single": difference(of_objective, tasks, merge, single)}
    if retention:
        estimates["retention_over_base"] = difference(replicates, retention, merge, "base")
        estimates["retention_over_single"] = difference(replicates, retention, merge, single)
    return Ship(
        model=winner,
        is_merge=winner in results.points,
        best_merge=merge,
        best_single=single,
        macro=rounded(score(replicates, results.macro, winner)),
        clusters=count_clusters([results.report[task] for task in tasks]),
        ranges=effects.ranges_of(estimates),
        merge_over_single=rounded(estimates["merge_over_single"]),
        retention_over_base=rounded(estimates["retention_over_base"]) if retention else None,
        retention_over_single=rounded(estimates["retention_over_single"]) if retention else None,
    )
