"""The models of summary.json: everything that a study concludes."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, JsonValue, field_serializer, model_validator

from mergekit_finance.errors import DataError
from mergekit_finance.file_models import BoundedFloat, Count, Part, Value
from mergekit_finance.files import Json
from mergekit_finance.statistics.power import MIN_CLUSTERS
from mergekit_finance.study.config import Study, identity
from mergekit_finance.study.schema.effects import Effect, Effects, ItemFlips
from mergekit_finance.study.schema.objective import ObjectiveResult
from mergekit_finance.study.schema.stored import RaceResult, TaskInfo
from mergekit_finance.study.schema.units import UnitResults
from mergekit_finance.study.schema.values import Interval, Ranges

NOT_SELECTED = "Nothing was selected: no task of the macro average has scores of single items in [0, 1]."
FORMAT: Literal[2] = 2  # of summary.json; 1 had `parents` in place of `constituents`


class TaskResult(TaskInfo):
    """A task with its numbers of items and clusters: all, and those reported (the rest select)."""

    items: Count
    clusters: Count = 0
    report_items: Count = 0
    report_clusters: Count = 0
    chance: BoundedFloat = 0.0


class Evaluated(Part):
    """Scores on the report items; `macro_on_selection` is on the items that select.

    `mean` is None if no task of the macro average has scores in [0, 1].

    groups: the mean score over the tasks of the macro average that have the same skills, by
        `TaskInfo.skill_group`; of base, experts and selected points. None in summaries of older versions.
    """

    folder: str
    mean: Interval | None = Field(default=None, alias="macro")
    macro_on_selection: BoundedFloat | None = None
    scores: dict[str, BoundedFloat]
    retention: Interval | None = None
    probes: Interval | None = None
    groups: dict[str, Interval] | None = None

    @property
    def macro(self) -> Interval:
        """The macro average. Raises DataError if there is none."""
        if self.mean is None:
            raise DataError(NOT_SELECTED)
        return self.mean


class ModelResult(Evaluated):
    """The base or an expert."""

    reference: str
    fingerprint: str = ""


class PointResult(Evaluated):
    """A merge; `constituents` are names of models or, with `chain: best`, of points.

    gain_and_og: [Gain, OG] per task, without intervals.
    flips_gain, flips_og: items of the tasks of the macro average that flipped, against all constituents, and
        against the best constituent of each task.
    """

    stage: Count
    combination: list[str] = Field(min_length=1)
    operator: str
    values: dict[str, Value]
    constituents: list[str]
    recipe: dict[str, JsonValue]
    selected: bool = False
    macro_gain: BoundedFloat | None = None
    macro_og: BoundedFloat | None = None
    flips_gain: ItemFlips | None = None
    flips_og: ItemFlips | None = None
    gain_and_og: dict[str, tuple[BoundedFloat, BoundedFloat]] = {}

    @model_validator(mode="before")
    @classmethod
    def _names_of_format_1(cls, data: Json) -> Json:
        """Format 1 had the names in `parents`, and references to models in `constituents`."""
        if isinstance(data, Mapping) and "parents" in data:
            return {**data, "constituents": data["parents"]}
        return data


class AdviceKind(str, Enum):
    """The kinds of advice on which model to ship.

    The best model on the selection items is a merge: SHIP, SHIP_AT_A_COST or NOT_CLEAR, by its macro on the
    report items minus that of the best single model (above 0; above 0, with a significant loss of retention
    or on the tasks of a group of skills; or neither). It is a single model: NO_MERGE, or CONTRADICTION if the
    best merge is above it on the report items.
    """

    SHIP = "ship"
    SHIP_AT_A_COST = "ship at a cost"
    NOT_CLEAR = "not clear"
    NO_MERGE = "no merge"
    CONTRADICTION = "contradiction"
    BORDERLINE = "borderline"
    TOO_FEW_ITEMS = "too few items"


class Advice(Part):
    """A decided advice. `optimistic`: selected and evaluated on the same items."""

    kind: AdviceKind
    between: list[AdviceKind] = []
    optimistic: bool = False


class CombinationResult(Part):
    """A combination of experts: its selected points, over all operators and per operator.

    Read `effect` through `analysis.verdict.effect`: summaries of format 1 do not have it.
    """

    stage: Count
    experts: list[str] = []
    skills: list[str] = []
    named_tasks: list[str] = []
    selected: str
    by_operator: dict[str, str]
    effect: Effect | None = None


class Ship(Part):
    """What to ship: the best model on the selection items, and how sure that is on the report items.

    Attributes:
        model, macro: the best of all; `is_merge` whether it is a merge.
        best_merge, best_single: the best merge, and the best of base and experts.
        merge_over_single: macro of the best merge minus that of the best single model.
        retention_over_base, retention_over_single: retention of the best merge minus theirs.
        clusters: independent clusters of the macro's tasks; n.
        advice: read it through `analysis.verdict.advice`: summaries of format 1 do not have it.
    """

    model: str
    is_merge: bool
    best_merge: str
    best_single: str
    macro: Interval
    merge_over_single: Interval
    retention_over_base: Interval | None = None
    retention_over_single: Interval | None = None
    clusters: Count = MIN_CLUSTERS
    ranges: Ranges = {}
    advice: Advice | None = None


class Sentence(Part):
    """A conclusion in words; `about` is recovery, complementarity, emergence, interference, operators,
    similarity, ship or caution."""

    about: str
    text: str


class Optimism(Part):
    """How much better points score on the items that selected them than on others: `selection.optimism`."""

    mean: BoundedFloat | None = None
    splits: Count = 0


class SelectionResult(Part):
    """How hyperparameters were chosen. `split`: some items select, the others are reported."""

    same_items: bool = False
    split: bool | None = None
    share: BoundedFloat | None = None
    seed: int = 0
    optimism: Optimism | None = Field(
        default=None,
        validation_alias=AliasChoices("optimism", "optimism_of_choosing_and_reporting_on_the_same_items"),
    )

    @property
    def is_split(self) -> bool:
        """Whether other items than the reported ones select; older summaries lack `split`."""
        return not self.same_items if self.split is None else self.split


class OperatorScores(Part):
    """An operator over its grid, mean over combinations: best, best minus worst, share near the best."""

    best: Interval
    spread: Interval
    near: Interval
    points: Count = 0
    swept: bool = False


class OperatorDifference(Part):
    """The difference of two operators on the same items."""

    best: Interval
    spread: Interval
    near: Interval
    ranges: Ranges = {}


class OperatorComparison(Part):
    """`operators`: each by key. `differences`: by "first - second"."""

    operators: dict[str, OperatorScores] = {}
    differences: dict[str, OperatorDifference] = {}


class PredictorRow(Part):
    """A combination's similarity before the merge, and the Gain and OG of the merge."""

    combination: str
    stage: Count
    point: str
    l2: BoundedFloat | None = None
    cosine: BoundedFloat | None = None
    task_vector_cosine: BoundedFloat | None = None
    sign_conflicts: BoundedFloat | None = None
    headroom: BoundedFloat | None = None
    macro_gain: BoundedFloat | None = None
    macro_og: BoundedFloat | None = None


class Correlation(Part):
    """Spearman's rho of a predictor with an outcome; `needed`: the least |rho| with p <= 0.05 at this n."""

    over: str
    predictor: str
    outcome: str
    n: Count
    rho: BoundedFloat | None = None
    p: BoundedFloat | None = None
    exact: bool = False
    needed: BoundedFloat | None = None


class Predictors(Part):
    """Whether similarity before a merge predicts its success."""

    combinations: list[PredictorRow] = []
    correlations: list[Correlation] = []


def _of_format(number: Json) -> Json:
    return FORMAT if number in (1, FORMAT) else number


class Summary(Part):
    """summary.json: the whole answer of a study. Format 1 is read, and written again as format 2.

    `points` are the merges that were evaluated in full. With a search, `races` says what the others were
    asked, by combination. If no task of the macro average has scores in [0, 1], nothing was selected:
    `selected` and `combinations` are empty, and there is no `ship`. `units` has the results.
    """

    format: Annotated[Literal[2], BeforeValidator(_of_format)] = FORMAT
    study: Study
    limit: Count | None = None
    selection: SelectionResult
    models: dict[str, ModelResult]
    tasks: dict[str, TaskResult]
    units: list[UnitResults] = []
    points: dict[str, PointResult] = Field(min_length=1)
    races: dict[str, RaceResult] | None = None
    selected: dict[str, Effects]
    combinations: dict[str, CombinationResult]
    shipped: Ship | None = Field(default=None, alias="ship")
    objective: ObjectiveResult | None = None
    operators: OperatorComparison = OperatorComparison()
    similarity: Predictors = Predictors()
    verdict: list[Sentence] = []

    @field_serializer("study")
    def _write_study(self, study: Study) -> dict[str, JsonValue]:
        return identity(study)

    @property
    def has_selection(self) -> bool:
        """Whether merges were selected: some task of the macro average has scores in [0, 1]."""
        return bool(self.combinations)

    @property
    def ship(self) -> Ship:
        """What to ship. Raises DataError if nothing was selected."""
        if self.shipped is None:
            raise DataError(f"{NOT_SELECTED} There is nothing to recommend.")
        return self.shipped

    @property
    def all_tasks(self) -> dict[str, TaskInfo]:
        """Every task, also those in units of their own."""
        return {**self.tasks, **{name: task for unit in self.units for name, task in unit.tasks.items()}}

    @model_validator(mode="after")
    def _names_exist(self) -> "Summary":
        """Refuse names that refer to no model, point or task: tables and figures look them up."""
        if problem := _unknown_name(self):
            raise ValueError(problem)
        return self


def _unknown_name(summary: Summary) -> str:
    """Return the first name in a summary that refers to no model, point or task, or ""."""
    if "base" not in summary.models:
        return "models: no base"
    if problem := _misplaced_selection(summary):
        return problem
    tasks = summary.tasks.keys()
    for name, combination in summary.combinations.items():
        for point in sorted({combination.selected, *combination.by_operator.values()}):
            if point not in summary.points or point not in summary.selected:
                return f"combinations.{name}: {point!r} is not a selected point"
        tested = combination.effect.tested if combination.effect else "macro"
        if tested not in summary.selected[combination.selected].sets:
            return f"combinations.{name}.effect.tested: {tested!r} is no set of tasks of the selected point"
    for point, effects in summary.selected.items():
        if problem := effects.problem(tasks):
            return f"selected.{point}: {problem}"
    for row in summary.similarity.combinations:
        if row.point not in summary.selected:
            return f"similarity: {row.point!r} is not a selected point"
    models = {**summary.models, **summary.points}
    for name, model in models.items():
        if tasks - model.scores.keys():
            return f"{name}: scores are missing"
    for unit in summary.units:
        for name in sorted(models.keys() - unit.models.keys()):
            return f"units: {unit.unit} of {name} is missing"
        for name, of_unit in unit.models.items():
            if unit.tasks.keys() - of_unit.values.keys():
                return f"units: {unit.unit} of {name} is missing"
    if summary.objective and (problem := summary.objective.problem(models.keys(), tasks)):
        return f"objective: {problem}"
    ship = summary.shipped
    used = {ship.model, ship.best_single, ship.best_merge} if ship else set()
    used |= {name for point in summary.points.values() for name in point.constituents}
    used |= {name for row in summary.selected.values() for name in row.constituents}
    return next((f"{name!r} is not a model of the study" for name in sorted(used - models.keys())), "")


def _misplaced_selection(summary: Summary) -> str:
    """Return what contradicts that merges were selected, or that none was; "" if nothing does."""
    if not summary.all_tasks:
        return "tasks: none"
    is_selected = any(task.kind == "tasks" for task in summary.tasks.values())
    if is_selected != summary.has_selection or is_selected != (summary.shipped is not None):
        return "combinations and ship do not fit the tasks"
    models = {**summary.models, **summary.points}
    return next((f"{n}: macro is missing" for n, m in models.items() if is_selected and m.mean is None), "")
