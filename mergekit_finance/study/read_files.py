"""Read single files of a study folder, which may come from somebody else.

Symlinks are refused because they may point outside the folder, FIFOs because reading would block; JSON is
bounded in depth and size of numbers. What is wrong is a DataError of one line that names the file.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from mergekit_finance.errors import DataError, first_problem
from mergekit_finance.files import JsonObject, read_json
from mergekit_finance.study.schema import Columns, TaskInfo

AGAIN = "To repair it, run the study again."
FileModel = TypeVar("FileModel", bound=BaseModel)
TASKS = TypeAdapter(dict[str, TaskInfo])
SCORES = TypeAdapter(dict[str, Columns])


def refuse_link(path: Path) -> None:
    """Raise DataError if the path is a symbolic link."""
    if path.is_symlink():
        raise DataError(f"{path}: is a symbolic link, which is not followed. {AGAIN}")


def read_object(path: Path) -> JsonObject:
    """Read a JSON object. Raises DataError in one line: missing, a link, damaged, or nested too deep."""
    refuse_link(path)
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {AGAIN}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not what a study writes (not an object). {AGAIN}")
    return content


def read_model(model: type[FileModel], path: Path) -> FileModel:
    """Read a JSON file as a typed model. Raises DataError in one line."""
    content = read_object(path)
    with refused(path):
        return model.model_validate(content)


def optional_model(model: type[FileModel], path: Path) -> FileModel | None:
    """Read a JSON file that can be done without: None if it is missing or damaged. Links are refused."""
    try:
        return model.model_validate(optional_object(path))
    except ValidationError:
        return None


def read_tasks(path: Path) -> dict[str, TaskInfo]:
    """Read a tasks.json. Raises DataError in one line."""
    content = read_object(path)
    with refused(path):
        return TASKS.validate_python(content)


def read_scores(path: Path, tasks: Collection[str] | None = None) -> dict[str, Columns]:
    """Read a scores.json: all of it, or only some tasks, which must be there. Raises DataError."""
    content = read_object(path)
    for task in tasks or ():
        if task not in content:
            raise DataError(f"{path}: no task {task!r}. {AGAIN}")
    with refused(path):
        return SCORES.validate_python({task: content[task] for task in (content if tasks is None else tasks)})


def optional_object(path: Path) -> JsonObject:
    """Read a JSON object that can be done without: empty if it is missing or damaged. Links are refused."""
    refuse_link(path)
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Raise a DataError of one line for content that a typed model refuses."""
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{path}: not what a study writes ({first_problem(error)}). {AGAIN}") from error
