"""The tasks of a study: the facts stored about them, and the checks that load them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mergekit_finance.data.contents import lacks_demonstrations
from mergekit_finance.data.registry import dataset as registered
from mergekit_finance.errors import DataError, RecipeError, did_you_mean
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.task_measures import Measure
from mergekit_finance.recipe.task_entries import TaskSettings
from mergekit_finance.statistics.totals import aggregation_name, named_aggregation
from mergekit_finance.study.config import Study
from mergekit_finance.study.schema import TaskInfo
from mergekit_finance.study.split import has_split, selection_items
from mergekit_finance.study.task_findings import require_needed_skills

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

GENERATED = ("lab", "sample")  # sources whose rows this project wrote or generates
KINDS = ("tasks", "retention", "probes")


def describe(evaluator: Evaluator, study: Study) -> dict[str, TaskInfo]:
    """Return the stored facts about every task, sorted by name."""
    kinds = _kinds(evaluator, study)
    skills = skills_of_tasks(evaluator, study)
    weights = weights_of_tasks(evaluator, study.task_settings or {})
    names = objective_tasks(evaluator, study)
    return {
        name: _info(
            name,
            task,
            kind=kinds[name],
            skills=skills[name],
            weight=weights[name],
            measure=evaluator.measures[name],
            study=study,
            selected_by=[one for one, tasks in names.items() if name in tasks] or None,
        )
        for name, task in sorted(evaluator.tasks.items())
    }


def skills_of_tasks(evaluator: Evaluator, study: Study) -> dict[str, list[str]]:
    """Return the skills of every task: those in study.yml for it or a group of it, else its own."""
    skills = {
        name: sorted((task.config.metadata or {}).get("skills") or ())
        for name, task in evaluator.tasks.items()
    }
    for listed, settings in (study.task_settings or {}).items():
        for name in evaluator.members(listed) if settings.skills else ():
            skills[name] = sorted(settings.skills)
    return skills


def weights_of_tasks(evaluator: Evaluator, settings: Mapping[str, TaskSettings]) -> dict[str, float]:
    """Return the weight of every task in means over tasks: its own or that of a group of it, else 1."""
    weights = dict.fromkeys(evaluator.tasks, 1.0)
    for listed, of_task in settings.items():
        weights |= dict.fromkeys(evaluator.members(listed), of_task.weight)
    return weights


def _kinds(evaluator: Evaluator, study: Study) -> dict[str, str]:
    """Return the kind of every task: the first key of study.yml that lists it or a group of it."""
    kinds: dict[str, str] = {}
    for kind in KINDS:
        for listed in getattr(study, kind):
            for name in evaluator.members(listed):
                kinds.setdefault(name, kind)
    return kinds


def _info(
    name: str,
    task: "ConfigurableTask",
    *,
    kind: str,
    skills: list[str],
    weight: float,
    measure: Measure,
    study: Study,
    selected_by: list[str] | None,
) -> TaskInfo:
    dataset = (task.config.dataset_kwargs or {}).get("fb_dataset")
    license_, shared = "unknown", False
    if study.source in GENERATED and dataset is not None:
        license_, shared = "Apache-2.0", True
    elif dataset is not None:
        license_, shared = registered(dataset).license, registered(dataset).text_may_be_shared
    return TaskInfo(
        kind=kind,
        skills=skills,
        weight=weight,
        dataset=dataset_of(name, task),
        aggregation=aggregation_name(measure.aggregation),
        unit=re.sub(r"[^\w.+ -]", "_", measure.unit)[:100],
        lower_is_better=not measure.higher_is_better,
        per_item=measure.per_item,
        version=str(task.VERSION),
        generates=task.get_config("output_type") == "generate_until",
        is_zero_shot=is_zero_shot(task, study.source),
        license=license_,
        text_may_be_shared=shared,
        selected_by=selected_by,
    )


def is_zero_shot(task: "ConfigurableTask", source: str | None) -> bool:
    """Return whether a task's prompts lack demonstrations because train rows are missing.

    Args:
        task: the loaded task.
        source: where its rows come from. Rows that this project wrote or generates need no demonstrations.
    """
    return source not in GENERATED and lacks_demonstrations(task.eval_docs)


def dataset_of(name: str, task: "ConfigurableTask") -> str:
    """Return the name of a task's dataset, or the task's own name if its YAML file has no `fb_dataset`."""
    return (task.config.dataset_kwargs or {}).get("fb_dataset") or name


def objective_tasks(evaluator: Evaluator, study: Study) -> dict[str, list[str]]:
    """Return the tasks of every name in `select`; of a kind those with scores that can be averaged."""
    kinds, measures = _kinds(evaluator, study), evaluator.measures
    names: dict[str, list[str]] = {}
    for name in study.select.names if study.select else ():
        if name in KINDS:
            averaged = [t for t, kind in kinds.items() if kind == name and not measures[t].unit]
            names[name] = [task for task in averaged if measures[task].per_item]
        else:
            names[name] = evaluator.members(name) if name in evaluator.selectable else []
    return names


def check_objective(evaluator: Evaluator, study: Study, where: str) -> None:
    """Raise RecipeError if `select` names what the study does not evaluate, or what cannot be averaged."""
    for name, tasks in objective_tasks(evaluator, study).items():
        key = f"{where}: select: {name}"
        if not tasks and name in KINDS:
            raise RecipeError(f"{key}: this study has no such tasks. Add `{name}:`.", id="study.invalid")
        if not tasks:
            hint = did_you_mean(name, sorted([*KINDS, *evaluator.selectable]))
            raise RecipeError(f"{key}: no task or group of this study. {hint}", id="study.invalid")
        for task in tasks:
            _require_averaged(evaluator, task, key)


def check_named(evaluator: Evaluator, study: Study, where: str) -> None:
    """Raise RecipeError if `named` lists a task that the study does not evaluate."""
    for combination, names in study.named.items():
        for name in names:
            if name in evaluator.task_names:
                _require_averaged(evaluator, name, f"{where}: named.{combination}")
                continue
            if name in evaluator.task_manager.all_groups:
                tasks = ", ".join(evaluator.task_names)
                problem = f"{name!r} is a group. List single tasks of this study: {tasks}"
            else:
                problem = f"no task {name!r} in this study. {did_you_mean(name, evaluator.task_names)}"
            raise RecipeError(f"{where}: named.{combination}: {problem}", id="study.invalid")


def _require_averaged(evaluator: Evaluator, name: str, where: str) -> None:
    measure = evaluator.measures[name]
    if measure.unit or not measure.per_item:
        reason = f"is measured in {measure.unit}" if measure.unit else "has no scores of single items"
        raise RecipeError(
            f"{where}: {name!r} {reason}, and tests are about scores in [0, 1]. List other tasks.",
            id="study.invalid",
        )


def check_skills(evaluator: Evaluator, study: Study, where: str) -> None:
    """Raise RecipeError for a skill that no task needs (`require_needed_skills`)."""
    require_needed_skills(study, skills_of_tasks(evaluator, study).values(), where)


def check_items(evaluator: Evaluator, study: Study) -> None:
    """Raise DataError for a task of the macro average without scores of single items that are needed.

    Selection and intervals of the macro average need scores of single items; measures in other units are
    never part of it, and tasks under `retention` and `probes` are shown without an interval.
    """
    kinds = _kinds(evaluator, study)
    macro = {name: m for name, m in evaluator.measures.items() if kinds[name] == "tasks" and not m.unit}
    has_selection = any(measure.per_item for measure in macro.values())
    for name, measure in evaluator.measures.items():
        if measure.per_item:
            named_aggregation(aggregation_name(measure.aggregation))
        elif name in macro and has_split(study) and has_selection:
            raise DataError(
                f"task {name!r}: {measure.metric!r} has no scores of single items, because it is computed by "
                f"a function over all items at once, and selection needs scores of single items. List it "
                "under `retention` or `probes`, or name another metric.",
                id="task.no-items",
            )
    if not has_selection:
        _require_no_selection(study)


def _require_no_selection(study: Study) -> None:
    """Raise DataError if merges must be selected, which takes scores of single items in [0, 1]."""
    settings = {"chain: best": study.chain == "best", "search": study.race, "select": study.select}
    for setting, is_set in settings.items():
        if is_set:
            raise DataError(
                f"tasks: no task has scores of single items in [0, 1], by which `{setting}` selects merges. "
                f"Add such a task, or leave `{setting}` out.",
                id="task.no-items",
            )


def check_split(evaluator: Evaluator, study: Study, limit: int | None, where: str) -> None:
    """Raise RecipeError for a task with too few clusters.

    A task needs two clusters for reporting (for an interval) and, if hyperparameters are selected, one for
    selection.
    """
    measures = evaluator.measures
    tasks = {name: task for name, task in sorted(evaluator.tasks.items()) if measures[name].per_item}
    clusters = {name: clusters_of_items(task, limit) for name, task in tasks.items()}
    split: Mapping[str, np.ndarray | None] = dict.fromkeys(clusters)
    kinds = _kinds(evaluator, study)
    if has_split(study) and any(kinds[name] == "tasks" and not measures[name].unit for name in tasks):
        datasets = {name: dataset_of(name, task) for name, task in tasks.items()}
        split = selection_items(clusters, datasets, study.selection.share, study.selection.seed)
    for name, selecting in split.items():
        items = clusters[name]
        reported = len(set(items if selecting is None else np.array(items)[~selecting]))
        if reported < 2 or (selecting is not None and not selecting.any()):
            alternatives = ", try another selection.seed, or set selection.same_items: true"
            raise RecipeError(
                f"{where}: task {name} has {len(items)} items in {len(set(items))} clusters, "
                f"{reported} of them to report on (an interval needs two). "
                f"Raise `limit`{alternatives if selecting is not None else ''}.",
                id="task.few-clusters",
            )


def clusters_of(evaluator: Evaluator, limit: int | None) -> dict[str, int]:
    """Return the number of evaluated clusters of each task."""
    return {name: len(set(clusters_of_items(task, limit))) for name, task in evaluator.tasks.items()}


def clusters_of_items(task: "ConfigurableTask", limit: int | None) -> list[str]:
    """Return the cluster of each item that is evaluated; without `cluster_id` an item is its own cluster."""
    docs = task.eval_docs
    count = min(limit or len(docs), len(docs))
    if "cluster_id" not in getattr(docs, "column_names", ()):
        return [str(k) for k in range(count)]
    return [str(cluster) for cluster in docs.select(range(count))["cluster_id"]]
