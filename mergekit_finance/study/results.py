"""A study's folder as the statistics want it: tasks with every model's items, selection and report sides."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError
from mergekit_finance.statistics.data import TaskScores, aligned, task_scores
from mergekit_finance.study.config import Study, parse
from mergekit_finance.study.split import other_rows, sides
from mergekit_finance.study.store import Store
from mergekit_finance.study.tasks import aggregation, splits


@dataclass(frozen=True)
class Loaded:
    """What is stored of one study. Models are named `base`, by expert, or by point."""

    out: Path
    study: Study
    limit: int | None
    tasks: dict[str, dict[str, Any]]  # as tasks.json has them
    models: dict[str, dict[str, Any]]
    points: dict[str, dict[str, Any]]

    @cached_property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Model -> task -> columns, as scores.json has them."""
        store = Store(self.out)
        found = {**self.models, **self.points}
        return {name: store.scores(self.out / "points" / f["folder"]) for name, f in found.items()}

    @cached_property
    def full(self) -> dict[str, TaskScores]:
        """Every task on all its items."""
        if other := other_rows(self.tables):
            folder = (self.models | self.points)[other[0]]["folder"]
            raise DataError(
                f"{self.out}: results of {other[0]} are of other rows than the rest; remove points/{folder} "
                "and run the study again"
            )
        return aligned({task: self._scores(task) for task in self.tasks})

    def _scores(self, task: str) -> TaskScores:
        clusters = next(iter(self.tables.values()))[task]["clusters"]
        dataset = self.tasks[task]["dataset"]  # of two datasets `12` and `12` are no one cluster
        return task_scores(
            task,
            [f"{dataset}/{cluster}" for cluster in clusters],
            {name: table[task]["score"] for name, table in self.tables.items()},
            aggregation(self.tasks[task]["aggregation"]),
            {name: table[task]["correct"] for name, table in self.tables.items()},
        )

    @cached_property
    def _sides(self) -> dict[str, Any]:
        datasets = {task: known["dataset"] for task, known in self.tasks.items()}
        chosen = self.study.selection
        return sides(next(iter(self.tables.values())), datasets, chosen.share, chosen.seed)

    @property
    def splits(self) -> bool:
        """Whether items are split: not where nothing is swept, nor where study.yml says not to."""
        return splits(self.study)

    @cached_property
    def selection(self) -> dict[str, TaskScores]:
        """Every task on the items that choose hyperparameters."""
        if not self.splits:
            return self.full
        return aligned({task: scores.take(self._sides[task]) for task, scores in self.full.items()})

    @cached_property
    def report(self) -> dict[str, TaskScores]:
        """Every task on the items that are reported."""
        if not self.splits:
            return self.full
        return aligned({task: scores.take(~self._sides[task]) for task, scores in self.full.items()})

    def of_kind(self, kind: str) -> list[str]:
        return [task for task, known in self.tasks.items() if known["kind"] == kind]

    @cached_property
    def macro(self) -> list[str]:
        """The tasks of `tasks:`: Macro-Gain and Macro-OG are means over them."""
        return self.of_kind("tasks")

    def within(self, skills: frozenset[str]) -> list[str]:
        """The macro's tasks and the probes that need nothing but these skills."""
        chosen = [t for t in self.tasks if self.tasks[t]["kind"] != "retention"]
        return [t for t in chosen if self.tasks[t]["skills"] and set(self.tasks[t]["skills"]) <= skills]

    def parents(self, point: str) -> list[str]:
        """The names of a point's constituents: models, or with `chain: best` points."""
        names = {known["reference"]: name for name, known in self.models.items()}
        folders = {known["folder"]: name for name, known in self.points.items()}
        found = self.points[point]["constituents"]
        return [names[r] if r in names else folders[Path(r).name] for r in found]

    def raw(self, point: str) -> list[str]:
        """Base and the experts that the point is about."""
        return ["base", *self.points[point]["combination"]]


def load(out: Path) -> Loaded:
    """The finished study in a folder. Raises DataError where there is none."""
    from mergekit_finance.study.run import require

    require(out)
    study, tasks, index = (_read(out / name) for name in ("study.json", "tasks.json", "index.json"))
    return of(out, parse(study["study"], str(out / "study.json")), study["limit"], tasks, index)


def of(
    out: Path, study: Study, limit: int | None, tasks: dict[str, dict[str, Any]], index: Mapping[str, Any]
) -> Loaded:
    """A study's results in a folder, which may hold others' too: as much of them as `index` names."""
    points = {point["name"]: point for point in index["points"]}
    return Loaded(out, study, limit, tasks, index["models"], points)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: cannot be read ({fault}); run the study again") from fault
