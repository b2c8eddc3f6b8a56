"""What others' files say, made safe to show and to open: names, folders, numbers, one line of text."""

import html
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError

DEEPEST = 100  # levels of JSON: more is a trap for whoever walks through it
HARMLESS = str.maketrans({"`": "'", "[": "(", "]": ")", "|": "/"})


def is_name(text: Any) -> bool:
    """Printable, in one line, and nothing that Markdown or HTML would take for markup."""
    return isinstance(text, str) and text.strip() != "" and text.isprintable() and not set("<>`") & set(text)


def is_folder(text: Any) -> bool:
    """A plain name of a folder: nothing that leads elsewhere."""
    return isinstance(text, str) and text not in ("", ".", "..") and not set("/\\\0\n\r") & set(text)


def require_folders(path: Path, folders: Iterable[Any]) -> None:
    for folder in folders:
        if not is_folder(folder):
            raise DataError(f"{path}: {folder!r} is no folder under points/; run the study again")


def require_names(path: Path, names: Iterable[Any]) -> None:
    for name in names:
        if not is_name(name):
            raise DataError(f"{path}: {name!r} is no name: one line of printable characters without < > `")


def strings(content: Any) -> Iterable[str]:
    """All strings in JSON, keys too."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for part in content:
            yield from strings(part)
        for part in content.values() if isinstance(content, dict) else ():
            yield from strings(part)


def line(text: str, most: int = 100) -> str:
    """Somebody's text as one line of printable characters, without markup."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(" ".join(shown.split())[:most], quote=False).translate(HARMLESS)


def parse(text: str) -> Any:
    """JSON of finite numbers only, and not too deep. Raises ValueError."""
    try:
        found = json.loads(text, parse_constant=_number, parse_float=_number)
    except RecursionError as fault:
        raise ValueError("nested too deep") from fault
    _require_shallow(found)
    return found


def _require_shallow(content: Any) -> None:
    """Level by level: what C can parse may be too deep for functions that call themselves."""
    level = [content]
    for _ in range(DEEPEST):
        level = [part for x in level for part in _parts(x)]
    if level:
        raise ValueError("nested too deep")


def _parts(content: Any) -> Iterable[Any]:
    if isinstance(content, dict):
        return content.values()
    return content if isinstance(content, list) else ()


def _number(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise ValueError(f"{text} is no finite number")
    return found


_PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """Return the folder `lm_eval_tasks` or `recipes`, in the wheel or beside the package in a checkout."""
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the folder {name!r} of mergekit-finance is missing; reinstall the package")
