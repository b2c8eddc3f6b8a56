"""Checks of a study's `source` and skills against its task files; neither lm-eval nor rows are loaded."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from mergekit_finance.checks.findings import Finding, finding_of
from mergekit_finance.data.loader import require_source
from mergekit_finance.data.registry import dataset
from mergekit_finance.errors import MergekitFinanceError, RecipeError, did_you_mean
from mergekit_finance.files import Json
from mergekit_finance.hosts.task_files import TaskFiles, configs
from mergekit_finance.study.config import SKILLS, Study


def source_and_skill_findings(study: Study, folders: Iterable[Path], where: str) -> Iterator[Finding]:
    """Yield what `study plan` refuses when it has loaded the tasks: an unknown source, and unneeded skills.

    Args:
        study: the study. Nothing is found where a name is no task or group, which has a finding of its own.
        folders: of task files, before those of lm-eval.
        where: the study's file, for messages.
    """
    names, files = [*study.tasks, *study.retention, *study.probes], TaskFiles(folders)
    files.look_up(names)
    by_name = {name: dict(configs(name, files.index)) for name in names}
    if not all(by_name.values()):
        return
    tasks = {task: settings for of_name in by_name.values() for task, settings in of_name.items()}
    try:
        for name in _datasets(tasks):
            require_source(dataset(name), study.source)
        require_needed_skills(study, [_skills(settings) for settings in tasks.values()], where)
    except MergekitFinanceError as error:
        yield finding_of(error, "task.rows")


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


def _datasets(tasks: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """Return the names of the datasets of this package that the tasks read."""
    blocks = [settings.get("dataset_kwargs") for settings in tasks.values()]
    names = [block.get("fb_dataset") for block in blocks if isinstance(block, Mapping)]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _skills(settings: Mapping[str, Json]) -> list[str]:
    metadata = settings.get("metadata")
    skills = metadata.get("skills") if isinstance(metadata, Mapping) else None
    return [str(skill) for skill in skills] if isinstance(skills, list) else []
