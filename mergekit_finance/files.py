"""Reading and writing files: atomic writes, bounded and checked reads, the one YAML loader, packaged data.

Files from other people (a recipe, a study folder, a model card) are untrusted. Readers refuse files whose
reading could block, paths that lead out of the folder, and nesting that would overflow the stack. Names are
checked before they are shown or opened.
"""

import codecs
import hashlib
import html
import io
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeGuard

from mergekit_finance import strict_yaml
from mergekit_finance.errors import DataError, RecipeError

# JSON as Python reads it. Mapping and Sequence are used so that `dict[str, str]` is accepted without a cast.
Json: TypeAlias = "str | int | float | bool | None | Sequence[Json] | Mapping[str, Json]"
JsonObject: TypeAlias = dict[str, Json]

MAX_DEPTH = 100  # levels of nested JSON that are read; a study's own files nest less than ten deep
MAX_JSON = 64_000_000  # bytes; scores.json of all tasks has 3 MB, the index of the largest model's shards 9
MAX_YAML = 1_000_000  # bytes
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # a surrogate as JSON escapes it; a pair is one character
SCRATCH = re.compile(r"\..+\.[a-z0-9_]{1,8}")  # as tempfile.mkdtemp names it
NO_MARKUP = str.maketrans({"`": "'", "[": "(", "]": ")", "|": "/"})

_PACKAGE = Path(__file__).resolve().parent


# ---- writing


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is renamed to `path`, on failure it is removed.

    The temporary path does not exist yet: create a file or a folder there. Missing parent folders of `path`
    are created. A folder cannot replace a folder that is not empty (OSError).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.", dir=path.parent))
    temporary = scratch / path.name
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def file_stamp(path: str) -> tuple[int, ...]:
    """Return what changes with a file's content, or with a folder's entries; () if there is no such path."""
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size


def is_scratch(path: Path) -> bool:
    """Return whether a path is a folder with a name that `atomic_path` gives. Files and links are not."""
    return SCRATCH.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def atomic_write(path: Path, data: str | bytes) -> None:
    """Write a file so that readers see the complete old or the complete new content. Text becomes UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_output(path: Path, text: str) -> None:
    """Write a file that the user named, atomically. A pipe or a device is not replaced but written to."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
    else:
        atomic_write(path, text)


def write_json(path: Path, content: Json, indent: int | None = 2) -> None:
    """Write JSON atomically. NaN and infinity are refused (ValueError): other readers cannot read them."""
    atomic_write(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


# ---- reading


def read_bytes(path: Path, max_bytes: int = MAX_JSON, links: bool = False) -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        max_bytes: a larger file is refused.
        links: follow a symbolic link.

    Raises:
        DataError: the path is a symlink, which may point outside the folder.
        OSError: it cannot be read, is too large, or is not a regular file (reading a FIFO would block,
            reading /dev/zero would never end).
        ValueError: the path holds a NUL.
    """
    if not links and path.is_symlink():
        raise DataError(f"{path}: is a symbolic link, which is not followed. Put the file itself there.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)  # the size from stat is not used: it is 0 for files in /proc
    if len(data) > max_bytes:
        raise OSError(f"larger than {max_bytes / 1e6:g} MB")
    return data


def read_text(path: Path, errors: str = "strict", max_bytes: int = MAX_JSON, links: bool = False) -> str:
    """Read a regular file as UTF-8. A byte order mark is dropped, and line endings become "\\n".

    Raises:
        DataError, OSError, ValueError: as `read_bytes`; also ValueError if the file is not UTF-8.
    """
    data = read_bytes(path, max_bytes, links)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and errors == "strict":
        raise ValueError("UTF-16, not UTF-8")
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors=errors).read()


def read_json(
    path: Path, max_bytes: int = MAX_JSON, links: bool = False, repeated: "list[RepeatedKey] | None" = None
) -> Json:
    """Read a JSON file with `read_text` and `parse_json`. Raises OSError, DataError or ValueError."""
    return parse_json(read_text(path, max_bytes=max_bytes, links=links), repeated=repeated)


class NotAnObject(ValueError):
    """JSON that is valid, but not an object."""


def read_object(
    path: Path, max_bytes: int = MAX_JSON, links: bool = False, repeated: "list[RepeatedKey] | None" = None
) -> JsonObject:
    """Read a JSON file that holds an object. Raises as `read_json`, and NotAnObject."""
    content = read_json(path, max_bytes, links, repeated)
    if not isinstance(content, dict):
        raise NotAnObject("not a JSON object")
    return content


class RepeatedKey(NamedTuple):
    """A key that an object of a JSON file has more than once; all readers use the last value only.

    Attributes:
        key: the key.
        is_same: whether its values are equal.
    """

    key: str
    is_same: bool


def parse_json(text: str, finite: bool = True, repeated: list[RepeatedKey] | None = None) -> Json:
    """Parse JSON within bounds.

    Args:
        text: the JSON.
        finite: refuse NaN and infinity.
        repeated: keys that appear twice in an object are added to it; None: they are not looked for.

    Raises:
        ValueError: the text is not JSON, nests more than MAX_DEPTH levels, or holds a value that cannot be
            written again: NaN, infinity, an integer of more than 100 digits, half of a surrogate pair.
    """
    try:
        number = _finite if finite else float
        content: Json = json.loads(
            text,
            parse_constant=number,
            parse_float=number,
            parse_int=_integer,
            object_pairs_hook=None if repeated is None else partial(_unique, repeated=repeated),
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if SURROGATE.search(text):
        _refuse_surrogates(content)
    if _is_too_deep(content):
        raise ValueError("nested too deep")
    return content


def _is_too_deep(content: Json) -> bool:
    """Return whether parsed JSON nests more than MAX_DEPTH levels; values in the innermost list are one.

    Only lists and objects are followed: a tokenizer.json has a million values, nearly all texts and numbers.
    `type` is used because it takes half the time of `isinstance`, and the parser makes no subclasses.
    """
    level = [content] if type(content) is list or type(content) is dict else []
    for _ in range(MAX_DEPTH - 1):  # level by level: a recursive walk could overflow the stack
        level = [
            part
            for value in level
            for part in (value.values() if isinstance(value, dict) else value)
            if type(part) is list or type(part) is dict
        ]
    return any(level)  # an empty list or object adds no further level


def _unique(pairs: list[tuple[str, Json]], repeated: list[RepeatedKey]) -> JsonObject:
    content = dict(pairs)
    if len(content) < len(pairs):
        same: dict[str, bool] = {}
        first: JsonObject = {}
        for key, value in pairs:
            if key in first:
                same[key] = same.get(key, True) and first[key] == value
            first.setdefault(key, value)
        repeated += [RepeatedKey(key, is_same) for key, is_same in same.items()]
    return content


def _refuse_surrogates(content: Json) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("half of a surrogate pair in a text") from error
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _integer(text: str) -> int:
    if len(text) > strict_yaml.MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters; at most {strict_yaml.MAX_DIGITS} are read")
    return int(text)


def load_yaml(text: str, where: str) -> Json:
    """Parse YAML as `strict_yaml` describes; dates stay text.

    Args:
        text: the document.
        where: the document's file, for messages.

    Raises:
        RecipeError: the text is not valid YAML; the message names the file and the line.
    """
    try:
        return strict_yaml.parse(text)
    except strict_yaml.InvalidYaml as error:
        raise RecipeError(f"{where}, line {error.line}: not valid YAML ({error}).", id=error.id) from error


def read_yaml(path: Path) -> Json:
    """Read a YAML file with `yaml_text` and `load_yaml`. Raises RecipeError, or FileNotFoundError."""
    return load_yaml(yaml_text(path), str(path))


def yaml_text(path: Path) -> str:
    """Return the text of a YAML file of at most MAX_YAML bytes; symbolic links are followed.

    Raises:
        FileNotFoundError: there is no such file; the caller's message says how to get one.
        RecipeError: the file cannot be read: it is not a regular file, is too large, or is not UTF-8.
    """
    try:
        return read_text(path, max_bytes=MAX_YAML, links=True)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{path}: cannot be read as text ({error}). Give a UTF-8 file of at most {MAX_YAML // 10**6} MB.",
            id="file.unreadable",
        ) from error


def sha256_file(path: Path, progress: Callable[[int], object] | None = None) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    `progress` is called with the number of bytes of each block read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            if progress:
                progress(len(chunk))
    return digest.hexdigest()


def bundled(name: str) -> Path:
    """Return the folder `lm_eval_tasks` or `recipes`: inside the package, or beside it in a checkout."""
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the folder {name!r} of mergekit-finance is missing; reinstall the package")


def writable_folder(folder: Path) -> str | None:
    """Return why files cannot be created in `folder` (which may not exist yet), or None if they can."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.exists(p))
    if not nearest.is_dir():
        return f"{nearest} is not a directory"
    return None if os.access(nearest, os.W_OK) else f"{nearest} is not writable"


# ---- untrusted names and text


def is_name(text: object) -> TypeGuard[str]:
    """Return whether `text` is one printable line without markup characters of Markdown or HTML."""
    return isinstance(text, str) and text.strip() != "" and text.isprintable() and not set("<>`") & set(text)


def is_folder(text: object) -> TypeGuard[str]:
    """Return whether `text` is the plain name of a file or folder: no path separators, at most 255 bytes."""
    if not isinstance(text, str) or text in ("", ".", "..") or set("/\\\0\n\r") & set(text):
        return False
    return len(text.encode("utf-8", "surrogatepass")) <= 255


def file_name(text: str, max_bytes: int = 150) -> str:
    """Return a file name: `text`, or if it is too long, its first bytes and 12 digits of its SHA-256.

    File systems allow 255 bytes; the default leaves room for the suffixes of temporary files and locks.
    """
    data = text.encode("utf-8", "surrogateescape")
    if len(data) <= max_bytes:
        return text
    return data[: max_bytes - 13].decode("utf-8", "ignore") + "-" + hashlib.sha256(data).hexdigest()[:12]


def require_folders(path: Path, folders: Iterable[object]) -> None:
    """Raise DataError if one of `folders`, read from the file `path`, is not a plain folder name."""
    for folder in folders:
        if not is_folder(folder):
            raise DataError(f"{path}: {folder!r} is not a folder under points/. Run the study again.")


def require_names(path: Path, names: Iterable[object]) -> None:
    """Raise DataError if one of `names`, read from the file `path`, is not printable or contains markup."""
    for name in names:
        if not is_name(name):
            raise DataError(
                f"{path}: {name!r} is not a valid name. Use one line of printable characters without < > `."
            )


def strings(content: Json) -> Iterator[str]:
    """Yield every string in JSON, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for part in content:
            yield from strings(part)
        for part in content.values() if isinstance(content, dict) else ():
            yield from strings(part)


def keys_of(content: Json) -> Iterator[str]:
    """Yield every key of every object in JSON."""
    for part in (
        content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    ):
        yield from keys_of(part)
    yield from content if isinstance(content, dict) else ()


def one_line(text: str, max_length: int = 100) -> str:
    """Return untrusted text as one line of printable characters, without markup."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(" ".join(printable.split())[:max_length], quote=False).translate(NO_MARKUP)
