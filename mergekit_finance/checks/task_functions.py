"""Check the Python functions that a user's task files name (`!function helper.f`), without running any code.

A file that is gone or has a syntax error, a function that it does not define, and a module that it imports
and that is not installed are found in the text. What the code does when it is imported is not.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.errors import MergekitFinanceError, first_line
from mergekit_finance.files import MAX_YAML, Json, read_bytes
from mergekit_finance.hosts.task_files import FunctionName, TaskFiles, configs


def check_functions(names: Iterable[str], files: TaskFiles, own_folders: Iterable[Path]) -> Iterator[Finding]:
    """Yield a finding for each task of the user's folders with a function that cannot be imported.

    Args:
        names: of tasks, groups or tags.
        files: the task files.
        own_folders: the user's folders.
    """
    folders = [folder.resolve() for folder in own_folders]
    tasks = {task: config for name in names for task, config in configs(name, files.index)}
    for task, config in tasks.items():
        entry = files.index.get(task)
        path = entry.path if entry else None
        if path is None or not any(path.resolve().is_relative_to(folder) for folder in folders):
            continue
        reasons = (_reason(function, path) for function in _functions(config))
        if reason := next((reason for reason in reasons if reason), ""):
            remedy = f"Correct {path} or the functions that it names."
            yield finding("task.broken", f"task {task!r} cannot be loaded ({reason})", remedy)


def _functions(content: Json) -> Iterator[FunctionName]:
    """Yield every function that a task's content names, at any depth."""
    if isinstance(content, FunctionName):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _functions(value)
    elif isinstance(content, list):
        for value in content:
            yield from _functions(value)


def _reason(function: FunctionName, task_file: Path) -> str:
    """Return why a function cannot be imported, or an empty text.

    lm-eval looks for the module beside the task file, then among the installed ones. The functions of an
    included file are beside that file, and are not checked if they are elsewhere.
    """
    module, _, name = function.rpartition(".")
    source = task_file.parent / f"{module.replace('.', '/')}.py"
    if not source.is_file():
        is_elsewhere = b"include:" in read_bytes(task_file, MAX_YAML, links=True) or _is_installed(module)
        return "" if is_elsewhere else f"no module {module!r} for function {name!r}"
    try:
        tree = ast.parse(read_bytes(source, MAX_YAML, links=True), source.name)
    except SyntaxError as error:
        return f"{source}: SyntaxError: {first_line(error)}"
    except (ValueError, RecursionError, MemoryError, OSError, MergekitFinanceError) as error:
        return f"{source}: {first_line(error)}"
    if missing := [module for module in _imported(tree) if not _is_known(module, source.parent)]:
        return f"{source}: No module named {missing[0]!r}"
    return "" if _defines(tree, name) else f"{source} has no function {name!r}"


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the packages that a module imports whenever it is imported: not those inside `try` or `if`."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _is_known(package: str, folder: Path) -> bool:
    return (folder / package).is_dir() or (folder / f"{package}.py").is_file() or _is_installed(package)


def _is_installed(module: str) -> bool:
    """Return whether a module's top package can be found; nothing is imported."""
    try:
        return find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):  # a module in sys.modules without a specification
        return True


def _defines(tree: ast.Module, name: str) -> bool:
    """Return whether a module binds a name anywhere; with `import *` it may."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and node.name == name:
            return True
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            if bound & {name, "*"}:
                return True
    return False
