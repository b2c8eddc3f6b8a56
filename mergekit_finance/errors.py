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
    from pydantic_core import ErrorDetails

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


def nearest_names(word: str, choices: Iterable[str], listing: str) -> str:
    """Return a hint about an unknown name of very many: the nearest ones, and which command lists all."""
    near = difflib.get_close_matches(word, sorted(set(choices)), n=3) if len(word) <= MAX_WORD else []
    quoted = " or ".join(filter(None, [", ".join(map(repr, near[:-1])), *map(repr, near[-1:])]))
    return f"{f'Did you mean {quoted}? ' if near else ''}{listing}."


def counted(number: int, noun: str) -> str:
    """Return `1 item` or `1,200 items`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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


# What pydantic says of a value, by the type of its error; {…} are from the error's context.
_WORDS = {
    "missing": "is missing. Add it",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "mapping_type": "must be a mapping of keys",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must match {pattern}",
    "extra_forbidden": "is an unknown key. Remove it",
}
_COUNTED = {  # what has too few or too many parts, by the type of pydantic's error
    "string_too_short": ("min_length", "character"),
    "string_too_long": ("max_length", "character"),
    "too_short": ("min_length", "entry"),
    "too_long": ("max_length", "entry"),
}


def first_error(error: "ValidationError") -> "ErrorDetails":
    """Return the first error; of a block with a misspelt key, the unknown key and not the missing one."""
    every = error.errors(include_url=False)
    first = every[0]
    if first["type"] != "missing":
        return first
    block = first["loc"][:-1]
    return next((e for e in every if e["type"] == "extra_forbidden" and e["loc"][:-1] == block), first)


def first_problem(error: "ValidationError") -> str:
    """Return the first thing that is wrong with data that pydantic refuses, in one line: where and what."""
    first = first_error(error)
    keys = [str(key) for key in first["loc"]]
    place = ".".join(key for key in keys if not key.startswith(UNION_TAG))[:MAX_PLACE]
    message = problem_in_words(first)
    return " ".join((f"{place}: {message}" if place else message).split())


def problem_in_words(problem: "ErrorDetails") -> str:
    """Return what an error of pydantic's means to somebody who wrote a file, without the place."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in _COUNTED:
        key, noun = _COUNTED[kind]
        number = context[key]
        if key == "min_length" and number == 1:
            return "must not be empty"
        nouns = noun if number == 1 else f"{noun}s".replace("ys", "ies")
        return f"must have at {'least' if key == 'min_length' else 'most'} {number} {nouns}"
    shown = {key: f"{value:.15g}" if isinstance(value, float) else value for key, value in context.items()}
    return _WORDS[kind].format_map(shown) if kind in _WORDS else problem["msg"].removeprefix("Value error, ")
