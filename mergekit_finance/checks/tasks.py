"""Check the tasks of a recipe or study: their names, and whether their answers fit a model's context.

Task files are read; neither lm-eval nor rows are loaded.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mergekit_finance.checks.contexts import check_context, context_in, tokens_generated, with_limit
from mergekit_finance.checks.findings import Finding, finding, finding_of
from mergekit_finance.checks.task_functions import check_functions
from mergekit_finance.errors import DataError, nearest_names
from mergekit_finance.hosts.task_files import (
    TaskFiles,
    configs,
    definitions,
    name_of,
    taken_names,
    unreadable_files,
)
from mergekit_finance.models.facts import ModelFacts

LISTING = "`mergekit-finance tasks` lists the tasks of this package, `lm_eval ls tasks` all"


@dataclass(frozen=True)
class TaskFacts:
    """The tasks of a recipe or study.

    Attributes:
        names: names of tasks, groups or tags.
        folders: the folders of task files of this package and of plugins.
        include_paths: the folders of the user's own task files.
        max_gen_toks: upper bound on the length of generated answers; None: each task's own.
    """

    names: Sequence[str]
    folders: Sequence[Path]
    include_paths: Sequence[Path] = ()
    max_gen_toks: int | None = None


def check_tasks(tasks: TaskFacts, models: Iterable[ModelFacts]) -> Iterator[Finding]:
    """Yield what is wrong with names and lengths of tasks.

    Args:
        tasks: the tasks.
        models: the models that are evaluated.
    """
    wrong = list(check_include_paths(tasks.include_paths, tasks.folders))
    yield from wrong
    if wrong:
        return
    files = TaskFiles([*tasks.folders, *tasks.include_paths])
    yield from check_task_names(tasks.names, files, tasks.include_paths)
    yield from _check_twice(tasks.names, files)
    yield from check_functions(tasks.names, files, tasks.include_paths)
    yield from _check_lengths(tasks, files, models)


def check_include_paths(include_paths: Iterable[Path], folders: Sequence[Path]) -> Iterator[Finding]:
    """Yield a finding for a folder that is missing, and for a task in it that has the name of another.

    Args:
        include_paths: folders of the user's own tasks.
        folders: the folders of built-in tasks.
    """
    names: dict[str, Path] = {}
    for folder in include_paths:
        if not folder.is_dir():
            yield finding("task.include-path", f"include_path {folder}: no such directory")
            continue
        if not any(folder.rglob("*.yaml")):
            yield finding("task.include-path", f"include_path {folder}: has no task files (*.yaml)")
        for path, content in definitions(folder):
            name = str(name_of(content))
            if name in names:
                message = f"{path}: task {name!r} is also in {names[name]}"
                yield finding("task.twice", message, "Rename one of them.")
            names.setdefault(name, path)
    for name, path in (taken_names(names, folders) if names else {}).items():
        message = f"{names[name]}: task {name!r} has the name of a built-in task ({path.name})"
        yield finding("task.twice", message, "Rename yours.")


def check_task_names(
    names: Iterable[str], files: TaskFiles, own_folders: Iterable[Path] = ()
) -> Iterator[Finding]:
    """Yield a finding for each name that is no task, group or tag of `files` or lm-eval.

    Args:
        names: of tasks, groups or tags.
        files: the task files.
        own_folders: the user's folders, whose unreadable files are named.
    """
    for name in files.look_up(names):
        message, remedy = f"unknown task {name!r:.200}", ""
        parts = name.replace(",", " ").split()
        if len(parts) > 1:  # a text where a list belongs
            remedy = f"Write a YAML list: [{', '.join(parts)[:200]}]; for --tasks put commas between names."
        elif "*" in name or "?" in name:  # `lm_eval --tasks` replaces patterns by names, lm-eval does not
            remedy = "Patterns are not supported here: list the tasks or a group."
        for path, reason in chain.from_iterable(map(unreadable_files, own_folders)):
            message += f"; {path} was skipped, because it cannot be read ({reason})"
        yield finding("task.unknown", message, remedy or nearest_names(name, files.all_names, LISTING))


def _check_twice(names: Iterable[str], files: TaskFiles) -> Iterator[Finding]:
    """Yield a finding for a task that two of the names stand for; lm-eval refuses it."""
    listed: dict[str, str] = {}
    for name in names:
        for task, _ in configs(name, files.index):
            if listed.setdefault(task, name) != name:
                message = f"task {task!r} is in both {listed[task]!r} and {name!r}"
                yield finding("task.twice", message, "List a task or its group, not both.")
                return


def _check_lengths(tasks: TaskFacts, files: TaskFiles, models: Iterable[ModelFacts]) -> Iterator[Finding]:
    generated = {}
    for task, settings in files.generation_settings(tasks.names).items():
        try:
            generated[task] = tokens_generated(task, with_limit(settings, tasks.max_gen_toks))
        except DataError as error:
            yield finding_of(error, "task.broken")
    by_context: dict[int, str] = {}  # one line for all models with the same context
    for model in models if generated else ():
        context = context_in(model.text)
        if context is not None:
            by_context.setdefault(context, model.reference)
        elif model.config:
            yield finding(
                "model.unseen",
                f"config.json of {model.reference} states no context, so the lengths of answers were not "
                "compared with it",
            )
    for context, reference in by_context.items():
        yield from check_context(reference, context, generated)
