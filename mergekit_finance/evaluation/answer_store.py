"""Stored answers: one folder per model, with a file for every group of answers that was written together.

    OUT/answers/<name>-<digest>/key.json                      what the answers depend on, besides the requests
                                <count>-<hash>.jsonl.gz       answers; the hash is of the file's bytes
    OUT/answers/batch_size.json                               the largest batch that fits each device's memory

An answer is the response to one request. Its folder is named by a hash of everything else that can change
it: the model, the dtype, the code that loads models and asks them. A request is identified by a hash of its
kind, its prompt, and its option or generation settings. Tasks, limits, scoring and the batch size are in
neither, so they can change and every stored answer is still used.

A file is written once, under a temporary name, and never changed. One whose hash or content is wrong is
removed, and its answers are asked for again.
"""

import gzip
import hashlib
import json
import logging
import re
import shutil
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mergekit_finance.errors import DataError, printable
from mergekit_finance.evaluation.batch_limit import BatchLimit
from mergekit_finance.evaluation.digest import digest
from mergekit_finance.files import (
    Json,
    atomic_write,
    file_name,
    parse_json,
    read_bytes,
    read_json,
    write_json,
)

if TYPE_CHECKING:
    from mergekit_finance.hosts.lm_eval_models import RequestArguments, Response

LOG = logging.getLogger(__name__)
PART = re.compile(r"(\d{1,12})-([0-9a-f]{16})\.jsonl\.gz")
RESPONSES: dict[str, type | tuple[type, ...]] = {
    "loglikelihood": tuple,
    "loglikelihood_rolling": (float, tuple),  # lm-eval 0.4, 0.5
    "generate_until": str,
}
MAX_PART = 256_000_000  # bytes of a file, also after decompression
FLUSH_SECONDS, FLUSH_ANSWERS = 30.0, 10_000  # of 16,000 characters each, they fit into a file


class Answer(NamedTuple):
    """The response to one request.

    Attributes:
        response: (log-likelihood, whether the option is the greedy one), a rolling log-likelihood, or a text.
        tokens: tokens of the context that the request took.
        context: tokens that the model's context holds; with fewer than `tokens` the prompt was cut.
    """

    response: "Response"
    tokens: int
    context: int


def request_key(kind: str, arguments: "RequestArguments", occurrence: int = 0) -> str:
    """Return 32 hexadecimal digits that identify a request.

    Args:
        kind: `loglikelihood`, `loglikelihood_rolling` or `generate_until`.
        arguments: prompt and option, prompt and generation settings, or the text alone.
        occurrence: which of several equal requests, where answers are sampled.
    """
    content = json.dumps([kind, *arguments, occurrence], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclass
class Answers:
    """The answers of one model: in memory, and in a folder if it has one.

    Attributes:
        folder: the model's folder under answers/.
        key: the content of key.json.
    """

    folder: Path | None = None
    key: Mapping[str, Json] = field(default_factory=dict)
    _unwritten: dict[str, Answer] = field(default_factory=dict, init=False, repr=False)
    _last_flush: float = field(default_factory=lambda: time.monotonic(), init=False, repr=False)

    @property
    def folder_name(self) -> str:
        """The name of the folder, under which a process claims the right to ask this model."""
        return self.folder.name if self.folder else ""

    @cached_property
    def _answers(self) -> dict[str, Answer]:
        return read_folder(self.folder) if self.folder else {}

    def __getitem__(self, key: str) -> Answer:
        """Return the answer to a request. Raises KeyError if there is none."""
        return self._answers[key]

    def has(self, key: str, kind: str) -> bool:
        """Return whether there is an answer to a request, of the type that a request of this kind has."""
        return key in self._answers and isinstance(self._answers[key].response, RESPONSES[kind])

    def add(self, key: str, answer: Answer) -> None:
        """Add an answer; those added before are written every 30 seconds, or when there are many.

        Time passes while a model computes a batch, so files mostly hold whole batches: after an
        interruption the remaining requests are put into the same batches as without it.
        """
        waited = time.monotonic() - self._last_flush
        if waited > FLUSH_SECONDS or len(self._unwritten) >= FLUSH_ANSWERS:
            self.flush()
        self._answers[key] = self._unwritten[key] = answer

    def flush(self) -> None:
        """Write the answers that are not written yet."""
        if self.folder and self._unwritten:
            if not (self.folder / "key.json").is_file():
                write_json(self.folder / "key.json", dict(self.key), indent=1)
            write_part(self.folder, self._unwritten)
        self._unwritten = {}
        self._last_flush = time.monotonic()


@dataclass(frozen=True)
class AnswerStore:
    """The answers of all models below one folder, OUT/answers."""

    folder: Path

    def of(self, name: str, key: Mapping[str, Json]) -> Answers:
        """Return the answers of the model with this key; `name` is shown in the folder's name."""
        return Answers(self.folder / f"{file_name(name)}-{digest(key)}", key)

    def keys(self) -> list[Mapping[str, Json]]:
        """Return the keys of all models that have answers; a damaged key.json is skipped."""
        keys = []
        for path in sorted(self.folder.glob("*/key.json")):
            with suppress(OSError, ValueError, DataError):
                content = read_json(path)
                keys += [content] if isinstance(content, Mapping) else []
        return keys

    def batches(self, requested: int | str) -> BatchLimit:
        """Return the memory of the batch sizes that fit, for the batch size of a study."""
        return BatchLimit(requested, self.folder / "batch_size.json")


# ---- files


def write_part(folder: Path, answers: Mapping[str, Answer]) -> None:
    """Write answers as one compressed file of JSON lines: key, response, tokens, context."""
    lines = (
        json.dumps([key, *answer], ensure_ascii=False, separators=(",", ":"))
        for key, answer in sorted(answers.items())
    )
    data = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
    atomic_write(folder / f"{len(answers)}-{hashlib.sha256(data).hexdigest()[:16]}.jsonl.gz", data)


def read_folder(folder: Path) -> dict[str, Answer]:
    """Read all answers in a folder. Damaged files are removed, with one line each.

    Raises:
        DataError: a file exists and cannot be read.
    """
    answers: dict[str, Answer] = {}
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        _remove(folder, "is not a directory")
    for path in sorted(folder.glob("*.jsonl.gz")):
        try:
            answers |= read_part(path)
        except FileNotFoundError:  # another process found it damaged
            continue
        except PermissionError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}). Make it readable.") from error
        except (OSError, ValueError, DataError) as error:
            _remove(path, f"is damaged ({error})")
    return answers


def read_part(path: Path) -> dict[str, Answer]:
    """Read one file of answers.

    Raises:
        OSError, DataError: it cannot be read, or is no regular file.
        ValueError: it was altered, or is not what `write_part` writes.
    """
    name = PART.fullmatch(path.name)
    data = read_bytes(path, MAX_PART)
    if name is None or hashlib.sha256(data).hexdigest()[:16] != name[2]:
        raise ValueError("its content does not belong to its name")
    lines = _decompressed(data).removesuffix("\n").split("\n")
    answers = dict(map(_parsed, lines))
    if len(answers) != int(name[1]):
        raise ValueError(f"{len(answers)} answers instead of {name[1]}")
    return answers


def count_answers(folder: Path) -> int:
    """Return the number of answers in a folder from the names of its files, without reading them."""
    names = (PART.fullmatch(path.name) for path in folder.glob("*.jsonl.gz"))
    return sum(int(name[1]) for name in names if name)


def _decompressed(data: bytes) -> str:
    decompressor = zlib.decompressobj(wbits=31)  # gzip
    try:
        content = decompressor.decompress(data, MAX_PART)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not decompressor.eof:
        raise ValueError("truncated, or too large")
    return content.decode()


def _parsed(line: str) -> tuple[str, Answer]:
    """Return key and answer of one line. Raises ValueError for another line than `write_part` writes."""
    match parse_json(line, finite=False):
        case [str(key), response, int(tokens), int(context)]:
            return key, Answer(_response(response), tokens, context)
    raise ValueError("a line is no answer")


def _response(value: Json) -> "Response":
    match value:
        case str() | float():
            return value
        case [float(log_likelihood), bool(is_greedy)]:
            return log_likelihood, is_greedy
    raise ValueError("a response is neither a text nor a log-likelihood")


def _remove(path: Path, reason: str) -> None:
    LOG.warning("%s %s; its answers are asked for again", printable(str(path)), printable(reason))
    with suppress(OSError):  # in a folder that cannot be written, which `study plan` may read
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
