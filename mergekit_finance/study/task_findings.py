"""Checks of a study against its task files; neither lm-eval nor rows are loaded."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from mergekit_finance.checks.findings import Finding, finding, finding_of
from mergekit_finance.data.registry import dataset, require_source
from mergekit_finance.errors import DataError, MergekitFinanceError, RecipeError, did_you_mean
from mergekit_finance.evaluation.declared_tasks import DeclaredTasks
from mergekit_finance.evaluation.task_measures import MetricChoice, choices_of, not_listed
from mergekit_finance.files import Json, is_name
from mergekit_finance.hosts.task_files import TaskFiles
from mergekit_finance.hosts.task_metrics import is_readable
from mergekit_finance.study.config import SKILLS, Study
from mergekit_finance.study.task_checks import check_items, check_named, check_objective


def task_findings(
    names: Sequence[str], choices: Mapping[str, MetricChoice], folders: Iterable[Path]
) -> Iterator[Finding]:
    """Yield what is wrong with the metrics and filters of tasks, and what only lm-eval can tell.

    Args:
        names: of tasks, groups or tags. Nothing is found where one is unknown, which has its own finding.
        choices: by name, which metric and filter is the score.
        folders: of task files, before those of lm-eval.
    """
    files = TaskFiles(folders)
    if not files.look_up(names):
        yield from _measure_findings(DeclaredTasks(names, files, choices))


def study_task_findings(study: Study, folders: Iterable[Path], where: str) -> Iterator[Finding]:
    """Yield what `study plan` refuses when it has loaded the tasks, as far as task files say it.

    That is an unknown source, metric or filter, skills that no task needs, and names in `named` and `select`.

    Args:
        study: the study. Nothing is found where a name is no task or group, which has a finding of its own.
        folders: of task files, before those of lm-eval.
        where: the study's file, for messages.
    """
    names, files = [*study.tasks, *study.retention, *study.probes], TaskFiles(folders)
    if files.look_up(names):
        return
    tasks = DeclaredTasks(names, files, choices_of(study.task_settings or {}))
    problems = [
        *_measure_findings(tasks),
        *_finding("task.rows", lambda: _require_source(tasks, study.source)),
    ]
    yield from problems
    if not problems:
        yield from _finding("study.invalid", lambda: _check_settings(tasks, study, where))


def _check_settings(tasks: DeclaredTasks, study: Study, where: str) -> None:
    """Raise the error that `study plan` ends with, which checks these settings in the same order."""
    check_items(tasks, study)
    check_named(tasks, study, where)
    check_objective(tasks, study, where)
    require_needed_skills(study, _skills(tasks, study), where)


def _measure_findings(tasks: DeclaredTasks) -> Iterator[Finding]:
    """Yield a finding for each task with a wrong metric or filter, and a note on tasks that are not read."""
    unlisted = [] if tasks.unread else [name for name in tasks.choices if name not in tasks.selectable]
    for name in unlisted:
        yield finding_of(not_listed(name, tasks.selectable), "task.unknown")
    for name, config in tasks.configs.items():
        if is_readable(config):
            yield from _finding("task.broken", partial(tasks.measure, name))
    if tasks.unread:
        yield finding("task.unseen", f"metrics and filters of {', '.join(tasks.unread)} were not looked at")


def _finding(id: str, check: Callable[[], object]) -> Iterator[Finding]:
    """Yield the finding that stands for the error of a check, if it raises one."""
    try:
        check()
    except MergekitFinanceError as error:
        yield finding_of(error, id)


def _require_source(tasks: DeclaredTasks, source: str | None) -> None:
    """Raise DataError if a source has no rows of a dataset of this package that the tasks read."""
    blocks = [config.get("dataset_kwargs") for config in tasks.configs.values()]
    names = [block.get("fb_dataset") for block in blocks if isinstance(block, Mapping)]
    for name in dict.fromkeys(name for name in names if isinstance(name, str)):
        require_source(dataset(name), source)


def _skills(tasks: DeclaredTasks, study: Study) -> list[list[str]]:
    """Return the skills of every task: those in study.yml for it or a group of it, else its own."""
    skills = {name: skills_in(name, config.get("metadata")) for name, config in tasks.configs.items()}
    for listed, settings in (study.task_settings or {}).items():
        for name in tasks.members(listed) if settings.skills else ():
            skills[name] = list(settings.skills)
    return list(skills.values())


def require_needed_skills(study: Study, of_tasks: Collection[Collection[str]], where: str) -> None:
    """Raise RecipeError for a skill that no task needs, because its expert would have no tasks.

    Skills are free words if study.yml gives some to tasks, or if a task has none: an expert may then have one
    that no task needs.

    Args:
        study: the study.
        of_tasks: the skills of each task.
        where: the study's file, for messages.
    """
    if any(settings.skills for settings in (study.task_settings or {}).values()) or not all(of_tasks):
        return
    valid = {skill for skills in of_tasks for skill in skills} | set(SKILLS)
    for name, expert in study.experts.items():
        for skill in expert.skills or ():
            if skill not in valid:
                hint = did_you_mean(skill, valid)
                raise RecipeError(
                    f"{where}: experts.{name}.skills: no task needs {skill!r}. {hint}",
                    id="study.invalid",
                )


def skills_in(task: str, metadata: Json) -> list[str]:
    """Return the skills in the metadata of a task's file: a word or a list of words.

    Args:
        task: its name, for messages.
        metadata: the file's `metadata`.

    Raises:
        DataError: they are something else.
    """
    skills = metadata.get("skills") if isinstance(metadata, Mapping) else None
    words = [skills] if isinstance(skills, str) else skills or []
    if not isinstance(words, list | tuple) or not all(
        isinstance(word, str) and is_name(word) for word in words
    ):
        raise DataError(
            f"task {task!r:.80}: metadata.skills is {skills!r:.60}. Write words, such as [finance].",
            id="task.broken",
        )
    return [str(word) for word in words]
