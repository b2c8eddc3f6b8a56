"""Checks of what a study asks of its tasks: scores that can be averaged, and names in `named` and `select`.

The tasks are those that lm-eval loaded (an `Evaluator`), or those that task files declare (`DeclaredTasks`),
so that `check` refuses what `study plan` refuses.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mergekit_finance.errors import DataError, RecipeError, did_you_mean
from mergekit_finance.study.config import Study
from mergekit_finance.study.split import has_split

KINDS = ("tasks", "retention", "probes")  # the first key that lists a task is its kind


class TaskScore(Protocol):
    """What is read from a task's results as its score."""

    @property
    def metric(self) -> str:
        """Its name in lm-eval's results."""

    @property
    def unit(self) -> str:
        """The metric's name if it is measured in a unit of its own, or "" for a score in [0, 1]."""

    @property
    def per_item(self) -> bool:
        """Whether the task's value can be computed again from stored scores of items."""


class StudyTasks(Protocol):
    """The tasks of a study."""

    @property
    def measures(self) -> Mapping[str, TaskScore]:
        """What the score of each task is, by task."""

    @property
    def task_names(self) -> Sequence[str]:
        """Names of the single tasks, sorted."""

    @property
    def selectable(self) -> Sequence[str]:
        """Names whose `members` are tasks of the study."""

    def members(self, name: str) -> list[str]:
        """Return the single tasks of a name: those of a group or tag, or the task itself."""

    def is_group(self, name: str) -> bool:
        """Return whether a name is that of a group, of the study or not."""


def kinds_of(evaluated: StudyTasks, study: Study) -> dict[str, str]:
    """Return the kind of every task: the first key of study.yml that lists it or a group of it."""
    kinds: dict[str, str] = {}
    for kind in KINDS:
        for listed in getattr(study, kind):
            for name in evaluated.members(listed):
                kinds.setdefault(name, kind)
    return kinds


def objective_tasks(evaluated: StudyTasks, study: Study) -> dict[str, list[str]]:
    """Return the tasks of every name in `select`; of a kind those with scores that can be averaged."""
    kinds, measures = kinds_of(evaluated, study), evaluated.measures
    names: dict[str, list[str]] = {}
    for name in study.select.names if study.select else ():
        if name in KINDS:
            averaged = [t for t, kind in kinds.items() if kind == name and not measures[t].unit]
            names[name] = [task for task in averaged if measures[task].per_item]
        else:
            names[name] = evaluated.members(name) if name in evaluated.selectable else []
    return names


def check_objective(evaluated: StudyTasks, study: Study, where: str) -> None:
    """Raise RecipeError if `select` names what the study does not evaluate, or what cannot be averaged."""
    for name, tasks in objective_tasks(evaluated, study).items():
        part = "maximize" if study.select and name in study.select.maximize else "subject_to"
        key = f"{where}: select.{part}: {name}"
        if not tasks and name in KINDS:
            raise RecipeError(f"{key}: this study has no such tasks. Add `{name}:`.", id="study.invalid")
        if not tasks:
            hint = did_you_mean(name, sorted([*KINDS, *evaluated.selectable]))
            raise RecipeError(f"{key}: no task or group of this study. {hint}", id="study.invalid")
        for task in tasks:
            _require_averaged(evaluated, task, key)


def check_named(evaluated: StudyTasks, study: Study, where: str) -> None:
    """Raise RecipeError if `named` lists a task that the study does not evaluate."""
    for combination, names in study.named.items():
        for name in names:
            if name in evaluated.task_names:
                _require_averaged(evaluated, name, f"{where}: named.{combination}")
                continue
            if evaluated.is_group(name):
                tasks = ", ".join(evaluated.task_names)
                problem = f"{name!r} is a group. List single tasks of this study: {tasks}"
            else:
                problem = f"no task {name!r} in this study. {did_you_mean(name, evaluated.task_names)}"
            raise RecipeError(f"{where}: named.{combination}: {problem}", id="study.invalid")


def _require_averaged(evaluated: StudyTasks, name: str, where: str) -> None:
    measure = evaluated.measures[name]
    if measure.unit or not measure.per_item:
        reason = f"is measured in {measure.unit}" if measure.unit else "has no scores of single items"
        raise RecipeError(
            f"{where}: {name!r} {reason}, and tests are about scores in [0, 1]. List other tasks.",
            id="study.invalid",
        )


def check_items(evaluated: StudyTasks, study: Study) -> None:
    """Raise DataError for a task of the macro average without scores of single items that are needed.

    Selection and intervals of the macro average need scores of single items; measures in other units are
    never part of it, and tasks under `retention` and `probes` are shown without an interval.
    """
    kinds = kinds_of(evaluated, study)
    macro = {name: m for name, m in evaluated.measures.items() if kinds[name] == "tasks" and not m.unit}
    has_selection = any(measure.per_item for measure in macro.values())
    for name, measure in evaluated.measures.items():
        if not measure.per_item and name in macro and has_split(study) and has_selection:
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
