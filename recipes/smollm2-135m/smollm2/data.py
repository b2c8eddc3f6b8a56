"""The scores of all models: collected from stored results, written as one small file, and read again.

results/scores.json.xz has no text of a dataset: item ids are left out, clusters are hashes, and a score of an
item is a number, a label or counts. Values are stored once for each task; models have indices into them.
"""

import hashlib
import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mergekit_finance.files import Json, JsonObject, atomic_write
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.statistics.totals import named_aggregation, sufficient
from mergekit_finance.study.schema import Columns, TaskInfo
from mergekit_finance.study.split import selection_items

from .points import KINDS

SCORES = "scores.json.xz"
SHARE, SEED = 0.3, 0  # of the clusters of every dataset that select settings


@dataclass(frozen=True)
class Model:
    """A model whose scores are stored.

    Attributes:
        name: `base`, an expert, or the name of a merge.
        combination: the experts of a merge; empty for others.
        operator, values: of a merge.
    """

    name: str
    combination: tuple[str, ...] = ()
    operator: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_merge(self) -> bool:
        return bool(self.combination)

    @property
    def cell(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """Operator and hyperparameters without the seed."""
        return self.operator, tuple((key, value) for key, value in self.values.items() if key != "seed")


@dataclass
class Scores:
    """The scores of all models on all tasks.

    Attributes:
        models: by name.
        tasks: the facts about every task.
        columns: task -> model -> its items. A task may have scores of some models only.
        settings: kind -> the setting that all its merges have, once it is chosen.
        constants: task with written answers -> the score of the best constant answer (see `constants`).
    """

    models: dict[str, Model] = field(default_factory=dict)
    tasks: dict[str, TaskInfo] = field(default_factory=dict)
    columns: dict[str, dict[str, Columns]] = field(default_factory=dict)
    settings: dict[str, tuple[str, Sequence[tuple[str, float]]]] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)

    def add(self, model: Model, by_task: Mapping[str, Columns]) -> None:
        """Add the items of a model. Raises ValueError if they are not those of other models."""
        self.models[model.name] = model
        for task, columns in by_task.items():
            others = self.columns.setdefault(task, {})
            if others and next(iter(others.values())).clusters != columns.clusters:
                raise ValueError(f"{model.name}: other items of {task} than those of other models")
            others[model.name] = columns

    # ---- tasks

    def averaged(self) -> list[str]:
        """Return the tasks with a score in [0, 1]."""
        return [task for task in self.columns if self.tasks[task].is_averaged]

    def in_bits(self) -> list[str]:
        """Return the tasks in bits per byte."""
        return [task for task in self.columns if self.tasks[task].unit == "bits_per_byte"]

    def complete(self, tasks: Iterable[str], models: Iterable[str]) -> list[str]:
        """Return the tasks that all these models were evaluated on."""
        models = list(models)
        return [task for task in tasks if all(name in self.columns[task] for name in models)]

    @cached_property
    def selecting(self) -> dict[str, np.ndarray]:
        """Which items of each task are used to choose settings: task -> (items,) bool."""
        first = {task: next(iter(of_models.values())) for task, of_models in self.columns.items()}
        clusters = {task: columns.clusters for task, columns in first.items()}
        datasets = {task: self.tasks[task].dataset for task in clusters}
        return selection_items(clusters, datasets, SHARE, SEED)

    def table(self, task: str, models: Sequence[str], part: str = "report") -> TaskScores:
        """Return the scores of models on the items of a task: part `report`, `select` or `all`."""
        info, columns = self.tasks[task], self.columns[task]
        first = columns[models[0]]
        whole = task_scores(
            task,
            first.clusters,
            {name: columns[name].score for name in models},
            named_aggregation(info.aggregation),
            {name: [float(right) for right in columns[name].correct] for name in models},
            lower_is_better=info.lower_is_better,
        )
        if part == "all":
            return whole
        selecting = self.selecting[task]
        return whole.take(selecting if part == "select" else ~selecting)

    def tables(
        self, tasks: Sequence[str], models: Sequence[str], part: str = "report"
    ) -> dict[str, TaskScores]:
        """Return the scores of several tasks; tasks that share clusters share their draws."""
        return aligned({task: self.table(task, models, part) for task in tasks})

    def chance(self, task: str) -> float:
        """Return the score of the better of two models that know nothing.

        One chooses an option at random; the other gives the same answer everywhere, the best one for the
        score. The latter is computed from scores of (gold, answer) labels; of written answers it is stored.
        """
        columns = next(iter(self.columns[task].values()))
        options = np.array(columns.options, dtype=float)
        uniform = float(np.mean(np.divide(1.0, options, out=np.zeros_like(options), where=options > 1)))
        labels = [value[-2:] for value in columns.score if isinstance(value, list) and len(value) in (2, 3)]
        if self.tasks[task].generates:
            return max(uniform, self.constants.get(task, 0.0))
        if len(labels) < len(columns.score) or not options.any():
            return uniform
        return max([uniform, *(self._constant(task, columns, label) for label in _distinct(labels))])

    def _constant(self, task: str, columns: Columns, label: Json) -> float:
        """Return the score of a model that always answers `label`."""
        values = [[*value[:-1], label] for value in columns.score if isinstance(value, list)]
        statistics, total = sufficient(named_aggregation(self.tasks[task].aggregation), values)
        return float(total(statistics.sum(0)))


def _distinct(pairs: Sequence[Sequence[Json]]) -> list[Json]:
    """Return the gold labels of (gold, answer) pairs."""
    return list({repr(pair[0]): pair[0] for pair in pairs}.values())


# ---- the file


def write(scores: Scores, path: Path) -> None:
    """Write the scores as compressed JSON."""
    content = {
        "models": [
            {
                "name": model.name, "combination": list(model.combination),
                "operator": model.operator, "values": dict(model.values),
            }
            for model in scores.models.values()
        ],
        "settings": scores.settings,
        "tasks": {task: _task_json(scores, task) for task in sorted(scores.columns)},
    }  # fmt: skip
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    atomic_write(path, lzma.compress(text.encode(), preset=9))


def _task_json(scores: Scores, task: str) -> JsonObject:
    columns = scores.columns[task]
    first = next(iter(columns.values()))
    values: dict[str, int] = {}
    for of_model in columns.values():
        for value in of_model.score:
            values.setdefault(_text(value), len(values))
    return {
        "info": scores.tasks[task].as_json(),
        "clusters": [_hashed(cluster) for cluster in first.clusters],
        "options": list(first.options),
        "selecting": [int(flag) for flag in scores.selecting[task]],
        "values": [json.loads(value) for value in values],
        "scores": {
            name: [values[_text(value)] for value in of_model.score] for name, of_model in columns.items()
        },
        "correct": {
            name: "".join("1" if right else "0" for right in of_model.correct)
            for name, of_model in columns.items()
        },
    }


def _text(value: Json) -> str:
    """Return a score as JSON; log-likelihoods are rounded to a thousandth of a nat."""
    numbers = (
        [round(v, 3) if isinstance(v, float) else v for v in value] if isinstance(value, list) else value
    )
    return json.dumps(numbers, ensure_ascii=False)


def _hashed(cluster: str | int) -> str:
    return hashlib.sha256(str(cluster).encode()).hexdigest()[:10]


def read(path: Path) -> Scores:
    """Read the file that `write` wrote."""
    content = json.loads(lzma.decompress(path.read_bytes()))
    settings = content["settings"]
    scores = Scores(settings={kind: settings[kind] for kind in KINDS if kind in settings})
    for model in content["models"]:
        name, combination = model["name"], tuple(model["combination"])
        scores.models[name] = Model(name, combination, model["operator"], model["values"])
    scores.selecting = {}
    for task, stored in content["tasks"].items():
        scores.tasks[task] = TaskInfo.model_validate(stored["info"])
        scores.selecting[task] = np.array(stored["selecting"], dtype=bool)
        scores.columns[task] = {
            name: Columns(
                items=list(range(len(stored["clusters"]))),
                clusters=stored["clusters"],
                score=[stored["values"][index] for index in indices],
                correct=[float(right) for right in stored["correct"][name]],
                options=stored["options"],
            )
            for name, indices in stored["scores"].items()
        }
    return scores
