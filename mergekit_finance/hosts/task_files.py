"""lm-eval's task files, read without loading lm-eval: names of tasks and groups, and what tasks generate.

Written for lm-eval 0.4.13, whose rules for names, groups, tags and includes it follows. Its own 14,000 files
are searched as text, because parsing them takes seconds; only those that define a name asked for are parsed.
"""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import yaml

from mergekit_finance.errors import first_line
from mergekit_finance.files import MAX_YAML, read_bytes

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task

    from mergekit_finance.files import Json

    TaskSpec: TypeAlias = "str | Mapping[str, Json] | Task | Group"
    Settings: TypeAlias = "Mapping[str, Json]"

Kind: TypeAlias = Literal["task", "group", "tag"]
# Keys of a task that decide what it generates and reports, and that a group may set for its members.
SET_BY_GROUPS = (
    "output_type",
    "generation_kwargs",
    "metric_list",
    "filter_list",
    "process_results",
)
MAX_GROUPS = 20  # levels of groups in groups
PARSED = 1024  # parsed files that are kept
IGNORED = ("__pycache__", ".ipynb_checkpoints")
DEFINED = re.compile(rb"""^["']?(?:task|group)["']?: *["']?([^"'\n#\[{]+?)["']?\s*(?:#.*)?$""", re.MULTILINE)
LISTED = re.compile(rb"""^(?:["']?tag["']?: *| *- +)["']?([^"'\s]+)["']?\s*$""", re.MULTILINE)
UNREADABLE = (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError)
# libyaml's loader, where it is installed, is ten times as fast.
FastLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class TaskEntry:
    """What a name stands for.

    Attributes:
        kind: a task, a group or a tag.
        path: the file that defines it; None for tags.
        content: the file's content with that of included files; empty for tags.
        members: of a tag: the names of its tasks.
    """

    kind: Kind
    path: Path | None = None
    content: "Settings" = field(default_factory=dict)
    members: tuple[str, ...] = ()


class FunctionName(str):
    """The text after a `!function` tag: module and name of a Python function, which is not imported."""


def _loader() -> type[yaml.SafeLoader]:
    """Return a YAML loader that reads `!function` tags as FunctionName; no function is imported."""
    loader: type[yaml.SafeLoader] = type("Loader", (FastLoader,), {})
    loader.add_constructor("!function", lambda _, node: FunctionName(node.value))
    return loader


LOADER = _loader()


def read_task_file(path: Path, including: tuple[Path, ...] = ()) -> "dict[str, Json]":
    """Return the content of a task file with that of included files, as lm-eval merges them.

    Args:
        path: the file.
        including: the files that include it.

    Raises:
        OSError, ValueError, yaml.YAMLError, RecursionError: it is not a task file.
    """
    path = path.resolve()
    if path in including:
        raise ValueError(f"{path} includes itself")
    content = copy.deepcopy(_parsed(read_bytes(path, MAX_YAML, links=True)))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a mapping")
    includes = content.pop("include", None) or []
    merged: dict[str, Json] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        merged |= read_task_file(path.parent / str(name), (*including, path))
        merged.pop("task_list", None)
    return merged | content


@lru_cache(PARSED)
def _parsed(data: bytes) -> "Json":
    """Return the content of a task file. Do not change it: one command reads the same files several times."""
    content: Json = yaml.load(data, LOADER)
    return content


def definitions(folder: Path) -> "Iterator[tuple[Path, dict[str, Json]]]":
    """Yield file and content of every task and group in a folder, sorted; other files are skipped."""
    for path in _files(folder):
        try:
            content = read_task_file(path)
        except UNREADABLE:
            continue  # as lm-eval does
        if isinstance(name_of(content), str):
            yield path, content


def unreadable_files(folder: Path) -> "Iterator[tuple[Path, str]]":
    """Yield every file in a folder that cannot be read as a task file, with the reason."""
    for path in _files(folder):
        try:
            read_task_file(path)
        except UNREADABLE as error:
            mark = getattr(error, "problem_mark", None)
            yield (
                path,
                f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else first_line(error),
            )


def _files(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("**/*.yaml"), key=Path.as_posix)
    return [path for path in paths if not any(part in IGNORED for part in path.parts)]


def name_of(content: "Settings") -> "Json":
    """Return the name that a file defines."""
    return content.get("task") if "class" in content else content.get("group", content.get("task"))


class TaskFiles:
    """The tasks, groups and tags of folders and of lm-eval, by name.

    Attributes:
        folders: they come before lm-eval's own; of two tasks of one name, that of the later folder counts.
        index: the entries of the folders, and those of lm-eval that were looked up.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folders)
        self.index: dict[str, TaskEntry] = {}
        for folder in self.folders:
            entries: dict[str, TaskEntry] = {}
            for path, content in definitions(folder):
                _add(entries, path, content)
            self.index |= entries

    @cached_property
    def all_names(self) -> list[str]:
        """The names in the folders and those that task files of lm-eval define, in no order."""
        defined = {match.decode(errors="replace") for _, text in _texts() for match in DEFINED.findall(text)}
        return [*self.index, *defined]

    def look_up(self, names: Iterable[str]) -> list[str]:
        """Add lm-eval's tasks and groups of these names, and all that they name; return unknown names.

        A tag of lm-eval is known, and its tasks are not looked up.
        """
        unknown = [name for name in names if not self._add_from_lm_eval(name)]
        tags = _listed_in_lm_eval() if unknown else frozenset()
        return [name for name in unknown if name not in tags]

    def lm_eval_folders(self, names: Iterable[str]) -> list[Path] | None:
        """Return the folders of lm-eval's tasks that define these names and all that they name.

        None if that is not certain: for tags and unknown names.
        """
        names = list(names)
        if any(not self._add_from_lm_eval(name) or name not in self.index for name in names):
            return None
        reached, root = self.reached(names), lm_eval_tasks()
        if root is None or reached is None:
            return None
        paths = [entry.path for entry in reached.values() if entry.path]
        inside = [path.relative_to(root) for path in paths if path.is_relative_to(root)]
        return [root / name for name in sorted({path.parts[0] for path in inside})]

    def reached(self, names: Iterable[str]) -> dict[str, TaskEntry] | None:
        """Return the entries of names and of all that they name; None if one of them has no entry here."""
        entries: dict[str, TaskEntry] = {}
        remaining = list(names)
        while remaining:
            name = remaining.pop()
            if name not in self.index:
                return None
            entries[name] = self.index[name]
            remaining += [member for member in _named_members(entries[name]) if member not in entries]
        return entries

    def generation_settings(self, specs: "Iterable[TaskSpec]") -> "dict[str, Settings]":
        """Return `generation_kwargs` of each task that generates, by name."""
        return settings_of_generating_tasks(specs, self.index)

    def _add_from_lm_eval(self, name: str) -> bool:
        """Add a task or group of lm-eval and all that it names. Return whether there is one."""
        if name in self.index:
            return True
        if name not in lm_eval_names():
            return False
        path = Path(lm_eval_names()[name])
        try:
            _add(self.index, path, read_task_file(path))
        except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError):
            return False
        if name in self.index:
            for member in _named_members(self.index[name]):
                self._add_from_lm_eval(member)
        return name in self.index


def _add(entries: dict[str, TaskEntry], path: Path, content: "Settings") -> None:
    """Add what a file defines, and its tags, to the entries of its folder; the first of a name counts."""
    name = name_of(content)
    if not isinstance(name, str) or name in entries:
        return
    is_group = "group" in content and "class" not in content
    entries[name] = TaskEntry("group" if is_group else "task", path, content)
    tags = content.get("tag") if not is_group else None
    for tag in tags if isinstance(tags, list) else [tags] if tags else ():
        entry = entries.setdefault(str(tag), TaskEntry("tag"))
        if entry.kind == "tag":
            entries[str(tag)] = TaskEntry("tag", members=(*entry.members, name))


def taken_names(names: Iterable[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Return which names are tasks or groups in `folders` or of lm-eval itself, with their files."""
    index, of_lm_eval = TaskFiles(folders).index, lm_eval_names()
    taken: dict[str, Path] = {}
    for name in names:
        if name in index and (path := index[name].path):
            taken[name] = path
        elif name in of_lm_eval:
            taken[name] = Path(of_lm_eval[name])
    return taken


# ---- lm-eval's own tasks


def lm_eval_tasks() -> Path | None:
    """Return the folder of lm-eval's tasks; None if it is not installed. lm-eval is not imported."""
    spec = find_spec("lm_eval")
    return Path(spec.origin).resolve().parent / "tasks" if spec and spec.origin else None


@cache
def lm_eval_names() -> dict[str, str]:
    """Return the file of every task and group of lm-eval, by name, found by a search of their text."""
    names: dict[str, str] = {}
    for path, text in _texts(".yaml"):
        for name in DEFINED.findall(text):
            names.setdefault(name.decode(errors="replace"), path)
    return names


@cache
def _listed_in_lm_eval() -> frozenset[str]:
    """Return the words that stand where files of lm-eval list tags; some of them are no tags."""
    return frozenset(word.decode(errors="replace") for _, text in _texts() for word in LISTED.findall(text))


def _texts(ending: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield path and content of lm-eval's task files, sorted by folder; other files are small, too."""
    root = lm_eval_tasks()
    for folder, inner, files in os.walk(root) if root else ():
        inner[:] = sorted(name for name in inner if name not in IGNORED)
        for name in sorted(files):
            if name.endswith(ending) and not name.endswith((".py", ".md", ".json", ".csv")):
                path = os.path.join(folder, name)
                try:
                    yield path, Path(path).read_bytes()
                except OSError:
                    continue


# ---- what tasks generate


def settings_of_generating_tasks(
    specs: "Iterable[TaskSpec]", index: Mapping[str, TaskEntry]
) -> "dict[str, Settings]":
    """Return `generation_kwargs` of each task that generates, by name; no rows are read.

    Tasks that are Python classes are left out: only their code says what they generate.

    Args:
        specs: names of tasks, groups or tags, configs, or loaded tasks.
        index: what names stand for; others are left out, as lm-eval reports them when it loads the tasks.
    """
    settings: dict[str, Settings] = {}
    for spec in specs:
        for name, config in configs(spec, index):
            if "class" not in config and config.get("output_type", "generate_until") == "generate_until":
                of_task = config.get("generation_kwargs")
                settings[name] = of_task if isinstance(of_task, Mapping) else {}
    return settings


def configs(
    spec: "TaskSpec", index: Mapping[str, TaskEntry], overrides: "Settings | None" = None, level: int = 0
) -> "Iterator[tuple[str, Settings]]":
    """Yield name and config of every single task behind a name, a config, a loaded task or a loaded group."""
    overrides = overrides or {}
    if isinstance(spec, str):
        if (entry := index.get(spec)) is None or level > MAX_GROUPS:
            return
        if entry.kind == "task":
            yield spec, {**entry.content, **overrides}
        else:
            of_group = {**_set_by_group(entry.content), **overrides}
            yield from _members(_member_specs(entry), index, of_group, level)
    elif isinstance(spec, Mapping):
        name, members = spec.get("group", spec.get("task")), spec.get("task")
        changed = {**overrides, **_set_by_group(spec)}
        if isinstance(members, Sequence) and not isinstance(members, str):
            yield from _members(members, index, changed, level)
        elif isinstance(name, str) and level and name in index:
            yield from configs(name, index, changed, level + 1)
        elif isinstance(name, str):
            yield name, {**spec, **overrides}
    else:
        for task in spec.get_all_tasks() if hasattr(spec, "get_all_tasks") else [spec]:
            yield str(task.config.task), task.config.to_dict()


def _members(
    specs: "Iterable[TaskSpec]", index: Mapping[str, TaskEntry], overrides: "Settings", level: int
) -> "Iterator[tuple[str, Settings]]":
    for spec in specs:
        if not isinstance(spec, str | Mapping) and not hasattr(spec, "config"):
            continue  # neither a name nor a task: lm-eval reports it
        yield from configs(spec, index, overrides, level + 1)


def _member_specs(entry: TaskEntry) -> "Sequence[TaskSpec]":
    """Return what a group or tag names: names, or mappings that change a task."""
    if entry.kind == "tag":
        return entry.members
    members = entry.content.get("task")
    return members if isinstance(members, list) else []


def _set_by_group(config: "Settings") -> "Settings":
    return {key: config[key] for key in SET_BY_GROUPS if key in config}


def _named_members(entry: TaskEntry) -> Iterator[str]:
    """Yield the names of tasks and groups that an entry of a file names, those of groups in it included."""
    open_specs: list[TaskSpec] = list(_member_specs(entry))
    while open_specs:
        spec = open_specs.pop()
        if isinstance(spec, str):
            yield spec
        elif isinstance(spec, Mapping):
            inner = spec.get("task")
            open_specs += inner if isinstance(inner, list) else []
            yield from (name for name in (inner, spec.get("group")) if isinstance(name, str))
