"""study.yml: one file describes the experiment. Checked as a whole before anything is read or run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from mergekit_finance.errors import RecipeError, did_you_mean

LONGEST = 40  # bytes of an expert's name: a triple's names, its values and a hash make one folder's name
SKILLS = ("finance", "math", "japanese")
SHORT = {"task_arithmetic": "ta", "ties": "ties", "dare_ties": "dare-ties"}


def _list(value: Any) -> Any:
    """One value stands for a grid of one."""
    return value if isinstance(value, list | tuple) else [value]


def _number(value: Any) -> Any:
    """YAML's yes and true are no numbers, though Python counts with them."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no")
    return value


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What stands twice is a slip: the second changes nothing, or was meant to be another."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} stands twice")
    return values


IsNumber, Once = BeforeValidator(_number), AfterValidator(_once)
Lambda = Annotated[float, Field(allow_inf_nan=False, ge=-10, le=10), IsNumber]
Density = Annotated[float, Field(gt=0, le=1), IsNumber]
Seed = Annotated[int, Field(ge=0), IsNumber]
Count = Annotated[int, Field(ge=1), IsNumber]
Names = Annotated[tuple[str, ...], BeforeValidator(_list), Once]


class Part(BaseModel):
    """A block of the file: no unknown keys, nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Expert(Part):
    """A continually pre-trained model and what it is an expert in."""

    model: Annotated[str, Field(min_length=1)]
    skills: Annotated[tuple[str, ...], BeforeValidator(_list)] = ()
    licence: str | None = Field(None, description="SPDX id or name of the model's licence, for the card")


class TaskArithmetic(Part):
    """theta_0 + lambda * sum of task vectors."""

    lambdas: Annotated[tuple[Lambda, ...], BeforeValidator(_list)] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), alias="lambda", min_length=1
    )
    start: dict[str, float] = {}

    def grid(self) -> list[dict[str, float]]:
        return [{"lambda": value} for value in _rising(self.lambdas)]


class Ties(Part):
    """TIES over every density and lambda."""

    densities: Annotated[tuple[Density, ...], BeforeValidator(_list)] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), alias="density", min_length=1
    )
    lambdas: Annotated[tuple[Lambda, ...], BeforeValidator(_list)] = Field(
        (1.0,), alias="lambda", min_length=1
    )
    start: dict[str, float] = {}

    def grid(self) -> list[dict[str, float]]:
        return [
            {"density": density, "lambda": value}
            for density in _rising(self.densities)
            for value in _rising(self.lambdas)
        ]


class DareTies(Ties):
    """DARE-TIES over every density, lambda and seed of its masks."""

    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_list)] = Field((0,), min_length=1)

    def grid(self) -> list[dict[str, float]]:
        return [values | {"seed": seed} for values in super().grid() for seed in _rising(self.seeds)]


class Operators(Part):
    """The operators of the study; one that is left out is not run."""

    task_arithmetic: TaskArithmetic | None = None
    ties: Ties | None = None
    dare_ties: DareTies | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """`ties:` with nothing behind it is an operator with its defaults, not one left out."""
        if not isinstance(data, Mapping):
            return data
        return {name: {} if value is None else value for name, value in data.items()}

    @model_validator(mode="after")
    def _some(self) -> "Operators":
        if not self.present():
            raise ValueError(f"name at least one of {', '.join(SHORT)}")
        return self

    def present(self) -> dict[str, TaskArithmetic | Ties | DareTies]:
        return {name: value for name in SHORT if (value := getattr(self, name)) is not None}


class Selection(Part):
    """How one hyperparameter per combination and operator is chosen."""

    share: Annotated[float, Field(gt=0, lt=1), IsNumber] = 0.3
    seed: Seed = 0
    same_items: bool = Field(False, description="select and report on the same items: optimistic, labelled")


class Evaluation(Part):
    """How models are evaluated."""

    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: Count = 8
    max_gen_toks: Count | None = None
    threads: Annotated[Count, Field(le=1024)] = Field(1, description="CPU threads of one worker")
    samples: Literal["all", "none"] = "all"


class Study(Part):
    """The whole file."""

    name: str = "study"
    base: Annotated[str, Field(min_length=1)]
    base_licence: str | None = None
    experts: dict[str, Expert]
    operators: Operators
    semantics: Literal["paper", "mergekit"] = "paper"
    stages: Annotated[tuple[Literal[1, 2, 3], ...], BeforeValidator(_list)] = (1, 2, 3)
    chain: Literal["experts", "best"] = "experts"
    tasks: Names = ("finance_bench",)
    retention: Names = ()
    probes: Names = ()
    named: dict[str, Names] = Field({}, description="combination: the tasks its tests are about")
    source: str | None = None
    data_dir: str | None = None
    limit: Count | None = None
    selection: Selection = Selection()
    evaluation: Evaluation = Evaluation()
    executor: Literal["local", "ray"] = "local"
    workers: Count | None = None
    out_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    resamples: Annotated[int, Field(ge=200), IsNumber] = 2000
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        _check_experts(self)
        _check_stages(self)
        _check_tasks(self)
        _check_starts(self)
        _check_named(self)
        return self

    @property
    def skills(self) -> dict[str, frozenset[str]]:
        """Skills by expert; one that names none is an expert in its own name."""
        return {name: frozenset(e.skills or (name,)) for name, e in self.experts.items()}


def _rising(values: tuple[Any, ...]) -> list[Any]:
    return sorted(set(values))


def _check_experts(study: Study) -> None:
    if not study.experts:
        raise ValueError("experts: name at least one")
    for name in study.experts:
        if not name.replace("_", "").isalnum():
            raise ValueError(f"experts: {name!r} must be letters, digits and _: it names files")
        if len(name.encode()) > LONGEST:
            raise ValueError(f"experts: {name[:20]!r}... is longer than {LONGEST} bytes: it names files")
        if name == "base":
            raise ValueError("experts: 'base' names the base itself; give the expert another name")
    seen = {study.base: "base"}
    for name, expert in study.experts.items():
        if other := seen.get(expert.model):
            raise ValueError(f"experts: {other} and {name} are both {expert.model}; name different models")
        seen[expert.model] = name


def _check_stages(study: Study) -> None:
    if not study.stages:
        raise ValueError("stages: name at least one of 1, 2, 3")
    if len(set(study.stages)) < len(study.stages):
        raise ValueError(f"stages: name each once (given: {list(study.stages)})")
    most = max(study.stages)
    if most > len(study.experts):
        fitting = [stage for stage in study.stages if stage <= len(study.experts)] or [1]
        raise ValueError(
            f"stages: stage {most} needs {most} experts, there are {len(study.experts)}; "
            f"add experts, or write `stages: {fitting}`"
        )
    if study.chain == "best" and sorted(study.stages) != list(range(1, most + 1)):
        raise ValueError("chain: best takes each stage's selected models to the next; name all stages from 1")


def _check_tasks(study: Study) -> None:
    if not study.tasks:
        raise ValueError("tasks: name at least one")
    seen: dict[str, str] = {}
    for kind in ("tasks", "retention", "probes"):
        for name in getattr(study, kind):
            if name in seen:
                raise ValueError(f"{kind}: {name!r} is under {seen[name]} too; it is one or the other")
            seen[name] = kind


def _check_starts(study: Study) -> None:
    for name, operator in study.operators.present().items():
        keys = set(operator.grid()[0])
        for key in operator.start:
            if key not in keys:
                raise ValueError(f"operators.{name}.start: unknown {key!r}; {did_you_mean(key, keys)}")
        if not any(operator.start.items() <= values.items() for values in operator.grid()):
            raise ValueError(
                f"operators.{name}.start: {operator.start} is no point of the grid; name one of it"
            )


def _check_named(study: Study) -> None:
    """A combination is written as its experts, joined by +, in the order of `experts`."""
    from mergekit_finance.study.points import combinations_of

    known = ["+".join(c) for stage in study.stages for c in combinations_of(study, stage)]
    for name, tasks in study.named.items():
        if not tasks:
            raise ValueError(f"named.{name}: name at least one task, or leave it out: then it is the default")
        if name not in known:
            same = [k for k in known if sorted(k.split("+")) == sorted(name.split("+"))]
            if same:
                raise ValueError(f"named: {name!r}: write it {same[0]!r}, in the order of `experts`")
            raise ValueError(f"named: {name!r} is no combination; {did_you_mean(name, known)}")


class _Unique(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake: the first would be dropped in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if (
                isinstance(key, yaml.ScalarNode)
                and key.value in seen
                and key.tag != "tag:yaml.org,2002:merge"
            ):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} stands twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path | str) -> Study:
    """Read and check a study. Raises RecipeError in one line."""
    path = Path(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Unique)
    except FileNotFoundError:
        copy = "`mergekit-finance recipes copy lab/study.yml .` gives one"
        raise RecipeError(f"{path}: no such study; {copy}") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path}: cannot be read as text ({fault})") from fault
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(
            f"{path}{where}: not YAML ({getattr(fault, 'problem', None) or 'cannot be parsed'})"
        ) from fault
    return parse(data, str(path))


def parse(data: Any, where: str) -> Study:
    """Check a mapping as a study; `where` names it in errors."""
    if not isinstance(data, Mapping):
        raise RecipeError(f"{where}: a study is a mapping of keys, this is {type(data).__name__}")
    try:
        return Study.model_validate(data)
    except ValidationError as fault:
        raise RecipeError(f"{where}: {_first(fault)}") from fault


def _first(fault: ValidationError) -> str:
    """The first fault in one line: where, what, and the nearest known key."""
    error = fault.errors(include_url=False)[0]
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        *parents, last = error["loc"]
        return f"unknown key {place!r}. {did_you_mean(str(last), _keys(parents))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("dict_type", "model_type"):
        message = "must be a mapping of keys"
    given = error.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | type(None)) else ""
    return f"{place}: {message}{shown}" if place else message


def _keys(place: list[Any]) -> list[str]:
    """The keys that the block at `place` knows."""
    blocks = {
        "experts": Expert, "task_arithmetic": TaskArithmetic, "ties": Ties, "dare_ties": DareTies,
        "operators": Operators, "selection": Selection, "evaluation": Evaluation,
    }  # fmt: skip
    model: type[BaseModel] = next((blocks[p] for p in reversed(place) if p in blocks), Study)
    return [info.alias or name for name, info in model.model_fields.items()]


def text(value: float) -> str:
    """A hyperparameter as names and recipes write it: 0.5, 1.0, seeds as they are."""
    return str(value) if isinstance(value, int) else repr(float(value))


def dump(study: Study) -> dict[str, Any]:
    """As a mapping that `parse` reads back, for the store and the report."""
    return study.model_dump(mode="json", by_alias=True, exclude_none=True)


def identity(study: Study) -> dict[str, Any]:
    """What a study asks, less how many processes answer it and where: they change no number."""
    return {key: value for key, value in dump(study).items() if key not in ("executor", "workers")}
