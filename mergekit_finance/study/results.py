"""The only reader of a study folder: checked files, and scores as the statistics need them.

A study folder may come from somebody else: see `read_files` for how a file is read. Names are checked before
they are shown and folder names before they are opened. What is wrong is a DataError of one line that names
the file. Scores and samples are read when they are first used.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.files import (
    JsonObject,
    parse_json,
    read_text,
    require_folders,
    require_names,
)
from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.statistics.totals import named_aggregation
from mergekit_finance.study.config import Study
from mergekit_finance.study.objective_tasks import KINDS
from mergekit_finance.study.read_files import (
    AGAIN,
    check_index,
    optional_model,
    optional_object,
    read_model,
    read_object,
    read_scores,
    read_tasks,
    refuse_link,
    refused,
)
from mergekit_finance.study.schema import (
    FORMAT,
    Columns,
    CombinationResult,
    Effects,
    Evaluated,
    Index,
    Key,
    ModelEntry,
    ModelResult,
    PointEntry,
    PointResult,
    RaceResult,
    StudyFile,
    StudySimilarity,
    Summary,
    TaskInfo,
    TaskSet,
)
from mergekit_finance.study.split import has_split, models_with_other_items, selection_items


@dataclass(frozen=True)
class StudyResults:
    """The results of one study. Models are named `base`, by expert, or by point.

    Attributes:
        folder: the study's folder.
        study: study.yml as it was run.
        limit: items of every task that were evaluated; None for all.
        all_tasks: by name, as tasks.json has them.
        models: base and experts.
        points: the merges, in the order of the grids.
        with_text: treat the text of every task as allowed to be shown.
        races: by combination, what was asked of the settings that are not in `points`; None without a search.
        partial_summary: the answer of the finished part of an unfinished study; else None.
        missing_merges: the number of its merges that are not evaluated yet.
    """

    folder: Path
    study: Study
    limit: int | None
    all_tasks: dict[str, TaskInfo]
    models: dict[str, ModelEntry]
    points: dict[str, PointEntry]
    with_text: bool = False
    races: dict[str, RaceResult] | None = None
    partial_summary: Summary | None = None
    missing_merges: int = 0
    _columns: dict[str, dict[str, Columns]] = field(default_factory=dict, repr=False, compare=False)
    _samples: dict[str, list[JsonObject]] = field(default_factory=dict, repr=False, compare=False)

    # ---- names

    @cached_property
    def tasks(self) -> dict[str, TaskInfo]:
        """The tasks with scores in [0, 1] of single items; all means are over these."""
        return {name: task for name, task in self.all_tasks.items() if task.is_averaged}

    @cached_property
    def other_tasks(self) -> dict[str, TaskInfo]:
        """The tasks in units of their own, or without scores of items: see `analysis.units`."""
        return {name: task for name, task in self.all_tasks.items() if not task.is_averaged}

    @property
    def singles(self) -> list[str]:
        """The base, then the experts by name."""
        return sorted(self.models, key=lambda name: (name != "base", name))

    @property
    def experts(self) -> list[str]:
        """The experts, by name."""
        return [name for name in self.singles if name != "base"]

    @cached_property
    def combinations(self) -> dict[str, CombinationResult]:
        """The combinations of summary.json, by stage, then by name."""
        rows = self.summary.combinations
        return {name: rows[name] for name in sorted(rows, key=lambda name: (rows[name].stage, name))}

    @cached_property
    def chosen(self) -> list[str]:
        """The selected point of every combination."""
        return [combination.selected for combination in self.combinations.values()]

    @cached_property
    def selected(self) -> list[str]:
        """The selected points of every combination: over all operators, then per operator."""
        names = [
            name for row in self.combinations.values() for name in (row.selected, *row.by_operator.values())
        ]
        return [name for name in dict.fromkeys(names) if name in self.summary.selected]

    @cached_property
    def task_names(self) -> list[str]:
        """The tasks of the macro averages by their skills, then probes, then retention."""

        def rank(name: str) -> tuple[int, int, list[str], str]:
            task = self.tasks[name]
            kind = KINDS.index(task.kind) if task.kind in KINDS else len(KINDS)
            return kind, len(task.skills), task.skills, name

        return sorted(self.tasks, key=rank)

    def of_kind(self, kind: str) -> list[str]:
        """Return the tasks of a kind: tasks, retention or probes."""
        return [name for name, task in self.tasks.items() if task.kind == kind]

    @cached_property
    def macro(self) -> list[str]:
        """The tasks that macro averages are over."""
        return self.of_kind("tasks")

    def within(self, skills: frozenset[str]) -> list[str]:
        """Return the tasks and probes that need only these skills."""
        names = [name for name, task in self.tasks.items() if task.kind != "retention"]
        return [name for name in names if self.tasks[name].skills and set(self.tasks[name].skills) <= skills]

    def constituents(self, point: str) -> list[str]:
        """Return the names of a point's constituents: models, or with `chain: best` points."""
        models = {model.reference: name for name, model in self.models.items()}
        folders = {entry.folder: name for name, entry in self.points.items()}
        references = self.points[point].references
        return [models[r] if r in models else folders[Path(r).name] for r in references]

    def base_and_experts(self, point: str) -> list[str]:
        """Return the base and the experts that the point is about, as they were before any merge."""
        return ["base", *self.points[point].combination]

    def place(self, name: str) -> Path:
        """Return the folder of a model's or point's results."""
        entry = self.models[name] if name in self.models else self.points[name]
        return self.folder / "points" / entry.folder

    # ---- summary.json and similarity.json

    @cached_property
    def summary(self) -> Summary:
        """The answer of the study. Raises DataError if it is damaged or of other results than index.json."""
        if self.partial_summary is not None:
            return self.partial_summary
        path = self.folder / "summary.json"
        content = read_object(path)
        if content.get("format") not in (1, FORMAT):
            raise DataError(
                f"{path}: has format {content.get('format')!r}, and this version reads 1 to {FORMAT}. {AGAIN}"
            )
        with refused(path):
            summary = Summary.model_validate(content)
        results: dict[str, Evaluated] = {**summary.models, **summary.points}
        entries: dict[str, ModelEntry | PointEntry] = {**self.models, **self.points}
        require_folders(path, (result.folder for result in results.values()))
        for name, result in results.items():
            if name not in entries or entries[name].folder != result.folder:
                raise DataError(f"{path}: {name} belongs to other results than those in index.json. {AGAIN}")
        return summary

    def measured(self, name: str) -> ModelResult | PointResult:
        """Return the scores of a model or point."""
        models = self.summary.models
        return models[name] if name in models else self.summary.points[name]

    def effects(self, combination: str) -> Effects:
        """Return the effects of a combination's selected point."""
        return self.summary.selected[self.combinations[combination].selected]

    def tested(self, combination: str) -> tuple[str, TaskSet]:
        """Return the set of tasks that shows a combination's skills: `own`, or `macro` where it is empty.

        The set `named` is not used: for a single expert it contains retention tasks, too.
        """
        sets = self.effects(combination).sets
        name = "own" if "own" in sets else "macro"
        return name, sets[name]

    @cached_property
    def similarity(self) -> Similarity | None:
        """The measures in similarity.json; None if there are none."""
        path = self.folder / "similarity.json"
        if not path.exists() and not path.is_symlink():
            return None
        return read_model(StudySimilarity, path).measured

    # ---- items

    def columns(self, name: str) -> dict[str, Columns]:
        """Return a model's scores.json: the study's tasks, each with one row per item."""
        if name not in self._columns:
            path = self.place(name) / "scores.json"
            if not path.is_file():
                raise DataError(f"{path.parent}: results are missing. {AGAIN}")
            self._columns[name] = read_scores(path, self.all_tasks)
        return self._columns[name]

    def require_results(self, names: Iterable[str]) -> None:
        """Raise DataError unless the scores of these models are there, of the same items as the base's."""
        for name in names:
            for task, rows in self.columns(name).items():
                if rows.items != self.columns("base")[task].items:
                    raise DataError(
                        f"{self.place(name)}: was evaluated on other items than the base. {AGAIN}"
                    )

    def correct(self, name: str, task: str) -> list[bool]:
        """Return for every item whether the model's answer is right."""
        return [float(value) > 0.5 for value in self.columns(name)[task].correct]

    def items(self, task: str) -> list[str]:
        """Return the ids of a task's items."""
        return [str(item) for item in self.columns("base")[task].items]

    def is_selection_item(self, task: str) -> list[bool]:
        """Return for every item whether it selected hyperparameters, and is therefore not reported."""
        if not self.summary.selection.is_split:
            return [False] * len(self.items(task))
        return [bool(side) for side in self._selection_items[task]]

    def text_allowed(self, task: str) -> bool:
        """Return whether the text of a task's items may be shown: tasks.json and summary.json both say so."""
        if self.with_text:
            return True
        infos = (self.all_tasks.get(task), self.summary.all_tasks.get(task))
        return all(info is not None and info.text_may_be_shared for info in infos)

    def samples(self, task: str) -> list[JsonObject]:
        """Return the base's samples, one per item; empty if they were not kept or are damaged."""
        if task not in self._samples:
            rows: dict[int, JsonObject] = {}
            for line in self.sample_lines("base", task):
                try:
                    row = parse_json(line)
                    if isinstance(row, dict):
                        rows.setdefault(int(row["doc_id"]), row)
                except (ValueError, TypeError, KeyError, OverflowError):
                    continue  # without its text an item can still be reported
            self._samples[task] = [rows[number] for number in sorted(rows)]
        return self._samples[task]

    def sample_lines(self, name: str, task: str) -> list[str]:
        """Return the lines of a model's samples of a task, as lm-eval wrote them; empty if there are none."""
        try:
            return read_text(self.sample_file(name, task), errors="replace").split("\n")
        except OSError:
            return []

    def sample_file(self, name: str, task: str) -> Path:
        """Return where a model's samples of a task are stored, if they are."""
        return self.place(name) / f"samples_{task}.jsonl"

    def host_results(self, name: str) -> JsonObject:
        """Return lm-eval's results of a model; empty if they are gone or damaged."""
        return optional_object(self.place(name) / "results.json")

    def key(self, name: str) -> Key:
        """Return what a model's results depend on; empty if it is gone or damaged."""
        return optional_model(Key, self.place(name) / "key.json") or Key()

    def recipe_text(self, point: str) -> str:
        """Return a point's mergekit recipe as the study wrote it, else as index.json has it."""
        try:
            return read_text(self.place(point) / "recipe.yml", errors="replace")
        except OSError:
            recipe = self.points[point].recipe.as_json()
            return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)

    # ---- scores for the statistics

    @cached_property
    def full(self) -> dict[str, TaskScores]:
        """Every task on all its items. Raises DataError if models were evaluated on different items."""
        tables = {name: self.columns(name) for name in (*self.models, *self.points)}
        if others := models_with_other_items(tables):
            raise DataError(
                f"{self.folder}: results of {others[0]} are on other rows than those of the other models. "
                f"Remove points/{self.place(others[0]).name} and run the study again."
            )
        return aligned({task: self._task_scores(task) for task in self.tasks})

    @cached_property
    def other_scores(self) -> dict[str, TaskScores]:
        """The other tasks with scores of items, on the items that are reported; more is better."""
        tasks = [name for name, task in self.other_tasks.items() if task.per_item]
        scores = {task: self._task_scores(task) for task in tasks}
        if self.splits:
            scores = {task: rows.take(~self._selection_items[task]) for task, rows in scores.items()}
        return aligned(scores)

    def whole_value(self, name: str, task: str) -> float:
        """Return a model's value of a task without scores of items, as the task computed it."""
        value = self.columns(name)[task].value
        if value is None:
            raise DataError(f"{self.place(name)}: scores.json has no value of task {task}. {AGAIN}")
        return value

    def _task_scores(self, task: str) -> TaskScores:
        info = self.all_tasks[task]
        dataset = info.dataset  # cluster `12` of one dataset is not cluster `12` of another
        columns = {name: self.columns(name)[task] for name in (*self.models, *self.points)}
        aggregation = named_aggregation(info.aggregation)
        try:
            return task_scores(
                task,
                [f"{dataset}/{cluster}" for cluster in columns["base"].clusters],
                {name: rows.score for name, rows in columns.items()},
                aggregation,
                {name: rows.correct for name, rows in columns.items()},
                info.weight,
                info.lower_is_better,
            )
        except (ValueError, TypeError) as error:  # values of another kind than the aggregation takes
            raise DataError(
                f"{self.folder}: scores of task {task} are damaged ({first_line(error)}). {AGAIN}"
            ) from error

    @cached_property
    def _selection_items(self) -> dict[str, np.ndarray]:
        clusters = {task: rows.clusters for task, rows in self.columns("base").items()}
        datasets = {name: task.dataset for name, task in self.all_tasks.items()}
        return selection_items(clusters, datasets, self.study.selection.share, self.study.selection.seed)

    @property
    def splits(self) -> bool:
        """Whether some items select hyperparameters and the others are reported."""
        return bool(self.macro) and has_split(self.study)

    @cached_property
    def selection(self) -> dict[str, TaskScores]:
        """Every task on the items that select hyperparameters."""
        if not self.splits:
            return self.full
        return aligned({task: rows.take(self._selection_items[task]) for task, rows in self.full.items()})

    @cached_property
    def report(self) -> dict[str, TaskScores]:
        """Every task on the items that are reported."""
        if not self.splits:
            return self.full
        return aligned({task: rows.take(~self._selection_items[task]) for task, rows in self.full.items()})


def load_results(folder: Path, with_text: bool = False, finished: bool = True) -> StudyResults:
    """Read a study folder and check its files; scores and samples are read when they are first used.

    Args:
        folder: what `mergekit-finance study` wrote to.
        with_text: treat the text of every task as allowed to be shown.
        finished: read summary.json too; False where only scores are needed.

    Returns:
        The study, its tasks, models and points, its summary, and access to scores and samples. Scores are in
        [0, 1].

    Raises:
        DataError: no finished study is there, or a file is damaged, a link, or of another format; one line
            that names the file.
    """
    require_finished(folder, summary=finished)
    for path in (folder / "points", *(folder / "points").glob("*")):
        refuse_link(path)
    study = read_model(StudyFile, folder / "study.json")
    path = folder / "tasks.json"
    tasks = read_tasks(path)
    require_names(path, tasks)
    index = read_model(Index, folder / "index.json")
    check_index(folder / "index.json", index)
    results = results_of(folder, study.study, study.limit, tasks, index, with_text)
    if finished:
        _ = results.summary, results.similarity  # damaged files are named before anything is made of them
    return results


def results_of(
    folder: Path,
    study: Study,
    limit: int | None,
    tasks: dict[str, TaskInfo],
    index: Index,
    with_text: bool = False,
) -> StudyResults:
    """Return the results that `index` names; the folder may hold other studies' results too."""
    points = {point.name: point for point in index.points}
    return StudyResults(folder, study, limit, tasks, index.models, points, with_text, index.races)


def require_finished(folder: Path, summary: bool = True) -> None:
    """Raise DataError in one line unless a finished study is in the folder."""
    names = ("index.json", "summary.json") if summary else ("index.json",)
    if all((folder / name).is_file() for name in names):
        return
    if (folder / "gain.json").is_file():
        raise DataError(f"{folder}: holds the results of `mergekit-finance run`, not of a study.")
    if any((folder / name).exists() for name in ("study.json", "index.json", "points")):
        raise DataError(
            f"{folder}: this study is not finished. Run the same `mergekit-finance study` command again; it "
            "continues."
        )
    raise DataError(f"{folder}: no finished study here. Run `mergekit-finance study study.yml -o {folder}`.")
