"""Results that a ranking reads: the folder of a study, or a card's folder as `card` wrote it.

Both may come from somebody else. Their files are typed and checked when they are read, names are refused
unless they are plain text, and scores must be those of the stored keys.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mergekit_finance.errors import DataError, counted
from mergekit_finance.files import require_names, sha256_file, strings
from mergekit_finance.report import labels
from mergekit_finance.share.card_files import (
    CARD_FILES,
    MANIFEST,
    MEASURED,
    SUMMARY,
    card_manifest,
    read_models,
)
from mergekit_finance.share.provenance import require_provenance, require_stored_key
from mergekit_finance.statistics.bootstrap import DRAWS
from mergekit_finance.study.config import Study
from mergekit_finance.study.imported import read_imported
from mergekit_finance.study.read_files import SCORES
from mergekit_finance.study.results import StudyResults, load_results
from mergekit_finance.study.schema import Columns, Key, Summary, TaskInfo
from mergekit_finance.study.split import has_split, selection_items

CARD_RESULTS = (SUMMARY, *MEASURED)
AGAIN = "Make the card again."


@dataclass(frozen=True)
class RankedModel:
    """A model with the scores of its items.

    Attributes:
        name: what it is called, such as `finance + math`.
        how: operator and hyperparameters, or `not merged`.
        key: what its scores depend on; models with equal keys are the same.
        columns: its items by task.
        backend: of a model whose results were imported from another lm-eval run; "" of others.
    """

    name: str
    how: str
    key: Key
    columns: Mapping[str, Columns]
    backend: str = ""


@dataclass(frozen=True)
class RankedResults:
    """The models of one study or card.

    Attributes:
        name: of the source: its folder, or the name before `=`.
        tasks: the tasks with scores in [0, 1] of single items.
        models: at least one.
        reported: by task, whether each item is reported: the others selected hyperparameters.
        is_optimistic: whether hyperparameters were selected on the reported items.
        resamples, seed: of the study's bootstrap.
        left_out: imported models that cannot be ranked, with the reason.
    """

    name: str
    tasks: Mapping[str, TaskInfo]
    models: list[RankedModel]
    reported: Mapping[str, np.ndarray]
    is_optimistic: bool
    resamples: int = DRAWS
    seed: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_results(name: str, folder: Path) -> RankedResults:
    """Read a study's or a card's folder.

    Args:
        name: what the source is called.
        folder: of a finished study (its base, experts and selected merges are read), or of a card.

    Raises:
        DataError: the folder is neither, or a file is damaged or was changed.
    """
    if (folder / MANIFEST).is_file():
        return _read_card(name, folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder}: {problem}. Name a study's folder, or one that `card` wrote.")
    return _read_study(name, load_results(folder))


def _read_study(name: str, results: StudyResults) -> RankedResults:
    """Return base, experts, the selected merge of every combination, and imported models."""
    models = []
    for single in results.singles:
        key = require_stored_key(results.place(single))
        models.append(RankedModel(single, "not merged", key, _averaged_columns(results, single)))
    for merge in dict.fromkeys(results.chosen):
        require_provenance(results, merge)
        point = results.points[merge]
        columns, title = _averaged_columns(results, merge), labels.combination(point.combination)
        models.append(RankedModel(title, labels.operator_and_values(point), results.key(merge), columns))
    imported, left_out = _imported(results)
    ranked = _results(name, results.tasks, [*models, *imported], results.study)
    return replace(ranked, left_out=left_out)


def _imported(results: StudyResults) -> tuple[list[RankedModel], dict[str, str]]:
    """Return the imported models that have all tasks, and why the others are left out.

    Import has checked versions, rows and prompts, so their keys are those of the base with another model.
    """
    base, models, left_out = require_stored_key(results.place("base")), [], {}
    for one in read_imported(results):
        if missing := [task for task in results.tasks if task not in one.columns]:
            left_out[one.file.name] = f"imported without task {labels.task_name(missing[0])}"
            continue
        key = base.model_copy(update={"model": f"imported {one.file.sha256}"})
        backend = one.file.backend or "an unknown backend"
        models.append(RankedModel(one.file.name, f"imported ({backend})", key, one.columns, backend))
    return models, left_out


def _averaged_columns(results: StudyResults, model: str) -> dict[str, Columns]:
    return {task: results.columns(model)[task] for task in results.tasks}


def _read_card(name: str, folder: Path) -> RankedResults:
    """Return the merge of a card. Its files must be those that `card` wrote, and belong together."""
    recorded, card = card_manifest(folder), read_models(folder)
    for file in CARD_RESULTS:
        CARD_FILES.refuse_link(folder / file)
        if not (folder / file).is_file() or sha256_file(folder / file) != recorded.get(file):
            raise DataError(f"{folder / file}: is not what `card` wrote. {AGAIN}")
    summary = CARD_FILES.read_model(Summary, folder / SUMMARY)
    key = CARD_FILES.read_model(Key, folder / "results/key.json")
    point = summary.points.get(card.point)
    if point is None or point.folder != f"{card.point}-{key.digest}":
        raise DataError(f"{folder / 'results/key.json'}: belongs to another merge than the card. {AGAIN}")
    title = card.name or labels.combination(point.combination)
    tasks: dict[str, TaskInfo] = {task: info for task, info in summary.tasks.items() if info.is_averaged}
    require_names(folder / SUMMARY, [title, *tasks, *strings(point.as_json())])
    columns = _columns(folder / "results/scores.json", tasks)
    how = f"{labels.combination(point.combination)} {labels.operator_and_values(point)}"
    return _results(name, tasks, [RankedModel(title, how, key, columns)], summary.study)


def _columns(path: Path, tasks: Mapping[str, TaskInfo]) -> dict[str, Columns]:
    content = CARD_FILES.read_object(path)
    if missing := [task for task in tasks if task not in content]:
        raise DataError(f"{path}: no task {missing[0]!r}. {AGAIN}")
    with CARD_FILES.refused(path):
        return SCORES.validate_python({task: content[task] for task in tasks})


def _results(
    name: str, tasks: Mapping[str, TaskInfo], models: list[RankedModel], study: Study
) -> RankedResults:
    columns = models[0].columns
    reported = {task: np.ones(len(rows.items), dtype=bool) for task, rows in columns.items()}
    if has_split(study):
        clusters = {task: rows.clusters for task, rows in columns.items()}
        datasets = {task: info.dataset for task, info in tasks.items()}
        selection = study.selection
        selecting = selection_items(clusters, datasets, selection.share, selection.seed)
        reported = {task: ~of_task for task, of_task in selecting.items()}
    return RankedResults(
        name, tasks, models, reported, study.selection.same_items, study.resamples, study.seed
    )


# ---- which results can be compared

# What must be equal in the keys of two models.
COMPARED: Mapping[str, Callable[[Key], object]] = {
    "engine": lambda key: key.engine,
    "dtype": lambda key: key.dtype,
    "max_gen_toks": lambda key: key.max_gen_toks,
    "format of scores": lambda key: key.format,
    "code that builds requests": lambda key: key.request_code,
    "code that computes scores": lambda key: key.score_code,
}
OF_TASK = {
    "version": "another version",
    "definition": "another definition (prompt or metric)",
    "data": "other rows of the dataset",
}


def difference(results: RankedResults, reference: RankedResults) -> str:
    """Return why results cannot be compared with those of the reference, or "" if they can."""
    averaged, others = (_averaged(one) for one in (reference, results))
    if averaged != others:
        names = sorted(averaged ^ others)
        which = "lacks" if names[0] in averaged else "also has"
        return f"{which} task {labels.task_name(names[0])}"
    for task in (task for task in reference.tasks if task in results.tasks):
        if problem := _task_difference(task, results, reference):
            return f"task {labels.task_name(task)}: {problem}"
    for model in (*reference.models, *results.models):
        for words, part in COMPARED.items():
            value, expected = part(model.key), part(reference.models[0].key)
            if value != expected:
                values = f": {value} and {expected}" if words in ("engine", "dtype", "max_gen_toks") else ""
                return f"another {words}{values}"
    return ""


def _averaged(results: RankedResults) -> set[str]:
    return {name for name, task in results.tasks.items() if task.kind == "tasks"}


def _task_difference(task: str, results: RankedResults, reference: RankedResults) -> str:
    """Return what differs in a task's items, version, definition, rows or weight, or ""."""
    here, there = results.tasks[task], reference.tasks[task]
    first = reference.models[0]
    for part, words in OF_TASK.items():
        expected = first.key.tasks.get(task, {}).get(part)
        for model in (*reference.models, *results.models):
            value = model.key.tasks.get(task, {}).get(part)
            if value is None or value != expected:
                return f"{words}{f': {value} and {expected}' if part == 'version' else ''}"
    for attribute in ("aggregation", "weight", "kind"):
        if getattr(here, attribute) != getattr(there, attribute):
            return f"another {attribute}"
    for model in results.models:
        items, expected_items = model.columns[task].items, first.columns[task].items
        if items != expected_items:
            numbers = f"{counted(len(items), 'item')}, not {len(expected_items)}"
            return numbers if len(items) != len(expected_items) else "other items"
    return ""
