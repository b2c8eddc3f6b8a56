"""Read the arguments of a running `simple_evaluate` from the call stack. Written for lm-eval 0.4.13.

`simple_evaluate` creates the model before it loads the tasks, and passes neither the tasks nor the output
paths to the model. With its arguments, a merge is refused before it is made if the merged model cannot do one
of the tasks, or if an output path would overwrite an input.
lm-eval is imported inside the functions: with torch it takes seconds.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mergekit_finance.errors import HostError
from mergekit_finance.hosts.lm_eval import task_manager
from mergekit_finance.hosts.names import LM_EVAL

if TYPE_CHECKING:
    from types import FrameType

    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry

    from mergekit_finance.files import Json

    TaskSpec: TypeAlias = "str | Mapping[str, Json] | Task | Group"
    Settings: TypeAlias = "Mapping[str, Json]"

ARGUMENTS = ("tasks", "task_manager", "gen_kwargs", "evaluation_tracker", "use_cache")
OF_GENERATION = ("output_type", "generation_kwargs")  # keys of a task that a group may set for its members
MAX_GROUPS = 20  # levels of groups in groups


@dataclass(frozen=True)
class Request:
    """The arguments of a running `simple_evaluate`.

    Attributes:
        tasks: names of tasks, groups or tags, configs, or loaded tasks.
        manager: lm-eval's index of tasks, if the caller gave one; the `lm_eval` command does.
        gen_kwargs: what `--gen_kwargs` sets for every task that generates.
        output: the folder or .json file of results (`--output_path`).
        cache: the file that answers are kept in (`--use_cache`).
    """

    tasks: "Sequence[TaskSpec]"
    manager: "TaskManager | None"
    gen_kwargs: "Settings"
    output: Path | None
    cache: Path | None

    def generation_settings(self, folders: Sequence[Path]) -> "dict[str, Settings]":
        """Return `generation_kwargs` of each task that generates, by name; no rows are read.

        Tasks that are Python classes are left out: only their code says what they generate.

        Args:
            folders: where tasks are looked for without a `manager`: building lm-eval's own index takes 7 s.
        """
        index = (self.manager or task_manager(folders, {}, defaults=False)).task_index
        settings: dict[str, Settings] = {}
        for spec in self.tasks:
            for name, config in _configs(spec, {}, index):
                if "class" not in config and config.get("output_type", "generate_until") == "generate_until":
                    of_task = config.get("generation_kwargs")
                    settings[name] = {**(of_task if isinstance(of_task, Mapping) else {}), **self.gen_kwargs}
        return settings


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
    tasks, manager, gen_kwargs, tracker, cache = (frame.f_locals[name] for name in ARGUMENTS)
    output = getattr(tracker, "output_path", None)
    return Request(
        tasks=tasks if isinstance(tasks, list | tuple) else [tasks],
        manager=manager,
        gen_kwargs=gen_kwargs if isinstance(gen_kwargs, Mapping) else {},
        output=Path(output) if output else None,
        cache=Path(f"{cache}_rank0.db") if cache else None,  # the name that lm-eval gives it
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


def _configs(
    spec: "TaskSpec", overrides: "Settings", index: "Mapping[str, Entry]", level: int = 0
) -> "Iterator[tuple[str, Settings]]":
    """Yield name and config of every single task behind a name, a config, a loaded task or a loaded group."""
    if isinstance(spec, str):
        entry = index.get(spec)
        if entry is None or level > MAX_GROUPS:
            return  # lm-eval reports it when it loads the tasks
        yield from _configs_of_entry(spec, entry, overrides, index, level)
    elif isinstance(spec, Mapping):
        name, members = spec.get("group", spec.get("task")), spec.get("task")
        changed = {**overrides, **_of_generation(spec)}
        if isinstance(members, Sequence) and not isinstance(members, str):
            yield from _members(members, changed, index, level)
        elif isinstance(name, str) and level and name in index:
            yield from _configs(name, changed, index, level + 1)
        elif isinstance(name, str):
            yield name, {**spec, **overrides}
    else:
        for task in spec.get_all_tasks() if hasattr(spec, "get_all_tasks") else [spec]:
            yield str(task.config.task), task.config.to_dict()


def _configs_of_entry(
    name: str, entry: "Entry", overrides: "Settings", index: "Mapping[str, Entry]", level: int
) -> "Iterator[tuple[str, Settings]]":
    if entry.kind.name == "TAG":
        yield from _members(sorted(entry.tags), overrides, index, level)
    elif entry.kind.name == "GROUP":
        config = entry.cfg or {}
        members = config.get("task") or ()
        yield from _members(members, {**_of_generation(config), **overrides}, index, level)
    else:
        yield name, {**(entry.cfg or {}), **overrides}


def _members(
    specs: "Iterable[TaskSpec]", overrides: "Settings", index: "Mapping[str, Entry]", level: int
) -> "Iterator[tuple[str, Settings]]":
    for spec in specs:
        yield from _configs(spec, overrides, index, level + 1)


def _of_generation(config: "Settings") -> "Settings":
    return {key: config[key] for key in OF_GENERATION if key in config}
