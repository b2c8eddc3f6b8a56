"""The operators of study.yml and the grids of their hyperparameters."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from mergekit_finance.files import Json
from mergekit_finance.operators import OPERATORS
from mergekit_finance.recipe.fields import ConfigBlock, Density, GridList, Lambda, Seed, as_list


class TaskArithmetic(ConfigBlock):
    """The grid of Task Arithmetic: base + lambda * sum of task vectors."""

    lambdas: Annotated[tuple[Lambda, ...], GridList, BeforeValidator(as_list)] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), alias="lambda"
    )
    start: dict[str, float] = {}

    @property
    def size(self) -> int:
        """Number of points."""
        return len(set(self.lambdas))

    def grid(self) -> list[dict[str, float]]:
        """Return the hyperparameters of every point."""
        return [{"lambda": value} for value in _sorted_unique(self.lambdas)]


class Ties(ConfigBlock):
    """The grid of TIES: every density with every lambda."""

    densities: Annotated[tuple[Density, ...], GridList, BeforeValidator(as_list)] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), alias="density"
    )
    lambdas: Annotated[tuple[Lambda, ...], GridList, BeforeValidator(as_list)] = Field(
        default=(1.0,), alias="lambda"
    )
    start: dict[str, float] = {}

    @property
    def size(self) -> int:
        """Number of points."""
        return len(set(self.densities)) * len(set(self.lambdas))

    def grid(self) -> list[dict[str, float]]:
        """Return the hyperparameters of every point."""
        return [
            {"density": density, "lambda": value}
            for density in _sorted_unique(self.densities)
            for value in _sorted_unique(self.lambdas)
        ]


class DareTies(Ties):
    """The grid of DARE-TIES: every density with every lambda and every seed of the masks."""

    seeds: Annotated[tuple[Seed, ...], GridList, BeforeValidator(as_list)] = (0,)

    @property
    def size(self) -> int:
        """Number of points."""
        return super().size * len(set(self.seeds))

    def grid(self) -> list[dict[str, float]]:
        """Return the hyperparameters of every point."""
        return [values | {"seed": seed} for values in super().grid() for seed in _sorted_unique(self.seeds)]


class Operators(ConfigBlock):
    """The operators of the study; one that is left out is not run."""

    task_arithmetic: TaskArithmetic | None = None
    ties: Ties | None = None
    dare_ties: DareTies | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Json) -> Json:
        """Read `ties:` without a value as TIES with its defaults, not as an operator that is left out."""
        if not isinstance(data, Mapping):
            return data
        return {name: {} if value is None else value for name, value in data.items()}

    @model_validator(mode="after")
    def _at_least_one(self) -> "Operators":
        if not self.present():
            raise ValueError(f"list at least one of {', '.join(OPERATORS)}")
        return self

    def present(self) -> dict[str, TaskArithmetic | Ties]:
        """Return the operators that the study runs, by key, the simplest first."""
        return {key: value for key in OPERATORS if (value := getattr(self, key)) is not None}


def _sorted_unique(values: Iterable[float]) -> list[float]:
    return sorted(set(values))
