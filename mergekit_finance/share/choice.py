"""The point that a card is about, with everything that the study stores of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mergekit_finance.errors import DataError, ModelError, did_you_mean
from mergekit_finance.share.provenance import require_provenance
from mergekit_finance.share.source_models import SourceModel, has_prefix, required_prefix, source_models
from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.study.analysis.effects import effects_of
from mergekit_finance.study.analysis.verdict import task_verdict
from mergekit_finance.study.results import StudyResults, load_results
from mergekit_finance.study.schema import NOT_SELECTED, Effects, PointEntry, TaskInfo


@dataclass(frozen=True)
class SharedPoint:
    """A point of a finished study.

    Attributes:
        results: the study.
        point: the point's name.
        models: the base and the experts that it merges.
        name: the merge's name on the Hub, `NAME` or `OWNER/NAME`; "" for the point's name.
    """

    results: StudyResults
    point: str
    models: list[SourceModel]
    name: str = ""

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
        """The model's name on the card; the point's name with the prefix that a license requires."""
        if self.name:
            return self.name.rpartition("/")[2]
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


def is_foreign(name: str, task: TaskInfo) -> bool:
    """Return whether a task's YAML file names no dataset of this package or of a plugin (`fb_dataset`)."""
    return task.dataset == name  # lm-eval's arc_easy has the name of a dataset of ours


def choose_point(out: Path, point: str | None, hub_ids: Mapping[str, str], name: str = "") -> SharedPoint:
    """Return a point of the study in `out`.

    Args:
        point: its name. The default is the recommended merge, else the best one.
        hub_ids: Hub identifiers of local models, by name in the study.
        name: of the merge on the Hub, `NAME` or `OWNER/NAME`; "" for the point's name.

    Raises:
        DataError: there is no finished study or no such point, its files were changed, or the Hub does not
            accept the name.
        ModelError: `hub_ids` names a model that is not in the study, or a license requires another name.
    """
    if name:
        require_hub_name(name)
    results = load_results(out)
    point = point or _best_merge(out, results)
    if point not in results.points:
        raise DataError(f"{out}: no point {point!r}. {_hint(point, list(results.points))}")
    results.columns(point)  # damaged scores are reported before anything is written
    require_provenance(results, point)
    models = source_models(results, point, hub_ids)
    if name:
        _require_prefix(name, required_prefix(models))
    return SharedPoint(results, point, models, name)


def _best_merge(out: Path, results: StudyResults) -> str:
    """Return the recommended merge, else the best one."""
    if not results.summary.has_selection:
        raise DataError(f"{out}: {NOT_SELECTED} Name a merge with --point; `ls {out}/points` lists them.")
    ship = results.summary.ship
    return ship.model if ship.is_merge else ship.best_merge


def require_hub_name(name: str) -> None:
    """Raise DataError unless the Hub accepts `NAME` or `OWNER/NAME`."""
    # Imported here to keep --help fast: the Hub's client takes 0.5 s.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise DataError(
            f"--name {name!r:.120}: the Hub does not accept it. Use NAME or OWNER/NAME."
        ) from error


def _require_prefix(name: str, prefix: str) -> None:
    """Raise ModelError unless a name begins as a license requires."""
    title = name.rpartition("/")[2]
    if not has_prefix(title, prefix):
        raise ModelError(
            f"--name {name}: the license of a merged model requires a name that begins with {prefix}. "
            f"Use {prefix}-{title}."
        )


def _hint(name: str, points: Sequence[str]) -> str:
    """Return the nearest name, and how to list all of them."""
    nearest = did_you_mean(name, points).split("Known:")[0].strip()
    listed = f"`ls OUT/points` lists all {len(points)}"
    return f"{nearest} {listed}." if nearest else f"{listed}, such as {points[0]}."
