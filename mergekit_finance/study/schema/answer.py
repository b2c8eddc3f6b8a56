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
from mergekit_finance.study.schema.objective import ObjectiveResult
from mergekit_finance.study.schema.references import unknown_name
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
    """

    folder: str
    mean: Interval | None = Field(default=None, alias="macro")
    macro_on_selection: BoundedFloat | None = None
    scores: dict[str, BoundedFloat]
    retention: Interval | None = None
    probes: Interval | None = None

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
    gain_and_og: dict[str, tuple[BoundedFloat, BoundedFloat]] = {}

    @model_validator(mode="before")
    @classmethod
    def _names_of_format_1(cls, data: Json) -> Json:
        """Format 1 had the names in `parents`, and references to models in `constituents`."""
        if isinstance(data, Mapping) and "parents" in data:
            return {**data, "constituents": data["parents"]}
        return data


class ItemFlips(Part):
    """Items that the merge answers right and another model wrong (`gained`), and the reverse (`lost`)."""

    gained: Count
    lost: Count


class TaskSet(Part):
    """A merge over a set of tasks: mean score, Gain, OG, and what they are tested with.

    Attributes:
        constituents: their mean scores.
        best_constituent: the one with the best mean over these tasks; `over_best_constituent` is the merge's
            score minus its score. (OG compares with the best constituent per task.)
        base, over_base: the base's score, and the merge's score minus it.
        gain_raw, og_raw, best_raw, over_best_raw: the same against the base and the experts as they are;
            with `chain: best` the constituents are merges.
        p_*, holm_*: one-sided p values, and after Holm's correction over the combinations of the stage.
        clusters: independent clusters of items; n.
        mde: minimum detectable effect of the comparison with the best constituent; None where unknown.
        ranges: by field, where the ends of its interval may lie under other seeds (low, low, high, high), or
            where its p may lie (low, high); see `statistics.intervals`.
        flips: against every constituent, the base and the experts; without tasks that have no right answers.
    """

    tasks: list[str] = Field(min_length=1)
    score: Interval
    constituents: dict[str, Interval] = Field(
        default={}, validation_alias=AliasChoices("constituents", "parents")
    )
    gain: Interval
    p_gain: BoundedFloat | None = None
    og: Interval
    best_constituent: str = Field(validation_alias=AliasChoices("best_constituent", "best_parent"))
    over_best_constituent: Interval = Field(
        validation_alias=AliasChoices("over_best_constituent", "over_best_parent")
    )
    p_over_best_constituent: BoundedFloat | None = Field(
        default=None, validation_alias=AliasChoices("p_over_best_constituent", "p_over_best_parent")
    )
    p_over_all_constituents: BoundedFloat | None = Field(
        default=None, validation_alias=AliasChoices("p_over_all_constituents", "p_over_all_parents")
    )
    p_over_all_models: BoundedFloat | None = Field(
        default=None, validation_alias=AliasChoices("p_over_all_models", "p_over_everyone")
    )
    holm_over_all_models: BoundedFloat | None = Field(
        default=None, validation_alias=AliasChoices("holm_over_all_models", "holm_over_everyone")
    )
    p_below_mean: BoundedFloat | None = None
    holm_below_mean: BoundedFloat | None = None
    base: Interval | None = None
    over_base: Interval | None = None
    gain_raw: Interval | None = None
    og_raw: Interval | None = None
    best_raw: str | None = None
    over_best_raw: Interval | None = None
    clusters: Count = MIN_CLUSTERS
    mde: BoundedFloat | None = None
    ranges: Ranges = {}
    flips: dict[str, ItemFlips] = {}


class TaskEffect(Part):
    """The effect of a merge on one task.

    `p_*` and `q_*` (Benjamini-Hochberg) are given only for tasks that the combination's tests are about, if
    they have enough clusters.
    """

    items: Count
    clusters: Count
    score: Interval
    constituents: dict[str, BoundedFloat] = Field(validation_alias=AliasChoices("constituents", "parents"))
    gain: Interval
    og: Interval
    og_raw: Interval | None = None
    p_og: BoundedFloat | None = None
    q_og: BoundedFloat | None = None
    p_gain: BoundedFloat | None = None
    q_gain: BoundedFloat | None = None
    mde: BoundedFloat | None = None
    ranges: Ranges = {}
    flips: dict[str, ItemFlips] = {}
    verdict: str = ""


class Recovery(Part):
    """Stage 1 on the retention tasks: what CPT lost, what the merge recovered, the merge minus the base."""

    lost: Interval
    recovered: Interval = Field(validation_alias=AliasChoices("recovered", "back"))
    over_base: Interval
    ranges: Ranges = {}
    flips_of_expert: ItemFlips | None = None  # from base to expert; the merge's flips are in the task set


class Effects(Part):
    """Everything about one point on the report items, by set of tasks and by task."""

    point: str = ""
    constituents: list[str] = Field(validation_alias=AliasChoices("constituents", "parents"))
    base_and_experts: list[str] = Field(
        default=[], validation_alias=AliasChoices("base_and_experts", "against_base_and_experts")
    )
    sets: dict[str, TaskSet]
    tasks: dict[str, TaskEffect]
    recovery: Recovery | None = None


class EffectKind(str, Enum):
    """The kind of effect that a merge has over one set of tasks. All outputs use these kinds.

    Every kind but the last two needs intervals on one side of 0. ABOVE_ALL, the only success: above the best
    constituent, the base and every raw expert, also after Holm's correction over the stage's combinations.
    INTERFERENCE: below the best constituent and below the mean of the constituents, after Holm's correction.
    """

    ABOVE_ALL = "above all"  # words: recovery (stage 1), complementarity (2), emergence (3)
    NOT_ABOVE_BASE = "above constituents, not base"
    NOT_ABOVE_EXPERTS = "above constituents, not raw experts"
    NOT_AFTER_CORRECTION = "above constituents, not after correction"
    NO_EFFECT = "no clear effect"
    BELOW_BASE = "no clear effect, below base"
    BELOW_BEST = "below best constituent"
    INTERFERENCE = "interference"
    BORDERLINE = "borderline"  # another seed of the bootstrap may decide otherwise; `between` lists how
    TOO_FEW_ITEMS = "too few items"
    NOT_REPEATED = "not repeated"  # over training seeds only: `verdict.over_seeds`


class Effect(Part):
    """A decided effect. `tested`: the set of tasks it is about. `between`: of a borderline one."""

    kind: EffectKind
    tested: str
    between: list[EffectKind] = []


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
        if problem := unknown_name(self):
            raise ValueError(problem)
        return self
