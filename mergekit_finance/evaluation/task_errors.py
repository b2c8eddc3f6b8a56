"""Turn errors of a task's rows, file or Python code into one line that names the task."""

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.hosts import lm_eval as host
from mergekit_finance.hosts.lm_eval_output import quiet
from mergekit_finance.hosts.metric_modules import REDUCES

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

_LOCAL_FILE = re.compile(r"Unable to find '(?![a-z]+://)")  # what datasets says of `data_files` that are gone


def load_error(
    error: Exception | SystemExit, names: Sequence[str], manager: "TaskManager", built_in: Sequence[Path]
) -> Exception | SystemExit:
    """Return the error to report when code of a host or of a task failed while tasks were loaded.

    Args:
        error: what was raised.
        names: the tasks or groups that were loaded.
        manager: lm-eval's index of tasks.
        built_in: folders of tasks whose faults are ours: they keep their traceback.
    """
    if isinstance(error, OSError):  # of a task of lm-eval's own; ours raise a DataError themselves
        is_local = _LOCAL_FILE.match(str(error))
        remedy = "Correct the path" if is_local else "Go online once to fill the cache"
        return DataError(
            f"tasks: the rows of one of {', '.join(names)} cannot be fetched "
            f"({first_line(error)}). {remedy}, or leave the task out.",
            id="task.rows",
        )
    for name in names:
        entry = host.task_index(manager)[name]
        try:
            with quiet():
                host.tasks_by_name(manager.load([name]))
        except (Exception, SystemExit) as fault:
            if not any(entry.yaml_path and entry.yaml_path.is_relative_to(f) for f in built_in):
                return DataError(
                    f"task {name!r} cannot be loaded ({type(fault).__name__}: {first_line(fault)}). "
                    f"Correct {entry.yaml_path or 'its group'} or the functions that it names.",
                    id="task.broken",
                )
    return error


def run_error(
    error: Exception | SystemExit, names: Sequence[str], include_paths: Sequence[Path]
) -> Exception | SystemExit:
    """Return the error to report when a task's own code failed during evaluation.

    Args:
        error: what was raised.
        names: the tasks or groups that were evaluated.
        include_paths: folders of the user's tasks.
    """
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if any(Path(frame.filename).resolve().is_relative_to(f.resolve()) for f in include_paths):
            return DataError(
                f"{frame.filename}, line {frame.lineno}: {frame.name} raised {type(error).__name__} "
                f"({first_line(error)}) while a task was evaluated. Correct the function.",
                id="task.broken",
            )
    if any(frame.name in (host.AGGREGATES, REDUCES) for frame in frames):
        return DataError(
            f"lm-eval cannot aggregate a metric of {', '.join(names)} ({type(error).__name__}: "
            f"{first_line(error)}). Correct `metric_list` in the task's file.",
            id="task.broken",
        )
    return error
