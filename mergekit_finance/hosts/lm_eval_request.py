"""Read the arguments of a running `simple_evaluate` from the call stack. Written for lm-eval 0.4.13.

`simple_evaluate` creates the model before it loads the tasks, and passes neither the tasks nor the output
paths to the model. With its arguments, a merge is refused before it is made if the merged model cannot do one
of the tasks, or if an output path would overwrite an input.
lm-eval is imported inside the functions: with torch it takes seconds.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mergekit_finance.errors import HostError
from mergekit_finance.hosts.lm_eval import task_index
from mergekit_finance.hosts.names import LM_EVAL
from mergekit_finance.hosts.task_files import Kind, TaskEntry, TaskFiles, settings_of_generating_tasks

if TYPE_CHECKING:
    from types import FrameType

    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry

    from mergekit_finance.files import Json

    TaskSpec: TypeAlias = "str | Mapping[str, Json] | Task | Group"
    Settings: TypeAlias = "Mapping[str, Json]"

ARGUMENTS = (
    "tasks", "task_manager", "gen_kwargs", "evaluation_tracker", "use_cache", "apply_chat_template",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """The arguments of a running `simple_evaluate`.

    Attributes:
        tasks: names of tasks, groups or tags, configs, or loaded tasks.
        manager: lm-eval's index of tasks, if the caller gave one; the `lm_eval` command does.
        gen_kwargs: what `--gen_kwargs` sets for every task that generates.
        output: the folder or .json file of results (`--output_path`).
        cache: the file that answers are kept in (`--use_cache`).
        chat: whether prompts are rendered by the model's chat template (`--apply_chat_template`).
    """

    tasks: "Sequence[TaskSpec]"
    manager: "TaskManager | None"
    gen_kwargs: "Settings"
    output: Path | None
    cache: Path | None
    chat: bool = False

    def generation_settings(self, folders: Sequence[Path]) -> "dict[str, Settings]":
        """Return `generation_kwargs` of each task that generates, by name; no rows are read.

        Tasks that are Python classes are left out: only their code says what they generate.

        Args:
            folders: where tasks are looked for without a `manager`: building lm-eval's own index takes 7 s.
        """
        if self.manager is None:
            settings = TaskFiles(folders).generation_settings(self.tasks)
        else:
            index = {name: _entry(one) for name, one in task_index(self.manager).items()}
            settings = settings_of_generating_tasks(self.tasks, index)
        return {name: {**of_task, **self.gen_kwargs} for name, of_task in settings.items()}


def current_request() -> Request | None:
    """Return the arguments of the running `simple_evaluate`; None if other code creates the model.

    Raises:
        HostError: `simple_evaluate` lacks one of ARGUMENTS.
    """
    frame = _frame_of_simple_evaluate()
    if frame is None:
        return None
    for name in ARGUMENTS:
        if name not in frame.f_locals:
            raise HostError(LM_EVAL.lacks(f"evaluator.simple_evaluate({name}=)"))
    tasks, manager, gen_kwargs, tracker, cache, chat = (frame.f_locals[name] for name in ARGUMENTS)
    output = getattr(tracker, "output_path", None)
    return Request(
        tasks=tasks if isinstance(tasks, list | tuple) else [tasks],
        manager=manager,
        gen_kwargs=gen_kwargs if isinstance(gen_kwargs, Mapping) else {},
        output=Path(output) if output else None,
        cache=Path(f"{cache}_rank0.db") if cache else None,  # the name that lm-eval gives it
        chat=bool(chat),
    )


def _frame_of_simple_evaluate() -> "FrameType | None":
    module = sys.modules.get("lm_eval.evaluator")
    if module is None:
        return None
    code = inspect.unwrap(LM_EVAL.get(module, "simple_evaluate")).__code__
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


def _entry(entry: "Entry") -> TaskEntry:
    """Return an entry of lm-eval's index as one of ours."""
    kind: Kind = "tag" if entry.kind.name == "TAG" else "group" if entry.kind.name == "GROUP" else "task"
    return TaskEntry(kind, entry.yaml_path, entry.cfg or {}, tuple(sorted(entry.tags)))
