"""Results of other lm-eval runs beside those of a study, once their tasks, rows and prompts were checked.

OUT/imported/<name>/scores.json     Columns by task, with the items of the study
                    import.json     ImportFile: where they come from, and what was not imported
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mergekit_finance.errors import DataError
from mergekit_finance.file_models import FileReader, Part
from mergekit_finance.files import file_name, is_name, write_json
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.statistics.totals import named_aggregation
from mergekit_finance.study.imported_scores import impossible_metric
from mergekit_finance.study.read_files import read_scores
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Columns

FOLDER = "imported"


class ImportFile(Part):
    """import.json.

    Attributes:
        name: what the model is called.
        backend: lm-eval's name of the model class, such as `vllm`.
        source: the file of results.
        sha256: of that file.
        tasks: the imported tasks.
        refused: task -> why it was not imported.
    """

    format: Literal[1] = 1
    name: str
    backend: str = ""
    source: str = ""
    sha256: str = ""
    tasks: list[str] = Field(min_length=1)
    refused: dict[str, str] = {}


@dataclass(frozen=True)
class Imported:
    """An imported model: its file, and its items by task, which are those of the study."""

    file: ImportFile
    columns: dict[str, Columns]


def folder_of(results: StudyResults, name: str) -> Path:
    """Return the folder of an imported model."""
    return results.folder / FOLDER / file_name(name)


def remedy(folder: Path) -> str:
    """Return what to do about a damaged file of an imported model."""
    return f"Import it again, or delete {folder}."


def check_name(results: StudyResults, name: str, sha256: str) -> None:
    """Check that a model can be imported under a name: nothing else is in its folder.

    A folder whose import.json is damaged may be written again, which repairs it.

    Raises:
        DataError: another run has the name, or one that differs only in case, or no folder can be there.
    """
    folder = folder_of(results, name)
    for place in (folder.parent, folder):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise DataError(
                f"{place}: is a link or not a folder. Remove it: imported models are written there."
            )
    names = [place.name for place in folder.parent.iterdir()] if folder.parent.is_dir() else []
    for other in names:
        if other != folder.name and other.casefold() == folder.name.casefold():
            raise DataError(only_case(name, other))
    if folder.name not in names:
        return
    old = FileReader("`import`", remedy(folder)).optional_model(ImportFile, folder / "import.json")
    if old and old.sha256 != sha256:
        raise DataError(
            f"{name}: is already imported, from {old.source or 'an unknown file'}. Give this run another "
            f"name: NAME=RESULTS, or delete {folder}."
        )


def only_case(name: str, other: str) -> str:
    """Return the message about a name that differs from another one only in case."""
    return (
        f"{name}: differs only in case from the imported model {other}, and on some disks both have one "
        "folder. Give the model another name: NAME=RESULTS."
    )


def write_imported(results: StudyResults, imported: Imported) -> None:
    """Write an imported model, whose name was checked, into a study's folder."""
    folder = folder_of(results, imported.file.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", {task: one.as_json() for task, one in imported.columns.items()})
    write_json(folder / "import.json", imported.file.as_json(), indent=1)


def read_imported(results: StudyResults, without: Collection[Path] = ()) -> list[Imported]:
    """Return the imported models of a study, by name.

    Args:
        results: the study.
        without: folders that are not read.

    Raises:
        DataError: a file is damaged, or of other items than the study's.
    """
    models = []
    for path in sorted((results.folder / FOLDER).glob("*/import.json")):
        if path.parent in without:
            continue
        again = remedy(path.parent)
        reader = FileReader("`import`", again)
        reader.refuse_link(path.parent)
        file = reader.read_model(ImportFile, path)
        for name in (file.name, file.backend or "-", *file.tasks):
            if not is_name(name):
                raise DataError(f"{path}: {name!r} is not a valid name. {again}")
        if unknown := [task for task in file.tasks if task not in results.tasks]:
            raise DataError(f"{path}: {unknown[0]!r} is not a task of this study. {again}")
        columns = read_scores(path.with_name("scores.json"), file.tasks, reader)
        for task, rows in columns.items():
            base = results.columns("base")[task]
            if rows.items != base.items:
                raise DataError(f"{path.parent}: {task} has other items than the study. {again}")
            if metric := impossible_metric(results.tasks[task], base, rows):
                raise DataError(
                    f"{path.with_name('scores.json')}: {task} has an impossible value of {metric!r}. {again}"
                )
        models.append(Imported(file, columns))
    return models


def compared(results: StudyResults, imported: Imported, others: list[str]) -> tuple[Replicates, list[str]]:
    """Return bootstrap replicates of an imported model and others on the report items, and the macro's tasks.

    Args:
        results: the study.
        imported: the model; it is called "imported" in the replicates.
        others: models and points of the study.
    """
    tasks = [task for task in results.macro if task in imported.columns]
    scores = {}
    for task in tasks:
        columns = {name: results.columns(name)[task] for name in others}
        folder = folder_of(results, imported.file.name)
        one = scores_of(results, task, folder, columns | {"imported": imported.columns[task]})
        scores[task] = one.take(~np.array(results.is_selection_item(task), dtype=bool))
    draws = list(aligned(scores).values())
    return bootstrap(draws, results.study.resamples, results.study.seed), tasks


def scores_of(results: StudyResults, task: str, folder: Path, columns: Mapping[str, Columns]) -> TaskScores:
    """Return the scores of models on a task of a study; `folder` is that of the imported one among them.

    Raises:
        DataError: they have values of another kind than the task's aggregation takes.
    """
    info = results.all_tasks[task]
    try:
        return task_scores(
            task,
            [f"{info.dataset}/{cluster}" for cluster in results.columns("base")[task].clusters],
            {name: rows.score for name, rows in columns.items()},
            named_aggregation(info.aggregation),
            weight=info.weight,
            lower_is_better=info.lower_is_better,
        )
    except (ValueError, TypeError) as error:
        raise DataError(f"{folder}: scores of {task} are damaged. {remedy(folder)}") from error
