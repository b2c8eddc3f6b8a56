"""The files of a study other than summary.json, which is its answer."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AliasChoices, ConfigDict, Field, JsonValue, field_serializer, model_validator

from mergekit_finance.evaluation.digest import digest
from mergekit_finance.file_models import BoundedFloat, Count, Part, PartWithNulls, Value, Weight
from mergekit_finance.files import Json, JsonObject
from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.study.config import Study, dump

# ---- study.json, tasks.json, index.json

FORMAT = 1  # of study.json and unfinished.json
NO_SKILL = "no skill"  # the group of tasks whose files and settings name none


class StudyFile(Part):
    """study.json: the study as it was run; `limit` is the number of items of every task, or None for all."""

    format: int
    study: Study
    limit: Count | None = None

    @field_serializer("study")
    def _write_study(self, study: Study) -> dict[str, JsonValue]:
        return dump(study)


class TaskInfo(Part):
    """The facts about a task that the statistics and the report read.

    Attributes:
        kind: "tasks" (in the macro averages), "retention" or "probes".
        skills: a subset of finance, math and japanese.
        dataset: tasks of one dataset share clusters, and with them the selection split.
        aggregation: a name that `statistics.totals` resolves.
        generates: whether the model writes its answer, rather than choosing an option.
        is_zero_shot: whether its prompts lack demonstrations because train rows are missing.
        weight: of the task in means over tasks.
        unit: the metric's name if it is measured in a unit of its own, "" for a score in [0, 1].
        lower_is_better: whether less is better, as for perplexity.
        per_item: whether the task has scores of single items, which intervals need.
        selected_by: the names in `select` of study.yml that are about the task.
    """

    kind: str
    skills: list[str] = []
    dataset: str
    aggregation: str
    version: str = ""
    generates: bool = False
    is_zero_shot: bool = False
    weight: Weight = 1.0
    unit: str = Field(default="", max_length=100, pattern=r"^[\w.+ -]*$")
    lower_is_better: bool = False
    per_item: bool = True
    selected_by: list[str] | None = None
    license: str = Field(default="unknown", validation_alias=AliasChoices("license", "licence"))
    text_may_be_shared: bool = False

    @property
    def skill_group(self) -> str:
        """Its skills as `finance+math`, or NO_SKILL: the name of the tasks with the same skills."""
        return "+".join(self.skills) or NO_SKILL

    @property
    def is_averaged(self) -> bool:
        """Whether it is a score in [0, 1] with scores of single items: means are over such tasks only."""
        return self.per_item and not self.unit

    @model_validator(mode="before")
    @classmethod
    def _only_true_shares(cls, data: Json) -> Json:
        """Take anything but `true` as no permission to share the text."""
        if not isinstance(data, Mapping):
            return data
        return {**data, "text_may_be_shared": data.get("text_may_be_shared") is True}


class ModelEntry(Part):
    """A model that is evaluated as it is: the base or an expert."""

    reference: str
    fingerprint: str
    folder: str


class RecipeModel(Part):
    """One entry of a recipe's `models:`."""

    model: str
    parameters: dict[str, JsonValue]


class MergeRecipe(Part):
    """A point's mergekit recipe, as `points.recipe` writes it; `as_json` returns all stored keys."""

    model_config = ConfigDict(extra="allow")

    base_model: str | None = None
    models: list[RecipeModel] = Field(min_length=1)


class PointEntry(Part):
    """A merge that is evaluated.

    Attributes:
        combination: names of the experts that it is about.
        operator, values: the operator's key in study.yml, and its hyperparameters.
        references: the models that Gain and OG compare with; JSON calls them `constituents`.
    """

    name: str
    folder: str
    stage: Count
    combination: list[str] = Field(min_length=1)
    operator: str
    values: dict[str, Value]
    references: list[str] = Field(validation_alias="constituents", serialization_alias="constituents")
    recipe: MergeRecipe


class Dropped(Part):
    """A setting that a round dropped.

    point: its name; of several mask seeds the first.
    operator, values: its hyperparameters.
    difference: its macro average, or objective, minus that of the round's best setting, on the same items.
    standard_error: of the difference, over clusters; None where some tasks had one cluster only.
    misses: the bounds of the objective that it surely did not keep; None: none.
    """

    point: str
    operator: str
    values: dict[str, Value]
    difference: BoundedFloat
    standard_error: BoundedFloat | None = None
    misses: list[str] | None = None


class RaceRound(Part):
    """A round of a race.

    Attributes:
        items: items that each setting has answered at its end, those of earlier rounds included.
        settings, points: how many took part; a setting has a point per mask seed.
        dropped: the settings that took no part in the next round.
    """

    items: Count
    settings: Count
    points: Count
    dropped: list[Dropped] = []


class RaceResult(Part):
    """The race of a combination's settings (`search: {method: successive_rejects}`).

    Attributes:
        settings, points: of its grids.
        items: selection items, which choose.
        winner: the point that was evaluated in full.
        rounds: what was asked and dropped.
        answers: to selection items: of all rounds, and the winner's.
        grid_answers: to selection items, that the full grid asks for.
    """

    settings: Count
    points: Count
    items: Count
    winner: str
    rounds: list[RaceRound] = []
    answers: Count
    grid_answers: Count


class Index(Part):
    """index.json: which folders under points/ belong to this study.

    `points` are the merges that were evaluated in full; `races` says, by combination, which were not.
    """

    format: int = 1
    models: dict[str, ModelEntry]
    points: list[PointEntry] = Field(min_length=1)
    races: dict[str, RaceResult] | None = None


class UnfinishedStudy(StudyFile):
    """unfinished.json: study.json, tasks.json and index.json of everything that a study will evaluate."""

    tasks: dict[str, TaskInfo]
    index: Index


# ---- points/<folder>/


class Key(PartWithNulls):
    """key.json: all that can change a model's scores; its hash names the folder.

    `evaluation.keys` documents the parts. All are optional: a folder's hash covers those that it has.
    """

    model_config = ConfigDict(extra="allow")

    format: int | None = None
    answers_format: int | None = None
    tasks: dict[str, dict[str, str]] = {}
    answer_code: str = ""
    request_code: str = ""
    score_code: str = ""
    merge_code: str = ""
    device: str = ""
    dtype: str = ""
    engine: str = ""
    max_gen_toks: int | None = None
    chat: dict[str, bool | str] | None = None
    limit: int | None = None
    items: str | None = None  # a hash, if they are not all items of all tasks
    tokenizer: str = ""
    versions: dict[str, str] = {}
    package_version: str = ""
    plugins: list[str] = []
    model: str = ""
    merge: dict[str, JsonValue] | None = None
    seed: int | None = None

    @property
    def digest(self) -> str:
        """The suffix of the name of the folder that holds these results."""
        return digest(self.as_json())

    @property
    def is_merge(self) -> bool:
        """Whether the results are those of a merge."""
        return "merge" in self.model_fields_set

    @property
    def all_versions(self) -> dict[str, str]:
        """The versions that the results were made with, by package; empty if the key has none."""
        ours = {"mergekit-finance": self.package_version} if self.package_version else {}
        return ours | self.versions if self.versions else {}


class Timings(PartWithNulls):
    """timings.json, of a study or of one model: seconds. No result depends on them.

    Of a model it also has what lm-eval wrote that differs between two runs, such as the date.
    """

    model_config = ConfigDict(extra="allow")

    merge: BoundedFloat = 0.0
    evaluate: BoundedFloat = 0.0
    wall_of_last_run: BoundedFloat = 0.0


class ProcessTimes(Part):
    """timings/<id>.json: the seconds of one process by kind of work. No result depends on them."""

    device: str = ""
    models: Count = 0
    seconds: dict[str, BoundedFloat] = {}


class AnalysisFile(Part):
    """analysis.json: a hash of what the analysis read, and the sha256 of the files that it wrote, by name."""

    inputs: str
    files: dict[str, str]


class PlanFile(PartWithNulls):
    """plan.json: the limit that the budget (hours) led to, for this study and the limit it asked for."""

    study: dict[str, JsonValue]
    budget: float
    asked_limit: int | None
    limit: Annotated[int, Field(strict=True, gt=0)] | None


# ---- similarity.json


class StudySimilarity(PartWithNulls):
    """similarity.json of a study: what `compute_similarity` measured, and of which models.

    Attributes:
        digest: of everything else in the file: an altered file is measured again.
        key: reference -> fingerprint of the models.
        error: why nothing could be measured.
        measured: the measures; in the file its fields stand beside those above. None if there is an error.
    """

    digest: str = ""
    key: dict[str, str] = {}
    error: str | None = None
    measured: Similarity | None = None

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, data: Json) -> Json:
        if not isinstance(data, Mapping) or "measured" in data or "error" in data:
            return data
        return {"digest": data.get("digest", ""), "key": data.get("key", {}), "measured": data}

    def as_json(self) -> JsonObject:
        """Return what is written to the file."""
        fields = self.model_dump(mode="json", exclude={"measured"}, exclude_unset=True)
        return {**fields, **(self.measured.as_json() if self.measured else {})}
