"""Print user errors in plain `mergekit-yaml` and `lm_eval` as one line, without a traceback.

Our errors are plain exceptions. Our own commands turn them into one line in their click group; the hosts'
programs do not catch them, and Python prints a traceback. `report_mistakes` therefore replaces
`sys.excepthook`, which Python calls for an exception that nobody caught, just before it exits with code 1.
The start-up hook calls it when a host module is imported, and the loader of our tasks when it is called.

The hook is restricted to the hosts' own programs: a console script that mergekit or lm-eval declares, or
`python -m mergekit...` and `python -m lm_eval`. A user's own program that calls `mergekit.merge.run_merge` or
`lm_eval.simple_evaluate` gets the plain exception with its traceback.

Wrapping the hosts' entry points would not be enough: `python -m` does not use them.
"""

import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePath
from types import TracebackType

from mergekit_finance.errors import MergekitFinanceError, RecipeError, print_to_stderr
from mergekit_finance.files import MAX_YAML, read_yaml

OUR_METHODS = "cpt_"  # the names of our merge methods begin with it
ENDLESS = ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
HOSTS = {"mergekit": "mergekit", "lm_eval": "lm-eval"}  # package: distribution


def report_mistakes() -> None:
    """Print an uncaught MergekitFinanceError as one line if this is a host's program. May be called twice."""
    # While Python resolves `python -m`, sys.argv[0] is "-m" and the program is not yet determined.
    may_be_host = _argument_zero() == "-m" or is_host_program()
    if not may_be_host or getattr(sys.excepthook, "is_mergekit_finance", False):
        return
    previous = sys.excepthook

    def print_one_line(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, MergekitFinanceError) and is_host_program():
            print(f"Error: {error}", file=sys.stderr)
        elif is_host_program() and (reason := _recipe_mistake()):
            print(f"Error: {reason}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    vars(print_one_line)["is_mergekit_finance"] = True
    sys.excepthook = print_one_line
    if is_host_program():
        _refuse_endless_files()


def _refuse_endless_files() -> None:
    """End the process with one line if an argument is a device without an end, also through links.

    `mergekit-yaml` would read it as a recipe until the memory is full, before our checks. Pipes are allowed.
    The process ends at once, because the start-up hook turns exceptions into warnings; the host is only being
    imported.
    """
    for argument in sys.argv[1:]:
        if os.path.realpath(argument) in ENDLESS:
            error = RecipeError(f"{argument}: not a regular file. Name a file.", id="file.unreadable")
            print_to_stderr(f"Error: {error}")
            os._exit(1)


def _recipe_mistake() -> str:
    """Return why a recipe for one of our methods cannot be read, or "".

    `mergekit-yaml` parses the recipe before our checks, and ends in a traceback of its parser for control
    characters or a number of 5,000 digits.
    """
    for argument in sys.argv[1:]:
        path = Path(argument)
        try:
            is_ours = path.suffix in (".yml", ".yaml") and path.is_file() and _names_our_method(path)
        except OSError:
            continue
        try:
            if is_ours:
                read_yaml(path)
        except MergekitFinanceError as error:
            return str(error)
    return ""


def _names_our_method(path: Path) -> bool:
    """Return whether a file has the name of one of our methods, also in UTF-16, which no host reads."""
    with path.open("rb") as file:
        return OUR_METHODS.encode() in file.read(MAX_YAML).replace(b"\0", b"")


def is_host_program() -> bool:
    """Return whether this process runs a command of mergekit or lm-eval, not a program that imports them."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:  # python -m
        return spec.name.split(".")[0] in HOSTS
    script = PurePath(_argument_zero())
    name = script.stem if script.suffix in (".exe", ".py", ".pyw") else script.name
    return name.removesuffix("-script") in _console_scripts()


def _argument_zero() -> str:
    return sys.argv[0] if getattr(sys, "argv", None) else ""


def _console_scripts() -> set[str]:
    """Return the names of the commands that the hosts install."""
    names: set[str] = set()
    for name in HOSTS.values():
        try:
            names |= distribution(name).entry_points.select(group="console_scripts").names
        except PackageNotFoundError:
            continue
    return names
