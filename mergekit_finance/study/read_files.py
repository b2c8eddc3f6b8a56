"""Read single files of a study folder: what is wrong is a DataError of one line that says to run it again."""

from collections.abc import Collection
from pathlib import Path

from pydantic import TypeAdapter

from mergekit_finance.errors import DataError
from mergekit_finance.file_models import FileReader
from mergekit_finance.files import require_folders, require_names, strings
from mergekit_finance.study.schema import Columns, Index, TaskInfo

AGAIN = "To repair it, run the study again."
TASKS = TypeAdapter(dict[str, TaskInfo])
SCORES = TypeAdapter(dict[str, Columns])

STUDY_FILES = FileReader("a study", AGAIN)
read_object = STUDY_FILES.read_object
read_model = STUDY_FILES.read_model
optional_object = STUDY_FILES.optional_object
optional_model = STUDY_FILES.optional_model
refuse_link = STUDY_FILES.refuse_link
refused = STUDY_FILES.refused


def read_tasks(path: Path) -> dict[str, TaskInfo]:
    """Read a tasks.json. Raises DataError in one line."""
    content = read_object(path)
    with refused(path):
        return TASKS.validate_python(content)


def read_scores(
    path: Path, tasks: Collection[str] | None = None, reader: FileReader = STUDY_FILES
) -> dict[str, Columns]:
    """Read a scores.json: all of it, or only some tasks, which must be there. Raises DataError."""
    content = reader.read_object(path)
    for task in tasks or ():
        if task not in content:
            raise DataError(f"{path}: no task {task!r}. {reader.remedy}")
    with reader.refused(path):
        return SCORES.validate_python({task: content[task] for task in (content if tasks is None else tasks)})


def check_index(path: Path, index: Index) -> None:
    """Check the names, folders and references in index.json: they are shown, opened and looked up."""
    if "base" not in index.models:
        raise DataError(f"{path}: no base. {AGAIN}")
    folders = [*(model.folder for model in index.models.values()), *(point.folder for point in index.points)]
    require_folders(path, (*index.models, *(point.name for point in index.points), *folders))
    require_names(path, strings(index.as_json()))
    references = {model.reference for model in index.models.values()}
    merges = {point.folder for point in index.points}
    for point in index.points:
        if unknown := [name for name in point.combination if name not in index.models]:
            raise DataError(f"{path}: {point.name}: no model {unknown[0]!r}. {AGAIN}")
        for reference in point.references:
            if reference not in references and Path(reference).name not in merges:
                raise DataError(f"{path}: {point.name}: {reference!r} is not a model of this study. {AGAIN}")
