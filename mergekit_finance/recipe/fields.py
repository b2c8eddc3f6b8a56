"""The types of the values in study.yml and in a recipe's `finance:` block, with their bounds."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator

from mergekit_finance.files import Json, is_name
from mergekit_finance.operators import size_error

MAX_POINTS = 10_000  # of all grids; each is a merge and an evaluation
Value = TypeVar("Value")


def as_list(value: Json) -> Json:
    """Wrap a single value: `lambda: 0.5` means `lambda: [0.5]`."""
    return value if isinstance(value, list | tuple) else [value]


def _no_bool(value: Json) -> Json:
    """Refuse YAML's yes and true as numbers, which Python would read as 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no")
    return value


def _number(value: Json, validate: Callable[[Json], float]) -> float:
    """Refuse yes and true, and numbers that are almost 0, which are typing errors such as 1e-320."""
    number = validate(_no_bool(value))
    if problem := size_error("", number):
        raise ValueError(problem)
    return number


def _density(value: float) -> float:
    if problem := size_error("density", value):
        raise ValueError(problem)
    return value


def _whole(value: Json) -> Json:
    """Refuse yes and true, and read 1e30 as the integer, so that a message names the bound it exceeds."""
    value = _no_bool(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unique(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Refuse a repeated value: it changes nothing, so it is probably a typing error."""
    earlier = set()
    for value in values:
        if value in earlier:
            raise ValueError(f"{value!r} appears twice")
        earlier.add(value)
    return values


def _name(value: str) -> str:
    """Refuse a name that the files of a study and its report cannot show (`files.require_names`)."""
    if not is_name(value):
        raise ValueError("must be one line of printable characters without < > `")
    return value


IsNumber, IsWhole, Unique = WrapValidator(_number), BeforeValidator(_whole), AfterValidator(_unique)
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
Reference = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_name)]
Folder = Annotated[str, Field(min_length=1, max_length=4096)]
Text = Annotated[str, Field(max_length=1000)]
Lambda = Annotated[float, Field(allow_inf_nan=False, ge=-10, le=10), IsNumber]
Density = Annotated[float, Field(gt=0, le=1), AfterValidator(_density), IsNumber]
Seed = Annotated[int, Field(ge=0, lt=2**32), IsWhole]
PositiveCount = Annotated[int, Field(ge=1, le=10**9), IsWhole]
GridList = Field(min_length=1, max_length=MAX_POINTS)
Names = Annotated[tuple[Name, ...], Field(max_length=1000), BeforeValidator(as_list), Unique]


class ConfigBlock(BaseModel):
    """A block of the file. Unknown keys are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
