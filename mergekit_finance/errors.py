"""Exceptions for mistakes in a user's input, each with a message of one line.

    MergekitFinanceError     base class: a mistake in the user's input, not a bug in this package
    ├── RecipeError          a recipe, its `finance:` block or a parameter
    ├── ModelError           a checkpoint that is missing, broken, or cannot be merged with the others
    ├── DataError            a dataset, a mirror, or a row of a dataset
    ├── PluginError          a third party's plugin
    └── HostError            an unsupported version of mergekit, lm-eval or transformers

A message says what is wrong, where, and what to do. If it is a finding of docs/checks.md, it ends with the
finding's id: `... Choose another output directory. [output.is-input]`. All are plain exceptions, which a
library user can catch like any other. Programs print them as `Error: ...` and exit with code 1: cli/common.py
does so for our commands, hosts/programs.py for plain `mergekit-yaml` and `lm_eval`. Bugs in this package keep
their traceback.

Messages contain untrusted text: names of files, models and tasks, and values read from files. Control
characters in a message are escaped when it is converted to a string, because it is printed on a terminal.
"""

import difflib
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_MESSAGE = 2000  # characters; a longer message loses its middle
MAX_PLACE = 100  # characters of a path of keys
OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
UNION_TAG = "|"  # begins the tags of pydantic unions, which are parts of places and not of files
MAX_WORD = 200  # characters: comparing longer words takes long
UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, bidirectional marks, surrogates, line separators


class MergekitFinanceError(Exception):
    """A mistake in the user's input.

    `str(error)` is one line without control characters: what is wrong, where, what to do, and `[id]`.

    Attributes:
        id: the finding of docs/checks.md that this error stands for; empty if it is not one of a check.
    """

    def __init__(self, *args: object, id: str = "") -> None:
        super().__init__(*args)
        self.id = id

    @property
    def message(self) -> str:
        """`str(error)` without the id."""
        text = printable(" ".join(super().__str__().splitlines()))
        return text if len(text) <= MAX_MESSAGE else f"{text[:1500]} … {text[-400:]}"

    def __str__(self) -> str:
        return with_id(self.message, self.id)


class RecipeError(MergekitFinanceError):
    """A recipe, its `finance:` block or a parameter is wrong."""


class ModelError(MergekitFinanceError):
    """A checkpoint is missing, broken, or cannot be merged with the others."""


class DataError(MergekitFinanceError):
    """A dataset, a mirror, or a row of a dataset is missing, altered or malformed."""


class PluginError(MergekitFinanceError):
    """A third party's plugin is wrong."""


class HostError(MergekitFinanceError):
    """mergekit, lm-eval or transformers lacks a name that this package uses: the version is not supported."""


def with_id(text: str, id: str) -> str:
    """Return a line that ends with the id of its finding, as every command prints its findings."""
    return f"{text} [{id}]" if id else text


@contextmanager
def default_id(id: str) -> Iterator[None]:
    """Give the errors that are raised in here the id of a finding, unless they have one.

    Also a decorator of functions.
    """
    try:
        yield
    except MergekitFinanceError as error:
        error.id = error.id or id
        raise


def printable(text: str, keep: str = "") -> str:
    """Return text in which every character that could control a terminal is escaped as `repr` does it.

    Args:
        text: untrusted text, such as a file name.
        keep: characters to leave as they are, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in UNPRINTABLE and c not in keep else c for c in text
    )


def print_to_stderr(text: str, keep: str = "") -> None:
    """Print a line to standard error at once; `keep` as in `printable`."""
    print(printable(text, keep), file=sys.stderr, flush=True)


class HubUnreachableError(OSError):
    """The Hub did not answer, too slowly, or with an error of its own."""


@contextmanager
def model_errors(message: str, id: str = "model.broken") -> Iterator[None]:
    """Turn every exception raised while a model or tokenizer is loaded into a ModelError.

    For a damaged file, transformers, tokenizers and the code of a model's repository raise exceptions of many
    types, plain `Exception` included; a Rust panic is a BaseException.

    Args:
        message: what could not be done; the exception's first line is added in parentheses.
        id: of the finding.
    """
    try:
        yield
    except (MergekitFinanceError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if unreachable := _hub_error(error):
            remedy = "Check the network and HF_ENDPOINT, or name a local folder."
            raise ModelError(
                f"{message} ({first_line(unreachable)}). {remedy}", id="model.unreachable"
            ) from error
        raise ModelError(f"{message} ({first_line(error)})", id=id) from error


def _hub_error(error: BaseException | None) -> HubUnreachableError | None:
    """Return the HubUnreachableError among an error and those that caused it."""
    while error is not None and not isinstance(error, HubUnreachableError):
        error = error.__cause__ or error.__context__
    return error


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a hint for the end of a message about an unknown name: the nearest choice, then all choices."""
    names = sorted(map(str, choices))
    near = difflib.get_close_matches(str(word), names, n=1) if len(str(word)) <= MAX_WORD else []
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(names) or 'none'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type's name if it has no message.

    If the first line ends with a colon, the second line is added.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of a device or of the CPU ran out.

    PyTorch's allocator for the CPU and cuBLAS raise a plain RuntimeError.
    """
    import torch  # here, because commands that check files do not load it

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


def first_problem(error: "ValidationError") -> str:
    """Return the first thing that is wrong with data that pydantic refuses, in one line: where and what."""
    first = error.errors(include_url=False)[0]
    keys = [str(key) for key in first["loc"]]
    place = ".".join(key for key in keys if not key.startswith(UNION_TAG))[:MAX_PLACE]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("dict_type", "model_type"):
        message = "must be a mapping of keys"
    message = message.replace("valid tuple", "valid list").replace("Tuple should", "List should")
    return " ".join((f"{place}: {message}" if place else message).split())
