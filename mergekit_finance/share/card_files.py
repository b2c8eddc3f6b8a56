"""The files that `card` adds to those of the study, as typed models, and the reader of a card's folder.

results/models.json   CardModels    the source models and their licenses
        files.json    CardFiles     the files that `card` wrote: name -> sha256
        summary.json  CardSummary   of the study: only what decides which files may be shared
"""

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, JsonValue, StrictBool, StrictStr

from mergekit_finance.checks.output import CARD_MANIFEST
from mergekit_finance.errors import DataError
from mergekit_finance.file_models import FileModel, FileReader, Part
from mergekit_finance.files import require_names, strings
from mergekit_finance.share.source_models import SourceModel

MODELS = "results/models.json"
MODELS_BEFORE = "results/parents.json"  # the same, with the key `parents`, in older cards
MANIFEST = CARD_MANIFEST
SUMMARY = "results/summary.json"
MEASURED = ("results/scores.json", "results/key.json")  # the scores of the merge, and what they depend on
REMEDY = "Make the card again."

CARD_FILES = FileReader("`mergekit-finance card`", REMEDY)


class CardModels(Part):
    """models.json: the models that the point merges, as the card was made with.

    Attributes:
        name: the merge's name on the card; older cards have none.
        text_may_be_shared: according to the study's tasks.json.
    """

    format: int = 1
    point: str = ""
    name: str = ""
    models: Annotated[list[SourceModel], Field(validation_alias=AliasChoices("models", "parents"))] = []
    text_may_be_shared: StrictBool = True


class CardFiles(Part):
    """files.json: the files that `card` wrote, name -> sha256."""

    format: int = 1
    files: dict[str, StrictStr]


class SummaryTask(Part):
    """A task in summary.json. Only the value true allows sharing its text, so no other value is refused."""

    text_may_be_shared: JsonValue = None


class SummaryUnit(Part):
    """The tasks of a unit in summary.json."""

    tasks: dict[str, SummaryTask] = {}


class SummaryModel(Part):
    """A model in summary.json."""

    reference: JsonValue = None


class CardSummary(Part):
    """Of summary.json, what decides which files may be shared; older cards may lack the rest."""

    tasks: dict[str, SummaryTask] = {}
    units: list[SummaryUnit] = []
    models: dict[str, SummaryModel] = {}

    @property
    def all_tasks(self) -> list[SummaryTask]:
        """Every task, also those in units of their own."""
        return [*self.tasks.values(), *(task for unit in self.units for task in unit.tasks.values())]


def card_manifest(folder: Path) -> dict[str, str]:
    """Return the files that `card` wrote into this folder: name -> sha256. Raises DataError."""
    return _read(CardFiles, folder / MANIFEST).files


def read_summary(folder: Path) -> CardSummary:
    """Read summary.json of a card's folder. Raises DataError."""
    return _read(CardSummary, folder / SUMMARY)


def read_models(folder: Path) -> CardModels:
    """Read models.json; an older card has it under its old name. Raises DataError."""
    new, old = folder / MODELS, folder / MODELS_BEFORE
    return _read(CardModels, old if not new.exists() and old.exists() else new)


def stored_source_models(folder: Path) -> list[SourceModel]:
    """Return the source models, at least one. Raises DataError if there is none, or the file is damaged."""
    path, content = folder / MODELS, read_models(folder)
    if not content.models:
        raise DataError(f"{path}: lists no models, so licenses are unknown. {REMEDY}")
    require_names(path, strings(content.as_json()["models"]))
    return content.models


def _read(model: type[FileModel], path: Path) -> FileModel:
    """Read a file below results/, which must not be a symbolic link either."""
    CARD_FILES.refuse_link(path.parent)
    return CARD_FILES.read_model(model, path)
