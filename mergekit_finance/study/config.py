"""study.yml: one file describes the experiment. The whole file is checked before anything is read or run."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from mergekit_finance.checks.filters import filters_of
from mergekit_finance.errors import (
    UNION_TAG,
    RecipeError,
    default_id,
    did_you_mean,
    first_error,
    first_problem,
)
from mergekit_finance.files import Json, read_yaml
from mergekit_finance.operators import OPERATORS
from mergekit_finance.recipe.fields import (
    MAX_POINTS,
    ConfigBlock,
    Folder,
    IsWhole,
    Name,
    Names,
    PositiveCount,
    Reference,
    Seed,
    Text,
    Unique,
    as_list,
)
from mergekit_finance.recipe.grid_fields import FILTERS
from mergekit_finance.recipe.task_entries import TaskSettings, split_entries
from mergekit_finance.study.config_blocks import Bound, Evaluation, Objective, Search, Selection, StudyExpert
from mergekit_finance.study.methods import check_methods
from mergekit_finance.study.operator_grids import (
    DareTies,
    OperatorGrid,
    Operators,
    TaskArithmetic,
    Ties,
    check_grid,
    repeated_value,
)

MAX_EXPERTS = 50
MAX_NAME_BYTES = 40  # of an expert's name: three names, the values and a hash make one folder name
SKILLS = ("finance", "math", "japanese")
UNUSED_BY_SCORES = ("executor", "workers", "include_path")  # keys that change no number
# The tasks of `run` where the recipe names none: one of each skill set, of the 18.
DEFAULT_TASKS = ("finance_bench_fpb", "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical")
Combination = tuple[str, ...]  # the experts that a merge is about


Stage = Annotated[Literal[1, 2, 3], IsWhole]


class Study(ConfigBlock):
    """The content of study.yml: what is merged, how, and what it is evaluated on.

    `load_study(path)` reads and checks a file, `parse_study(mapping, where)` checks a mapping; both raise
    RecipeError in one line. A study is immutable; `model_copy(update={...})` gives a changed one, unchecked.

    Attributes:
        name: shown in the report.
        base, base_license: a model reference (folder or Hub id), and its license for the card.
        experts: by name; every expert is a continually pre-trained version of the base.
        operators: the operators and their grids.
        semantics: "paper" or "mergekit", how the operators are defined.
        stages: 1 merges the base and one expert, 2 pairs and 3 triples of experts.
        chain: "experts" merges the experts in every stage, "best" the models that the stage before selected.
        tasks, retention, probes: lm-eval tasks or groups; macro averages are over `tasks`.
        named: combination ("finance+math") -> the tasks that its tests are about.
        task_settings: by task or group, the settings in entries of the form `{task: ..., metric: ...}`.
        include_path: folders of the user's own lm-eval tasks, whose Python code runs; relative to study.yml.
        source, data_dir: where rows come from; see `data.sources`.
        limit: items per task; None for all.
        selection: how hyperparameters are selected.
        select: what selection maximizes, and under which bounds; None: the macro average.
        search: which settings are evaluated in full; None: all of the grid.
        evaluation: device, dtype, batch size and so on.
        executor, workers: where the points run, and in how many processes.
        out_dtype: of merged models.
        resamples, seed: of the bootstrap.
    """

    name: Name = "study"
    base: Reference
    base_license: Text | None = Field(
        default=None, validation_alias=AliasChoices("base_license", "base_licence")
    )
    experts: Annotated[dict[str, StudyExpert], Field(max_length=MAX_EXPERTS)]
    operators: Operators
    semantics: Literal["paper", "mergekit"] = "paper"
    stages: Annotated[tuple[Stage, ...], Field(max_length=3), BeforeValidator(as_list)] = (1, 2, 3)
    chain: Literal["experts", "best"] = "experts"
    tasks: Names = ("finance_bench",)
    retention: Names = ()
    probes: Names = ()
    named: dict[str, Names] = Field(default={}, description="combination: the tasks its tests are about")
    task_settings: Annotated[dict[Name, TaskSettings], Field(max_length=1000)] | None = None
    include_path: Annotated[tuple[Folder, ...], Field(max_length=100), BeforeValidator(as_list), Unique] = ()
    source: Name | None = None
    data_dir: Annotated[str, Field(max_length=4096)] | None = None
    limit: PositiveCount | None = None
    selection: Selection = Selection()
    select: Objective | None = None
    search: Search | None = None
    evaluation: Evaluation = Evaluation()
    executor: Literal["local", "ray"] = "local"
    workers: Annotated[PositiveCount, Field(le=1024)] | None = None
    out_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    resamples: Annotated[int, Field(ge=200, le=100_000), IsWhole] = 2000
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _split_entries(cls, data: Json) -> Json:
        """Accept `{task: NAME, metric: ..., skills: ..., weight: ...}` in lists of tasks."""
        if not isinstance(data, Mapping):
            return data
        content = dict(data)
        settings: dict[str, Json] = {}
        for kind in ("tasks", "retention", "probes"):
            entries = content.get(kind)
            if isinstance(entries, list | tuple | Mapping):  # a mapping is one entry
                listed = [entries] if isinstance(entries, Mapping) else entries
                content[kind] = split_entries(kind, listed, settings)
        of_file = content.get("task_settings") or {}
        if settings and isinstance(of_file, Mapping):
            content["task_settings"] = {**of_file, **settings}
        return content

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        _check_experts(self)
        _check_stages(self)
        _check_points(self)
        _check_tasks(self)
        _check_grids(self)
        _check_named(self)
        _check_objective(self)
        check_processes(self)
        return self

    @property
    def race(self) -> Search | None:
        """The search, if it drops settings before they are evaluated in full."""
        return self.search if self.search and self.search.is_race else None

    @property
    def skills(self) -> dict[str, frozenset[str]]:
        """Skills by expert. The default is one skill, called like the expert."""
        return {name: frozenset(e.skills or (name,)) for name, e in self.experts.items()}

    @property
    def densities(self) -> frozenset[float]:
        """The densities that are shares of whole task vectors: those of TIES in paper semantics."""
        ties = self.operators.ties if self.semantics == "paper" else None
        values = ties.densities if ties else ()
        each = values.values() if isinstance(values, Mapping) else [values]
        return frozenset(value for of_all in each for value in of_all if isinstance(value, float))

    @property
    def filters(self) -> frozenset[str]:
        """The filters in the grids of all operators."""
        return filters_of(self.operators.model_dump(mode="json", exclude_none=True))

    @property
    def licenses(self) -> frozenset[tuple[str, str]]:
        """Pairs of a model's reference and the license that this file names for it."""
        named = [(self.base, self.base_license), *((e.model, e.license) for e in self.experts.values())]
        return frozenset((model, license) for model, license in named if license)


def combinations_of(study: Study, stage: int) -> list[Combination]:
    """Return the experts of stage 1, their pairs (2) or triples (3), in the order of `experts`."""
    return list(combinations(study.experts, stage))


def _check_experts(study: Study) -> None:
    if not study.experts:
        raise ValueError("experts: list at least one")
    for name in study.experts:
        if not name.replace("_", "").isalnum():
            raise ValueError(
                f"experts: {name!r} is used in file names, so it must consist of letters, digits and _"
            )
        if len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(
                f"experts: {name[:20]!r}... is too long: file names contain it, so at most "
                f"{MAX_NAME_BYTES} bytes are allowed"
            )
        if name == "base":
            raise ValueError("experts: 'base' is reserved for the base model; give the expert another name")
    names_by_model = {study.base: "base"}
    for name, expert in study.experts.items():
        if other := names_by_model.get(expert.model):
            raise ValueError(f"experts: {other} and {name} are both {expert.model}; use different models")
        names_by_model[expert.model] = name


def _check_stages(study: Study) -> None:
    if not study.stages:
        raise ValueError("stages: list at least one of 1, 2, 3")
    if len(set(study.stages)) < len(study.stages):
        raise ValueError(f"stages: list each stage once (given: {list(study.stages)})")
    most = max(study.stages)
    if most > len(study.experts):
        fitting = [stage for stage in study.stages if stage <= len(study.experts)] or [1]
        present = "is 1" if len(study.experts) == 1 else f"are {len(study.experts)}"
        raise ValueError(
            f"stages: stage {most} needs {most} experts, there {present}; "
            f"add experts, or write `stages: {fitting}`"
        )
    if study.chain == "best" and sorted(study.stages) != list(range(1, most + 1)):
        raise ValueError("chain: best merges what the stage before selected; list all stages from 1")


def _check_points(study: Study) -> None:
    """Refuse grids that are too large to evaluate, before they are built."""
    merges = [combination for stage in study.stages for combination in combinations_of(study, stage)]
    size = sum(operator.size(merges) for operator in study.operators.present().values())
    if size > MAX_POINTS:
        raise ValueError(
            f"operators: the grids have {size} points over {len(merges)} combinations, at most {MAX_POINTS} "
            "are allowed; list fewer values, experts or stages"
        )


def _check_tasks(study: Study) -> None:
    if not study.tasks:
        raise ValueError("tasks: list at least one")
    kinds_by_task: dict[str, str] = {}
    for kind in ("tasks", "retention", "probes"):
        for name in getattr(study, kind):
            if name in kinds_by_task:
                raise ValueError(f"{kind}: {name!r} is under {kinds_by_task[name]} too; list it once")
            kinds_by_task[name] = kind


def _check_grids(study: Study) -> None:
    """Check the experts that grids name, and where values by expert have a meaning."""
    every = [combination for stage in study.stages for combination in combinations_of(study, stage)]
    for key, operator in study.operators.present().items():
        if key not in OPERATORS:
            continue  # `check_methods` checks it
        try:
            check_grid(operator, every)
        except ValueError as error:
            raise ValueError(f"operators.{key}.{error}") from None
        for name in operator.by_expert():
            if study.chain == "best" and 3 in study.stages:
                raise ValueError(
                    f"operators.{key}.{name}: stage 3 merges merges with `chain: best`, which have no values "
                    "by expert; write one list of values, or `stages: [1, 2]`"
                )
            if key == "ties" and study.semantics == "mergekit" and name == "lambda":
                raise ValueError(
                    f"operators.{key}.lambda: TIES of mergekit divides by the weights of the experts, so a "
                    "lambda for each has another meaning; write `weight` by expert, or `semantics: paper`"
                )
        _check_densities(study, key, operator)


def _check_densities(study: Study, key: str, operator: OperatorGrid) -> None:
    """Refuse gradients and filters of densities, which paper semantics does not define."""
    values = operator.parameters().get("density", ())
    each = values.values() if isinstance(values, Mapping) else [values]
    if study.semantics == "paper" and any(isinstance(value, list) for of_all in each for value in of_all):
        raise ValueError(
            f"operators.{key}.density: paper semantics has no gradient or filter; write numbers, or "
            "`semantics: mergekit`"
        )


def _check_named(study: Study) -> None:
    """Check the keys of `named`: experts joined by +, in the order of `experts`."""
    names = (
        ["+".join(c) for stage in study.stages for c in combinations_of(study, stage)] if study.named else []
    )
    for name, tasks in study.named.items():
        if not tasks:
            raise ValueError(f"named.{name}: list at least one task, or leave the key out to use the default")
        if name not in names:
            same = [n for n in names if sorted(n.split("+")) == sorted(name.split("+"))]
            if same:
                raise ValueError(f"named: {name!r}: write it {same[0]!r}, in the order of `experts`")
            raise ValueError(f"named: {name!r} is not a combination. {did_you_mean(name, names)}")


def _check_objective(study: Study) -> None:
    """Check the models that bounds compare with."""
    if study.select is None:
        return
    models = ["base", *study.experts]
    for name, bound in study.select.subject_to.items():
        if bound.against not in models:
            hint = did_you_mean(bound.against, models)
            raise ValueError(f"select.subject_to.{name}.against: there is no model {bound.against!r}. {hint}")


def check_processes(study: Study) -> None:
    """Refuse several processes where one has all GPUs, with ValueError."""
    if not study.evaluation.parallelize:
        return
    if study.executor == "ray":
        raise ValueError("executor: ray gives a process one GPU; with parallelize write `executor: local`")
    if (study.workers or 1) > 1:
        raise ValueError("workers: with parallelize one process has all GPUs; write `workers: 1`, or none")


def load_study(path: Path | str, include_path: Path | None = None) -> Study:
    """Return the study in a file, checked.

    Args:
        path: the file.
        include_path: folder of the user's own tasks, relative to the working directory; overrides the file's.

    Raises:
        RecipeError: the file is missing, not YAML, or not a study; one line that names the fault.
    """
    path = Path(path)
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        remedy = "`mergekit-finance study init` writes one, from options or questions."
        raise RecipeError(f"{path}: no such study file. {remedy}", id="file.unreadable") from None
    study = parse_study(content, str(path))
    if include_path is not None:
        return study.model_copy(update={"include_path": (str(include_path),)})
    folders = tuple(str(path.parent / folder) for folder in study.include_path)
    for written, folder in zip(study.include_path, folders, strict=True):
        if not Path(folder).is_dir():
            raise RecipeError(
                f"{path}: include_path {written}: no such directory. Name a folder of lm-eval task "
                "files (*.yaml), relative to the study file.",
                id="task.include-path",
            )
    return study.model_copy(update={"include_path": folders})


@default_id("study.invalid")
def parse_study(data: Json, where: str) -> Study:
    """Return the study in a mapping, checked; `where` names it in errors. Raises RecipeError in one line."""
    if not isinstance(data, Mapping):
        raise RecipeError(f"{where}: a study is a mapping of keys, this is {type(data).__name__}")
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        unknown = first_error(error)["type"] == "extra_forbidden"
        id = "study.unknown-key" if unknown else "study.invalid"
        raise RecipeError(f"{where}: {_problem(error)}", id=id) from error
    if repeated := repeated_value(study.operators):
        raise RecipeError(f"{where}: operators.{repeated}")
    check_methods(study.operators, study.stages, list(study.experts), where)
    return study


def _problem(error: ValidationError) -> str:
    """Return the first problem in one line, with the nearest valid key or the value in the file."""
    first = first_error(error)
    if first["type"] == "extra_forbidden":
        *blocks, last = first["loc"]
        keys = [str(key) for key in first["loc"] if not str(key).startswith(UNION_TAG)]
        place = ".".join(keys).replace("task_settings.", "tasks.", 1)  # as in the file
        return f"unknown key {place!r}. {did_you_mean(str(last), _valid_keys(blocks))}"
    value = first.get("input")
    shown = first["loc"] and isinstance(value, str | int | float | bool | type(None))
    problem = first_problem(error).replace("task_settings.", "tasks.", 1)  # as the file has it
    given = "nothing" if value is None else f"{value!r:.200}"
    return problem + (f" (given: {given})" if shown else "")


def _valid_keys(place: Sequence[str | int]) -> list[str]:
    """Return the keys of the block at `place`, a path of keys in the file."""
    blocks: dict[str | int, type[BaseModel]] = {
        "experts": StudyExpert, "task_settings": TaskSettings,
        "task_arithmetic": TaskArithmetic, "ties": Ties, "dare_ties": DareTies,
        "operators": Operators, "selection": Selection, "search": Search, "evaluation": Evaluation,
        "select": Objective, "subject_to": Bound,
    }  # fmt: skip
    if FILTERS in place:
        return ["filter", "value"]
    model = next((blocks[p] for p in reversed(place) if p in blocks), Study)
    return [info.alias or name for name, info in model.model_fields.items()]


def dump(study: Study) -> dict[str, JsonValue]:
    """Return the study as a JSON object that `parse_study` reads back."""
    return study.model_dump(mode="json", by_alias=True, exclude_none=True)


def identity(study: Study) -> dict[str, JsonValue]:
    """Return `dump` without the keys that change no number: where and in how many processes it runs."""
    return {key: value for key, value in dump(study).items() if key not in UNUSED_BY_SCORES}
