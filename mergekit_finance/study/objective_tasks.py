"""Which tasks the names in `select` are about, what each weighs in the objective, and which a race needs."""

from collections.abc import Mapping

from mergekit_finance.study.config import Study
from mergekit_finance.study.config_blocks import Objective
from mergekit_finance.study.schema import TaskInfo

KINDS = ("tasks", "probes", "retention")  # in the order of tables and figures


def tasks_named(name: str, tasks: Mapping[str, TaskInfo]) -> dict[str, TaskInfo]:
    """Return the tasks that a name in `select` is about: a kind, or a task or group.

    Args:
        name: the name.
        tasks: all tasks; those without scores in [0, 1] of single items are left out.
    """
    averaged = {task: info for task, info in tasks.items() if info.is_averaged}
    if name in KINDS:
        return {task: info for task, info in averaged.items() if info.kind == name}
    return {task: info for task, info in averaged.items() if name in (info.selected_by or ())}


def objective_weights(select: Objective | None, tasks: Mapping[str, TaskInfo]) -> dict[str, float]:
    """Return the weight of each task in the objective, where they add up to 1, or in the macro average."""
    if select is None:
        return {task: info.weight for task, info in tasks_named("tasks", tasks).items()}
    weights: dict[str, float] = {}
    whole = sum(select.maximize.values())
    for name, weight in select.maximize.items():
        named = tasks_named(name, tasks)
        of_tasks = sum(task.weight for task in named.values())
        for task, info in named.items():
            weights[task] = weights.get(task, 0.0) + weight / whole * info.weight / of_tasks
    return weights


def raced_tasks(study: Study, tasks: Mapping[str, TaskInfo]) -> dict[str, TaskInfo]:
    """Return the tasks whose items a race asks for: those of the objective, and those of its bounds."""
    names = set(objective_weights(study.select, tasks))
    for bound in study.select.subject_to if study.select else ():
        names |= tasks_named(bound, tasks).keys()
    return {task: info for task, info in tasks.items() if task in names}
