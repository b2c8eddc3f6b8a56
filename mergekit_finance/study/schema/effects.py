"""The effects of a merge, of which summary.json is made: by set of tasks and by task."""

from collections.abc import Set
from enum import Enum

from pydantic import AliasChoices, Field

from mergekit_finance.file_models import BoundedFloat, Count, Part
from mergekit_finance.statistics.power import MIN_CLUSTERS
from mergekit_finance.study.schema.values import Interval, Ranges


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

    def problem(self, tasks: Set[str]) -> str:
        """Return what a selected point lacks, or names without being a task of the study; "" if nothing."""
        if "macro" not in self.sets or tasks - self.tasks.keys():
            return "tasks are missing"
        for task in sorted({task for row in self.sets.values() for task in row.tasks} - tasks):
            return f"{task!r} is not a task of the study"
        scored = [set(row.constituents) for row in self.sets.values()]
        scored += [set(row.constituents) for row in self.tasks.values()]
        for name in self.constituents:
            if any(name not in names for names in scored):
                return f"a score of constituent {name!r} is missing"
        if self.recovery and "retention" not in self.sets:
            return "recovery without the set of retention tasks"
        return ""


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
