"""The tasks of a study: the facts stored about them, and the checks that load them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mergekit_finance.data.contents import lacks_demonstrations
from mergekit_finance.data.registry import GENERATED
from mergekit_finance.data.registry import dataset as registered
from mergekit_finance.errors import RecipeError, counted
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.task_measures import Measure
from mergekit_finance.recipe.task_entries import TaskSettings
from mergekit_finance.statistics.totals import aggregation_name, named_aggregation
from mergekit_finance.study.config import Study
from mergekit_finance.study.schema import TaskInfo
from mergekit_finance.study.split import has_split, selection_items
from mergekit_finance.study.task_checks import kinds_of, objective_tasks
from mergekit_finance.study.task_findings import require_needed_skills, skills_in

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


def describe(evaluator: Evaluator, study: Study) -> dict[str, TaskInfo]:
    """Return the stored facts about every task, sorted by name."""
    kinds = kinds_of(evaluator, study)
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
    skills = {name: sorted(skills_in(name, task.config.metadata)) for name, task in evaluator.tasks.items()}
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


def check_aggregations(evaluator: Evaluator) -> None:
    """Raise DataError for an aggregation of a plugin that stored scores could not be read with later."""
    for measure in evaluator.measures.values():
        if measure.per_item:
            named_aggregation(aggregation_name(measure.aggregation))


def check_skills(evaluator: Evaluator, study: Study, where: str) -> None:
    """Raise RecipeError for a skill that no task needs (`require_needed_skills`)."""
    require_needed_skills(study, skills_of_tasks(evaluator, study).values(), where)


def check_split(evaluator: Evaluator, study: Study, limit: int | None, where: str) -> None:
    """Raise RecipeError for a task with too few clusters.

    A task needs two clusters for reporting (for an interval) and, if hyperparameters are selected, one for
    selection.
    """
    measures = evaluator.measures
    tasks = {name: task for name, task in sorted(evaluator.tasks.items()) if measures[name].per_item}
    clusters = {name: clusters_of_items(task, limit) for name, task in tasks.items()}
    split: Mapping[str, np.ndarray | None] = dict.fromkeys(clusters)
    kinds = kinds_of(evaluator, study)
    if has_split(study) and any(kinds[name] == "tasks" and not measures[name].unit for name in tasks):
        datasets = {name: dataset_of(name, task) for name, task in tasks.items()}
        split = selection_items(clusters, datasets, study.selection.share, study.selection.seed)
    for name, selecting in split.items():
        items = clusters[name]
        reported = len(set(items if selecting is None else np.array(items)[~selecting]))
        if reported < 2 or (selecting is not None and not selecting.any()):
            alternatives = ", try another selection.seed, or set selection.same_items: true"
            raise RecipeError(
                f"{where}: task {name} has {counted(len(items), 'item')} in "
                f"{counted(len(set(items)), 'cluster')}, {reported} of them to report on "
                f"(an interval needs two). Raise `limit`{alternatives if selecting is not None else ''}.",
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
