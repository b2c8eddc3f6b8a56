"""Results of other lm-eval runs beside those of a study, once their tasks, rows and prompts were checked.

OUT/imported/<name>/scores.json     Columns by task, with the items of the study
                    import.json     ImportFile: where they come from, and what was not imported
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mergekit_finance.errors import DataError
from mergekit_finance.file_models import Part
from mergekit_finance.files import is_name, write_json
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.statistics.totals import named_aggregation
from mergekit_finance.study.read_files import read_model, read_scores, refuse_link
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Columns

FOLDER = "imported"
AGAIN = "Import it again, or remove the folder."


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


def write_imported(results: StudyResults, folder_name: str, imported: Imported) -> Path:
    """Write an imported model into a study's folder, and return its folder."""
    folder = results.folder / FOLDER / folder_name
    for place in (folder.parent, folder):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise DataError(
                f"{place}: is a link or not a folder. Remove it: imported models are written there."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", {task: one.as_json() for task, one in imported.columns.items()})
    write_json(folder / "import.json", imported.file.as_json(), indent=1)
    return folder


def read_imported(results: StudyResults) -> list[Imported]:
    """Return the imported models of a study, by name.

    Raises:
        DataError: a file is damaged, or of other items than the study's.
    """
    models = []
    for path in sorted((results.folder / FOLDER).glob("*/import.json")):
        refuse_link(path.parent)
        file = read_model(ImportFile, path)
        for name in (file.name, file.backend or "-", *file.tasks):
            if not is_name(name):
                raise DataError(f"{path}: {name!r} is not a valid name. {AGAIN}")
        if unknown := [task for task in file.tasks if task not in results.tasks]:
            raise DataError(f"{path}: {unknown[0]!r} is not a task of this study. {AGAIN}")
        columns = read_scores(path.with_name("scores.json"), file.tasks)
        for task, rows in columns.items():
            if rows.items != results.columns("base")[task].items:
                raise DataError(f"{path.parent}: {task} has other items than the study. {AGAIN}")
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
        one = scores_of(results, task, columns | {"imported": imported.columns[task]})
        scores[task] = one.take(~np.array(results.is_selection_item(task), dtype=bool))
    draws = list(aligned(scores).values())
    return bootstrap(draws, results.study.resamples, results.study.seed), tasks


def scores_of(results: StudyResults, task: str, columns: Mapping[str, Columns]) -> TaskScores:
    """Return the scores of models on a task of a study.

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
        raise DataError(f"{results.folder / FOLDER}: scores of {task} are damaged. {AGAIN}") from error
