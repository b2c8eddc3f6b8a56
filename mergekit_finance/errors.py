"""What a user did wrong, in one line.

    MergekitFinanceError     every mistake that is the user's, not ours
    ├── RecipeError          a recipe, its `finance:` block or a parameter
    ├── ModelError           a checkpoint: missing, broken, or not fit for its partners
    ├── DataError            a dataset, a mirror or a row of it
    ├── PluginError          a third party's plugin
    └── HostError            a version of mergekit, lm-eval or transformers that does not fit

Each message says what, where, and what to do instead. Faults of our own are never one of these:
they keep their traceback.
"""

import difflib
from collections.abc import Iterable

import click


class MergekitFinanceError(click.ClickException, SystemExit):
    """A user's mistake.

    It is a ClickException, so that our commands and `mergekit-yaml` (a click command) print one line
    and exit with 1; and a SystemExit, so that `lm_eval`, which knows nothing of us, does the same.
    It is still an Exception: library users catch it as any other.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = f"Error: {message}"  # what the interpreter prints when SystemExit reaches the top


class RecipeError(MergekitFinanceError):
    """A recipe, its `finance:` block or a parameter is wrong."""


class ModelError(MergekitFinanceError):
    """A checkpoint is missing, broken, or does not fit its partners."""


class DataError(MergekitFinanceError):
    """A dataset, a mirror or a row of it is missing, altered or malformed."""


class PluginError(MergekitFinanceError):
    """A third party's plugin is wrong."""


class HostError(MergekitFinanceError):
    """A host lacks a name that this package uses: its version is not one that it was written for."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint that ends a message about an unknown name: the nearest choice, then all of them."""
    names = sorted(map(str, choices))
    near = difflib.get_close_matches(str(word), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(names) or 'none'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type's name if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
