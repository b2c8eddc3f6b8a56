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
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path, PurePath
from types import TracebackType

import yaml

from mergekit_finance.errors import MergekitFinanceError, RecipeError, first_line, print_to_stderr
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
        elif is_host_program() and (reason := _recipe_mistake(error) or _option_mistake(error, traceback)):
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


def _recipe_mistake(error: BaseException) -> str:
    """Return why a recipe cannot be read, or "".

    `mergekit-yaml` reads and parses the recipe before our checks, and ends in a traceback if there is no such
    file, or if its parser refuses it. Of recipes for our methods, that includes control characters and
    numbers of 5,000 digits.

    Args:
        error: what ended the program.
    """
    for argument in sys.argv[1:]:
        path = Path(argument)
        if path.suffix not in (".yml", ".yaml"):
            continue
        if isinstance(error, OSError) and error.filename == argument:
            return f"{argument}: cannot be read ({error.strerror}). Give the file of a recipe."
        try:
            is_read = path.is_file() and (isinstance(error, yaml.YAMLError) or _names_our_method(path))
        except OSError:
            continue
        try:
            if is_read:
                read_yaml(path)
        except MergekitFinanceError as mistake:
            return str(mistake)
    return ""


def _option_mistake(error: BaseException, traceback: TracebackType | None) -> str:
    """Return what lm-eval's own checks of options refuse in `lm_eval --model mergekit`, or "".

    Written for lm-eval 0.4.13: `EvaluatorConfig` raises ValueError for options that do not fit together,
    TypeError for an unknown key in the file of --config, and FileNotFoundError if it is missing;
    `simple_evaluate` raises ValueError where no task is left. Other models keep the traceback.
    """
    if not isinstance(error, ValueError | TypeError | OSError) or not _is_our_model(sys.argv):
        return ""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    module = traceback.tb_frame.f_globals.get("__name__")
    refuses_tasks = module == "lm_eval.evaluator" and isinstance(error, ValueError)
    if module != "lm_eval.config.evaluate_config" and not refuses_tasks:
        return ""
    return f"{first_line(error).removesuffix('.')}. Correct the options of lm_eval."


def _is_our_model(arguments: Sequence[str]) -> bool:
    """Return whether a command line has `--model mergekit`, in one of the ways that argparse reads."""
    pairs = pairwise(arguments)
    return "--model=mergekit" in arguments or any(
        option in ("--model", "-M") and value == "mergekit" for option, value in pairs
    )


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
