"""What all models of study files share: numbers, intervals, the base class."""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergekit_finance.files import Json, JsonObject

MAX_NUMBER = 10**12  # larger numbers are damage: figures overflow on them
Number = Annotated[float, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
Whole = Annotated[int, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
Value = Whole | Number  # of a hyperparameter; seeds stay whole numbers
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_NUMBER)]
Side = Literal["above", "below", "unclear"]
Ranges = dict[str, tuple[Number, Number] | tuple[Number, Number, Number, Number]]


class Interval(NamedTuple):
    """An estimate with its 95 % interval; in JSON the list [value, low, high]."""

    value: Number
    low: Number
    high: Number

    @property
    def side(self) -> Side:
        """Where the interval lies: "above" 0, "below" 0, or "unclear" where it holds 0."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "unclear"


def rounded(numbers: Iterable[float]) -> Interval:
    """Return (value, low, high) to 6 digits, so that files do not depend on the last bits of a sum."""
    value, low, high = (round(float(number), 6) + 0.0 for number in numbers)  # + 0.0: no minus zero
    return Interval(value, low, high)


class Part(BaseModel):
    """Base of all models here. Unknown keys are ignored: a later version may write more."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    def as_json(self) -> JsonObject:
        """Return what is written to the file. Fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, in one line: where and what."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))[:100]
    message = first["msg"].removeprefix("Value error, ")
    return " ".join((f"{place}: {message}" if place else message).split())


def misfit(model: type[BaseModel], content: Json) -> str:
    """Return the first thing in `content` that is not what `model` says, in one line, or ""."""
    try:
        model.model_validate(content)
    except ValidationError as error:
        return first_problem(error)
    return ""
