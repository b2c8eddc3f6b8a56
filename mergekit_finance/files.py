"""Reading and writing files: atomic writes, bounded and checked reads, the one YAML loader, packaged data.

Content that other people wrote (a recipe, a study folder, a model card) is untrusted: readers refuse what
could block, leave the folder or exhaust the stack, and names are checked before they are shown or opened.
"""

import hashlib
import html
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeGuard

import yaml

from mergekit_finance.errors import DataError, RecipeError

# JSON as Python reads it. Mapping and Sequence, so that a `dict[str, str]` is one without a cast.
Json: TypeAlias = "str | int | float | bool | None | Sequence[Json] | Mapping[str, Json]"
JsonObject: TypeAlias = dict[str, Json]

MAX_DEPTH = 100  # levels of nested JSON that are read; a study's own files nest less than ten deep
NO_MARKUP = str.maketrans({"`": "'", "[": "(", "]": ")", "|": "/"})

_PACKAGE = Path(__file__).resolve().parent


# ---- writing


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    The temporary path does not exist yet: create a file or a folder there. Its folder is created. A folder
    cannot replace a folder that is not empty (OSError).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.", dir=path.parent))
    temporary = scratch / path.name
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def atomic_write(path: Path, data: str | bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part. Text is written as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, content: Json, indent: int | None = 2) -> None:
    """Write JSON atomically. NaN and infinity are refused (ValueError): other readers cannot read them."""
    atomic_write(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


# ---- reading


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a regular file as UTF-8.

    Raises:
        DataError: the path is a symlink, which may point outside the folder.
        OSError: it cannot be read, or is not a regular file (reading a FIFO would block).
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.is_symlink():
        raise DataError(f"{path}: is a symbolic link, which is not followed. Put the file itself there.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    return path.read_text(encoding="utf-8", errors=errors)


def read_json(path: Path) -> Json:
    """Read a JSON file with `read_text` and `parse_json`. Raises OSError, DataError or ValueError."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Json:
    """Parse JSON that holds finite numbers only and nests at most MAX_DEPTH levels. Raises ValueError."""
    try:
        content: Json = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    level = [content]  # level by level: a recursive walk could overflow the stack
    for _ in range(MAX_DEPTH):
        level = [part for value in level for part in _children(value)]
        if not level:
            return content
    raise ValueError("nested too deep")


def _children(value: Json) -> Collection[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error; plain YAML would keep the last value silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Json]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                problem = f"key {key.value!r} appears twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        mapping: dict[Hashable, Json] = super().construct_mapping(node, deep)
        return mapping


def load_yaml(text: str, where: str) -> Json:
    """Parse YAML; `where` names the file in errors. Raises RecipeError with the line of the fault."""
    try:
        content: Json = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise RecipeError(f"{where}{line}: not valid YAML ({problem}).") from error
    return content


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
    """Return the folder `lm_eval_tasks` or `recipes`, in the wheel or beside the package in a checkout."""
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the folder {name!r} of mergekit-finance is missing; reinstall the package")


def writable_folder(folder: Path) -> str | None:
    """Return why files cannot be created in `folder` (which may not exist yet), or None if they can."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        return f"{nearest} is not a directory"
    return None if os.access(nearest, os.W_OK) else f"{nearest} is not writable"


# ---- names and text that other people wrote


def is_name(text: object) -> TypeGuard[str]:
    """Return whether `text` is one printable line without markup characters of Markdown or HTML."""
    return isinstance(text, str) and text.strip() != "" and text.isprintable() and not set("<>`") & set(text)


def is_folder(text: object) -> TypeGuard[str]:
    """Return whether `text` is the plain name of a folder, with no path separators."""
    return isinstance(text, str) and text not in ("", ".", "..") and not set("/\\\0\n\r") & set(text)


def require_folders(path: Path, folders: Iterable[object]) -> None:
    """Raise DataError if a folder that the file `path` names is not a plain name."""
    for folder in folders:
        if not is_folder(folder):
            raise DataError(f"{path}: {folder!r} is not a folder under points/. Run the study again.")


def require_names(path: Path, names: Iterable[object]) -> None:
    """Raise DataError if a name in the file `path` is not printable, or contains markup."""
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


def one_line(text: str, max_length: int = 100) -> str:
    """Return untrusted text as one line of printable characters, without markup."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(" ".join(printable.split())[:max_length], quote=False).translate(NO_MARKUP)
