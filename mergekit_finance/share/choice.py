"""The point that a card is about, with everything that the study stores of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.share.provenance import require_provenance
from mergekit_finance.share.source_models import SourceModel, required_prefix, source_models
from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.study.analysis.effects import effects_of
from mergekit_finance.study.analysis.verdict import task_verdict
from mergekit_finance.study.results import StudyResults, load_results
from mergekit_finance.study.schema import Effects, PointEntry


@dataclass(frozen=True)
class SharedPoint:
    """A point of a finished study.

    Attributes:
        results: the study.
        point: the point's name.
        models: the base and the experts that it merges.
    """

    results: StudyResults
    point: str
    models: list[SourceModel]

    @property
    def entry(self) -> PointEntry:
        """Its stage, combination, operator, values, recipe and folder."""
        return self.results.points[self.point]

    @property
    def folder(self) -> Path:
        """The folder of its results."""
        return self.results.place(self.point)

    @property
    def title(self) -> str:
        """The model's name on the card, with the prefix that a license requires."""
        prefix = required_prefix(self.models)
        return f"{prefix}-{self.point}" if prefix else self.point

    @cached_property
    def effects(self) -> Effects:
        """Scores, Gain and OG with intervals: the summary's for a selected point, else computed now."""
        stored = self.results.summary.selected.get(self.point)
        if stored:
            return stored
        study = self.results.study
        replicates = bootstrap(list(self.results.report.values()), study.resamples, study.seed)
        effects = effects_of(self.results, replicates, self.point)
        for task in effects.tasks.values():
            task.verdict = task_verdict(task)
        return effects

    @property
    def skills(self) -> frozenset[str]:
        """The skills of the merged experts."""
        skills = self.results.study.skills
        return frozenset[str]().union(*(skills[expert] for expert in self.entry.combination))

    @property
    def text_may_be_shared(self) -> bool:
        """Whether tasks.json and summary.json both allow sharing the text of every task."""
        names = {*self.results.all_tasks, *self.results.summary.all_tasks}
        return all(map(self.results.text_allowed, names))


def choose_point(out: Path, point: str | None, hub_ids: Mapping[str, str]) -> SharedPoint:
    """Return a point of the study in `out`.

    Args:
        point: its name. The default is the recommended merge, else the best one.
        hub_ids: Hub identifiers of local models, by name in the study.

    Raises:
        DataError: there is no finished study or no such point, or its files were changed.
        ModelError: `hub_ids` names a model that is not merged.
    """
    results = load_results(out)
    ship = results.summary.ship
    name = point or (ship.model if ship.is_merge else ship.best_merge)
    if name not in results.points:
        raise DataError(f"{out}: no point {name!r}. {_hint(name, list(results.points))}")
    results.columns(name)  # damaged scores are reported before anything is written
    require_provenance(results, name)
    return SharedPoint(results, name, source_models(results, name, hub_ids))


def _hint(name: str, points: Sequence[str]) -> str:
    """Return the nearest name, and how to list all of them."""
    nearest = did_you_mean(name, points).split("Known:")[0].strip()
    return f"{nearest} `ls OUT/points` lists all {len(points)}." if nearest else f"One of them: {points[0]}."
