"""A study's files as the report opens them: no links, no endless nesting; what is wrong is one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError

DEEPEST = 100  # a study's own files nest less than ten deep
Parser = Callable[[str], Any]


def require_own(out: Path) -> None:
    """points/ and its folders are there themselves: a link would show a file from elsewhere in the page."""
    for folder in (out / "points", *(out / "points").glob("*")):
        refuse_link(folder)


def refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise DataError(f"{path}: is a link, and links are not followed; run the study again")


def text(path: Path, errors: str = "strict") -> str:
    """What a file says. Raises OSError or ValueError where it cannot be read, DataError if it is a link."""
    refuse_link(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for, forever
        raise OSError("is no file")
    return path.read_text(encoding="utf-8", errors=errors)


def lines(path: Path) -> list[str]:
    """Of samples; none where the study did not keep them, or they cannot be read: texts are an extra."""
    try:
        return text(path, "replace").split("\n")
    except OSError:
        return []


def parsed(content: str, parser: Parser = json.loads) -> Any:
    """JSON. Raises ValueError, also where it nests so deep that Python cannot read it, or not show it."""
    try:
        found = parser(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _deep(found):
        raise ValueError("nested too deep")
    return found


def _deep(content: Any) -> bool:
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(DEEPEST):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def read(path: Path, parser: Parser = json.loads) -> dict[str, Any]:
    """A JSON object, or one line on why not."""
    try:
        found = parsed(text(path), parser)
    except (OSError, ValueError) as wrong:
        raise DataError(f"{path}: cannot be read ({wrong}); run the study again") from wrong
    if not isinstance(found, dict):
        raise DataError(f"{path}: not what a study writes; run the study again")
    return found


def extra(path: Path) -> dict[str, Any]:
    """A JSON object that the page can do without: nothing where it is gone or damaged."""
    try:
        found = parsed(text(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
