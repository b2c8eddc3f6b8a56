"""Typed models of JSON files, and their reader: writers return models, readers check files with them.

Scores are in `evaluation.columns`, similarities in `similarity.measured`, a card's own files in
`share.card_files`, the other files in `study.schema`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from mergekit_finance import files
from mergekit_finance.errors import DataError, first_problem
from mergekit_finance.files import JsonObject

MAX_NUMBER = 10**12  # larger numbers are damage: figures overflow on them
BoundedFloat = Annotated[float, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
Whole = Annotated[int, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
Weight = Annotated[float, Field(strict=True, gt=0, le=MAX_NUMBER)]  # of a task in means over tasks
# Of a hyperparameter: seeds stay whole numbers; a list is a gradient or filters.
Value = bool | Whole | BoundedFloat | Annotated[str, Field(max_length=255)] | list[JsonValue]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_NUMBER)]


class Part(BaseModel):
    """A file, or a part of one. Unknown keys are ignored: a later version may write more."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    def as_json(self) -> JsonObject:
        """Return what is written to the file. Fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class PartWithNulls(Part):
    """A file, or a part of one, in which null is a value: only fields that were never set are left out."""

    def as_json(self) -> JsonObject:
        """Return what is written to the file, fields in the order of the model."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


FileModel = TypeVar("FileModel", bound=BaseModel)


@dataclass(frozen=True)
class FileReader:
    """Reads the JSON files of one kind of folder, which may come from somebody else.

    Symlinks are refused because they may point outside the folder, FIFOs because reading would block; JSON is
    bounded in depth and size of numbers. What is wrong is a DataError of one line: the file, the problem, and
    the remedy.

    Attributes:
        writer: what writes such folders, for messages: `a study`.
        remedy: the last sentence of every message: how to get an undamaged file.
    """

    writer: str
    remedy: str

    def refuse_link(self, path: Path) -> None:
        """Raise DataError if the path is a symbolic link."""
        if path.is_symlink():
            raise DataError(f"{path}: is a symbolic link, which is not followed. {self.remedy}")

    def read_object(self, path: Path) -> JsonObject:
        """Return a file's JSON object. Raises DataError: missing, a link, damaged, or out of bounds."""
        self.refuse_link(path)
        try:
            return files.read_object(path)
        except files.NotAnObject as error:
            raise self._error(path, "not an object") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}). {self.remedy}") from error

    def read_model(self, model: type[FileModel], path: Path) -> FileModel:
        """Return a file's JSON object as a typed model. Raises DataError."""
        content = self.read_object(path)
        with self.refused(path):
            return model.model_validate(content)

    def optional_object(self, path: Path) -> JsonObject:
        """Return a file's JSON object, empty if it is missing or damaged. Raises DataError for links."""
        self.refuse_link(path)
        try:
            return files.read_object(path)
        except (OSError, ValueError):
            return {}

    def optional_model(self, model: type[FileModel], path: Path) -> FileModel | None:
        """Return a file as a typed model, None if it is missing or damaged. Raises DataError for links."""
        try:
            return model.model_validate(self.optional_object(path))
        except ValidationError:
            return None

    @contextmanager
    def refused(self, path: Path) -> Iterator[None]:
        """Turn a ValidationError that is raised in here into a DataError about the file."""
        try:
            yield
        except ValidationError as error:
            raise self._error(path, first_problem(error)) from error

    def _error(self, path: Path, problem: str) -> DataError:
        return DataError(f"{path}: not what {self.writer} writes ({problem}). {self.remedy}")
