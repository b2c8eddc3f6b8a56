"""The types of hyperparameters in the grids of study.yml.

A list is a grid of values. A value may be a gradient over the layers, a list in the list (`t: [[0, 0.5, 1]]`
is one value), or filters: `lambda: [{filter: mlp, value: 0.4}, {value: 0.8}]` is one value, and a list of
such lists is a grid.
"""

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    with_config,
)
from typing_extensions import Required, TypedDict  # typing's cannot be validated before Python 3.12

from mergekit_finance.errors import UNION_TAG
from mergekit_finance.files import Json, is_name
from mergekit_finance.operators import size_error
from mergekit_finance.recipe.fields import Density, GridList, IsNumber, Lambda, Name, Text

SHARED, BY_EXPERT = f"{UNION_TAG}all", f"{UNION_TAG}by expert"
PLAIN, GRADIENT, FILTERS = f"{UNION_TAG}plain", f"{UNION_TAG}gradient", f"{UNION_TAG}filters"
MAX_NAMED = Field(min_length=1, max_length=50)
ListOf = Field(min_length=1, max_length=1000)
LARGEST = 1e9


def _scalar(value: bool | int | float | str) -> bool | int | float | str:
    if isinstance(value, str):
        if not 0 < len(value) <= 255 or not is_name(value):
            raise ValueError("must be one line of printable characters without < > `")
    elif not isinstance(value, int | float):
        raise ValueError("must be a number, a word, true or false; a gradient is a list in the list")
    elif not -LARGEST <= value <= LARGEST:  # NaN is not, either
        raise ValueError(f"must lie between {-LARGEST:g} and {LARGEST:g}")
    elif problem := size_error("", value):
        raise ValueError(problem)
    return value


SCALAR_SCHEMA = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
        {"type": "string", "minLength": 1, "maxLength": 255},
    ]
}
Scalar: TypeAlias = Annotated[
    bool | int | float | str, PlainValidator(_scalar), WithJsonSchema(SCALAR_SCHEMA)
]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST), IsNumber]


def _kind(value: Json) -> str:
    return BY_EXPERT if isinstance(value, Mapping) else SHARED


def _form(value: Json) -> str:
    if not isinstance(value, list | tuple):
        return PLAIN
    return FILTERS if value and all(isinstance(part, Mapping) for part in value) else GRADIENT


def _form_in_filter(value: Json) -> str:
    return GRADIENT if isinstance(value, list | tuple) else PLAIN


def as_grid(value: Json) -> Json:
    """Wrap a single value, also if it is a list of filters: `lambda: 0.5` means `lambda: [0.5]`.

    Raises:
        ValueError: it is a list of mappings that are no filters, such as `[{finance: 0.6}, {finance: 1.0}]`.
    """
    parts = value if isinstance(value, list | tuple) else ()
    if any(isinstance(part, Mapping) and not {"filter", "value"} & part.keys() for part in parts):
        raise ValueError(
            "a list cannot hold values by expert. Write a mapping with a list for each expert, such as "
            "{finance: [0.6, 1.0]}"
        )
    if not isinstance(value, list | tuple) or _form(value) == FILTERS:
        return [value]
    return value


@with_config(ConfigDict(extra="forbid"))
class LambdaFilter(TypedDict, total=False):
    """A value for the tensors whose name contains `filter`; without `filter`, for all others."""

    filter: Text
    value: Required[
        Annotated[
            Annotated[Lambda, Tag(PLAIN)] | Annotated[list[Lambda], ListOf, Tag(GRADIENT)],
            Discriminator(_form_in_filter),
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class DensityFilter(TypedDict, total=False):
    """The same of a density."""

    filter: Text
    value: Required[
        Annotated[
            Annotated[Density, Tag(PLAIN)] | Annotated[list[Density], ListOf, Tag(GRADIENT)],
            Discriminator(_form_in_filter),
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class ScalarFilter(TypedDict, total=False):
    """The same of any parameter of a merge method."""

    filter: Text
    value: Required[
        Annotated[
            Annotated[Scalar, Tag(PLAIN)] | Annotated[list[Number], ListOf, Tag(GRADIENT)],
            Discriminator(_form_in_filter),
        ]
    ]


LambdaSetting = Annotated[
    Annotated[Lambda, Tag(PLAIN)]
    | Annotated[list[Lambda], ListOf, Tag(GRADIENT)]
    | Annotated[list[LambdaFilter], ListOf, Tag(FILTERS)],
    Discriminator(_form),
]
DensitySetting = Annotated[
    Annotated[Density, Tag(PLAIN)]
    | Annotated[list[Density], ListOf, Tag(GRADIENT)]
    | Annotated[list[DensityFilter], ListOf, Tag(FILTERS)],
    Discriminator(_form),
]
ScalarSetting = Annotated[
    Annotated[Scalar, Tag(PLAIN)]
    | Annotated[list[Number], ListOf, Tag(GRADIENT)]
    | Annotated[list[ScalarFilter], ListOf, Tag(FILTERS)],
    Discriminator(_form),
]
LambdaSettings = Annotated[tuple[LambdaSetting, ...], GridList, BeforeValidator(as_grid)]
DensitySettings = Annotated[tuple[DensitySetting, ...], GridList, BeforeValidator(as_grid)]
ScalarSettings = Annotated[tuple[ScalarSetting, ...], GridList, BeforeValidator(as_grid)]
LambdaGrid = Annotated[
    Annotated[LambdaSettings, Tag(SHARED)] | Annotated[dict[Name, LambdaSettings], MAX_NAMED, Tag(BY_EXPERT)],
    Discriminator(_kind),
]
DensityGrid = Annotated[
    Annotated[DensitySettings, Tag(SHARED)]
    | Annotated[dict[Name, DensitySettings], MAX_NAMED, Tag(BY_EXPERT)],
    Discriminator(_kind),
]
ScalarGrid = Annotated[
    Annotated[ScalarSettings, Tag(SHARED)] | Annotated[dict[Name, ScalarSettings], MAX_NAMED, Tag(BY_EXPERT)],
    Discriminator(_kind),
]
Start = Annotated[
    Annotated[Scalar, Tag(SHARED)] | Annotated[dict[Name, Scalar], Tag(BY_EXPERT)], Discriminator(_kind)
]
