"""The operators of study.yml and the grids of their hyperparameters.

A hyperparameter has values that all experts of a merge share (`lambda: [0.2, 0.4]`), or values for each
expert (`lambda: {finance: [0.6, 1.0], math: [0.4, 0.8]}`). The points of a combination are the product of the
values of all hyperparameters and of the experts that take part in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Annotated, ClassVar, TypeAlias, cast

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mergekit_finance.errors import did_you_mean
from mergekit_finance.files import Json
from mergekit_finance.operators import OPERATORS, RANDOM, key_of, value_order
from mergekit_finance.recipe.fields import ConfigBlock, GridList, Name, Seed, as_list
from mergekit_finance.recipe.grid_fields import DensityGrid, LambdaGrid, ScalarGrid, Start

NOT_NAMED = 1.0  # of an expert that a mapping of values does not name: the default of all three
BASE = "base"  # names the base's value where it is one of the models that are merged
Values: TypeAlias = Sequence[Json] | Mapping[str, Sequence[Json]]


class OperatorGrid(ConfigBlock):
    """The grid of an operator; subclasses have the values of its hyperparameters."""

    fields: ClassVar[dict[str, str]] = {}  # hyperparameter -> field, the slowest in the grid first
    start: dict[str, Start] = {}

    def parameters(self) -> dict[str, Values]:
        """Return the values of each hyperparameter that the grid has, the slowest first."""
        values = {name: getattr(self, field) for name, field in self.fields.items()}
        return {name: value for name, value in values.items() if value is not None}

    def not_named(self, name: str) -> Sequence[Json]:
        """Return a hyperparameter's value for an expert that its mapping does not name; () for none."""
        return (NOT_NAMED,)

    def by_expert(self) -> dict[str, Mapping[str, Sequence[Json]]]:
        """Return the hyperparameters that have values for each expert."""
        return {name: values for name, values in self.parameters().items() if isinstance(values, Mapping)}

    def axes(self, combination: Sequence[str] = ()) -> dict[str, list[Json]]:
        """Return the values of each key of a point: `lambda`, or `lambda.finance` and `lambda.math`.

        Args:
            combination: the experts of the merge; needed where values are those of an expert.
        """
        axes: dict[str, list[Json]] = {}
        for name, values in self.parameters().items():
            if isinstance(values, Mapping):
                models = [BASE, *combination] if BASE in values and len(combination) == 1 else combination
                each = {key_of(name, model): values.get(model, self.not_named(name)) for model in models}
            else:
                each = {name: values}
            axes |= {key: _sorted_unique(of_key) for key, of_key in each.items() if of_key}
        return axes

    def grid(self, combination: Sequence[str] = ()) -> list[dict[str, Json]]:
        """Return the hyperparameters of every point of a combination, in order."""
        axes = self.axes(combination)
        return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]

    def size(self, combinations: Iterable[Sequence[str]]) -> int:
        """Return the number of points of all these combinations, without building them."""
        shared = [len(_sorted_unique(v)) for v in self.parameters().values() if not isinstance(v, Mapping)]
        each = [
            {e: len(_sorted_unique(v)) for e, v in values.items()} for values in self.by_expert().values()
        ]
        points = prod(shared)
        return sum(points * prod(n.get(e, 1) for n in each for e in names) for names in combinations)

    def cells(self, combination: Sequence[str]) -> int:
        """Return the number of points of a combination that differ in more than the seed."""
        return prod(len(values) for key, values in self.axes(combination).items() if key != "seed")

    def start_values(self, combination: Sequence[str]) -> dict[str, Json]:
        """Return the values of `start` by key, as far as they concern a combination."""
        values: dict[str, Json] = {}
        for name, start in self.start.items():
            if isinstance(start, Mapping):
                values |= {key_of(name, e): start[e] for e in combination if e in start}
            else:
                values[name] = start
        return values


class TaskArithmetic(OperatorGrid):
    """The grid of Task Arithmetic: base + lambda * sum of task vectors."""

    fields: ClassVar = {"lambda": "lambdas", "weight": "weights"}
    lambdas: LambdaGrid = Field(default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), alias="lambda")
    weights: LambdaGrid | None = Field(default=None, alias="weight")

    @model_validator(mode="after")
    def _one_scale(self) -> "TaskArithmetic":
        """Refuse two scales for each expert: a λ by expert is written as its weight."""
        if isinstance(self.lambdas, Mapping) and self.weights is not None:
            raise ValueError("a lambda for each expert is its weight; leave out weight, or give one lambda")
        return self


class Ties(TaskArithmetic):
    """The grid of TIES: every density with every lambda."""

    fields: ClassVar = {"density": "densities", "lambda": "lambdas", "weight": "weights"}
    densities: DensityGrid = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), alias="density"
    )
    lambdas: LambdaGrid = Field(default=(1.0,), alias="lambda")


class DareTies(Ties):
    """The grid of DARE-TIES: every density with every lambda and every seed of the masks."""

    fields: ClassVar = {**Ties.fields, "seed": "seeds"}
    seeds: Annotated[tuple[Seed, ...], GridList, BeforeValidator(as_list)] = (0,)


class MethodGrid(OperatorGrid):
    """The grid of any merge method of mergekit or a plugin: values of the parameters that it declares.

    `weight` is 1 where it is not given; other parameters that are not given have the method's defaults.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Name, ScalarGrid] = Field(init=False)
    seeds: Annotated[tuple[Seed, ...], GridList, BeforeValidator(as_list)] | None = Field(
        default=None, description="of mergekit's random numbers, for methods that draw some"
    )

    def parameters(self) -> dict[str, Values]:
        """Return the values of each parameter, by name, then the seeds."""
        extra = cast(Mapping[str, Values], self.__pydantic_extra__ or {})
        values = {name: extra[name] for name in sorted(extra)}
        return {**values, "seed": self.seeds} if self.seeds else values

    def not_named(self, name: str) -> Sequence[Json]:
        """Return 1 for `weight`; other parameters have the method's default, which a recipe leaves out."""
        return (NOT_NAMED,) if name == "weight" else ()


class Operators(ConfigBlock):
    """The operators of the study; one that is left out is not run.

    Keys besides the three are the names of merge methods of mergekit or a plugin.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Annotated[Name, Field(pattern=r"^[\w-]+$")], MethodGrid] = Field(init=False)
    task_arithmetic: TaskArithmetic | None = None
    ties: Ties | None = None
    dare_ties: DareTies | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Json) -> Json:
        """Read `ties:` without a value as TIES with its defaults, and let methods that draw have a seed."""
        if not isinstance(data, Mapping):
            return data
        content = {name: {} if value is None else value for name, value in data.items()}
        for name in RANDOM:
            if isinstance(grid := content.get(name), Mapping):
                content[name] = {"seeds": [0], **grid}
        return content

    @model_validator(mode="after")
    def _at_least_one(self) -> "Operators":
        if not self.present():
            raise ValueError(f"list at least one of {', '.join(OPERATORS)}, or any merge method of mergekit")
        return self

    @property
    def methods(self) -> dict[str, MethodGrid]:
        """The merge methods besides the three operators, by key."""
        extra = self.__pydantic_extra__ or {}
        return {key: extra[key] for key in sorted(extra)}

    def present(self) -> dict[str, OperatorGrid]:
        """Return the operators that the study runs, by key, the simplest first."""
        return {key: value for key in OPERATORS if (value := getattr(self, key)) is not None} | self.methods


def check_grid(grid: OperatorGrid, combinations: Sequence[Sequence[str]], others: Sequence[str] = ()) -> None:
    """Check the experts that a grid names, and that its `start` is one of its points.

    Args:
        grid: of one operator.
        combinations: the experts of every merge.
        others: other names that values may have: the base.

    Raises:
        ValueError: what is wrong, after the name of the hyperparameter.
    """
    experts = [*dict.fromkeys(expert for combination in combinations for expert in combination), *others]
    names_by_parameter = [(name, list(values)) for name, values in grid.by_expert().items()]
    names_by_parameter += [
        (f"start.{name}", list(v)) for name, v in grid.start.items() if isinstance(v, Mapping)
    ]
    for name, names in names_by_parameter:
        for expert in names:
            if expert not in experts:
                raise ValueError(f"{name}: unknown expert {expert!r}. {did_you_mean(expert, experts)}")
    for name in grid.start:
        if name not in grid.parameters():
            raise ValueError(f"start: unknown {name!r}. {did_you_mean(name, grid.parameters())}")
    for combination in combinations:
        axes = grid.axes(combination)
        if any(value not in axes.get(key, ()) for key, value in grid.start_values(combination).items()):
            raise ValueError(f"start: {grid.start} is not a point of the grid; choose one that is")


def repeated_value(operators: Operators) -> str:
    """Return the first value that a grid lists twice and where it is, or "" if there is none.

    Not part of the models' own validation: the folders of older studies may have such grids.
    """
    for key, grid in operators.present().items():
        for parameter, values in grid.parameters().items():
            name = "seeds" if parameter == "seed" and getattr(grid, "seeds", None) else parameter
            lists = (
                {f"{name}.{e}": v for e, v in values.items()}
                if isinstance(values, Mapping)
                else {name: values}
            )
            for place, each in lists.items():
                earlier = set()
                for value in each:
                    if (order := value_order(value)) in earlier:
                        return f"{key}.{place}: {value!r:.80} appears twice. Remove one."
                    earlier.add(order)
    return ""


def _sorted_unique(values: Iterable[Json]) -> list[Json]:
    by_order = {value_order(value): value for value in values}
    return [by_order[order] for order in sorted(by_order)]
