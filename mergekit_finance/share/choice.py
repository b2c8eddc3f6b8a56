"""Which point a card is about, and all that the study knows of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.share import provenance as measured
from mergekit_finance.share.source_models import SourceModel, required_prefix, source_models
from mergekit_finance.share.stored import check, check_point, check_scores, read_summary
from mergekit_finance.study.analysis import effects
from mergekit_finance.study.results import StudyResults, load_results


@dataclass(frozen=True)
class Choice:
    """A point of a finished study."""

    out: Path
    loaded: StudyResults
    summary: Mapping[str, Any]
    point: str
    models: list[SourceModel]

    @property
    def known(self) -> Mapping[str, Any]:
        """Stage, combination, operator, values, recipe and folder."""
        return self.loaded.points[self.point].as_json()

    @property
    def place(self) -> Path:
        return self.out / "points" / self.known["folder"]

    @property
    def title(self) -> str:
        """The model's name on the card; a licence may say how it begins."""
        prefix = required_prefix(self.models)
        return f"{prefix}-{self.point}" if prefix else self.point

    @cached_property
    def row(self) -> Mapping[str, Any]:
        """Effects with intervals: the summary's for a selected point, worked out now for another."""
        found = self.summary["selected"].get(self.point)
        return found if found else self._worked_out()

    def _worked_out(self) -> Mapping[str, Any]:
        from mergekit_finance.statistics.bootstrap import bootstrap

        study = self.loaded.study
        for known in {**self.loaded.models, **self.loaded.points}.values():  # all are compared
            check_scores(self.out / "points" / known.folder / "scores.json", list(self.loaded.tasks))
        replicates = bootstrap(list(self.loaded.report.values()), study.resamples, study.seed)
        row = effects.effects_of(self.loaded, replicates, self.point)
        for task in row.tasks.values():
            task.verdict = effects.task_verdict(task)
        return row.as_json()

    @property
    def shipped(self) -> bool:
        return self.summary["ship"]["is_merge"] and self.summary["ship"]["model"] == self.point

    @property
    def skills(self) -> list[str]:
        skills = self.loaded.study.skills
        return sorted(frozenset[str]().union(*(skills[e] for e in self.known["combination"])))

    @property
    def text_may_be_shared(self) -> bool:
        """Only where tasks.json and summary.json both say true, of every task."""
        said = [task.text_may_be_shared for task in self.loaded.tasks.values()]
        said += [x.get("text_may_be_shared") is True for x in self.summary["tasks"].values()]
        return bool(self.summary["tasks"]) and all(said)

    @property
    def splits(self) -> bool:
        """Whether other items than the reported ones chose hyperparameters."""
        known = self.summary.get("selection") or {}
        return bool(known.get("split", not self.loaded.study.selection.same_items))


def choose(out: Path, point: str | None, hub_ids: Mapping[str, str]) -> Choice:
    """The named point, else the one to ship, else the best merge."""
    check(out)
    loaded = load_results(out, finished=False)
    summary = read_summary(out)
    ship = summary["ship"]
    name = point or (ship["model"] if ship["is_merge"] else ship["best_merge"])
    if name not in loaded.points:
        raise DataError(f"{out}: no point {name!r}; {_points(name, list(loaded.points))}")
    check_point(out / "points" / loaded.points[name].folder, list(loaded.tasks))
    models = {key: model.as_json() for key, model in loaded.models.items()}
    measured.require(out, loaded.points[name].as_json(), models, summary)
    return Choice(out, loaded, summary, name, source_models(loaded, name, hub_ids))


def _points(name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known).split("Known:")[0].strip()
    return f"{hint} `ls OUT/points` has all {len(known)}" if hint else f"known, among others: {known[0]}"
