"""What a study runs: combinations of experts, points of the grids, and the plain recipe of each point."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from mergekit_finance.operators import OPERATORS
from mergekit_finance.study.config import Combination, Study, combinations_of, text


@dataclass(frozen=True)
class Source:
    """A model that is merged: what recipes call it, and where it is."""

    name: str  # also its mask_id
    reference: str


@dataclass(frozen=True)
class Point:
    """One merge: the experts it is about, what is merged, how.

    `sources` are the experts themselves, or with `chain: best` the selected models of the stage before.
    """

    stage: int
    combination: Combination
    operator: str
    values: Mapping[str, float]
    sources: tuple[Source, ...]
    base: str
    semantics: str
    out_dtype: str = "bfloat16"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """`stage2-finance-math-ties`: combination and operator."""
        return f"stage{self.stage}-{'-'.join(self.combination)}-{OPERATORS[self.operator].slug}"

    @property
    def name(self) -> str:
        """`stage2-finance-math-ties-density0.2-lambda1.0`."""
        return "-".join([self.group, *(f"{key}{text(value)}" for key, value in self.values.items())])

    @property
    def cell(self) -> tuple[tuple[str, float], ...]:
        """The hyperparameters without the seed: what is selected."""
        return tuple((key, value) for key, value in self.values.items() if key != "seed")

    @property
    def constituents(self) -> tuple[str, ...]:
        """References whose scores Gain and OG compare with; stage 1 counts the base as one."""
        merged = tuple(source.reference for source in self.sources)
        return ((self.base, *merged)) if self.stage == 1 else merged

    def recipe(self) -> dict[str, Any]:
        """The plain mergekit recipe, without a `finance:` block."""
        return recipe(self)


def recipe(point: Point) -> dict[str, Any]:
    """mergekit's keys in the order that people write them."""
    shared: dict[str, Any] = {"lambda": point.values["lambda"], "semantics": point.semantics}
    if "seed" in point.values:
        shared["seed"] = int(point.values["seed"])
    return {
        "merge_method": OPERATORS[point.operator].method,
        "base_model": point.base,
        "models": [_entry(point, source) for source in point.sources],
        "parameters": shared,
        "dtype": "float32",
        "out_dtype": point.out_dtype,
    }


def _entry(point: Point, source: Source) -> dict[str, Any]:
    own: dict[str, Any] = {"weight": 1.0}
    if "density" in point.values:
        own["density"] = point.values["density"]
    return {"model": source.reference, "parameters": own | {"mask_id": source.name}}


def parents_of(combination: Combination) -> list[Combination]:
    """The combinations of the stage before that lie within this one: what `chain: best` merges."""
    return list(combinations(combination, len(combination) - 1))


def points(study: Study, stage: int, chosen: Mapping[Combination, Source] | None = None) -> list[Point]:
    """All points of a stage. `chosen`: the selected model of each combination before (`chain: best`)."""
    return [
        Point(stage, combination, operator, values, sources, study.base, study.semantics, study.out_dtype)
        for combination in combinations_of(study, stage)
        for sources in [_sources(study, combination, chosen)]
        for operator, grid in study.operators.present().items()
        for values in grid.grid()
    ]


def _sources(
    study: Study, combination: Combination, chosen: Mapping[Combination, Source] | None
) -> tuple[Source, ...]:
    if len(combination) == 1 or not chosen:
        return tuple(Source(name, study.experts[name].model) for name in combination)
    return tuple(chosen[before] for before in parents_of(combination))


def starts(study: Study) -> Iterator[Point]:
    """One point per combination and operator: the `start` values, else the middle of the grid."""
    for stage in sorted(study.stages):
        for point in points(study, stage):
            if point.values == start(study, point.operator):
                yield point


def start(study: Study, operator: str) -> Mapping[str, float]:
    """Where to begin with an operator: its `start` values, else the middle of its grid."""
    found = study.operators.present()[operator]
    grid = found.grid()
    middle = grid[len(grid) // 2]
    return next((values for values in grid if _within(found.start, values)), middle)


def _within(wanted: Mapping[str, float], values: Mapping[str, float]) -> bool:
    return bool(wanted) and all(values[key] == value for key, value in wanted.items())


def groups(found: Iterable[Point]) -> dict[str, list[Point]]:
    """Points by combination and operator: what one MergeSession sweeps."""
    made: dict[str, list[Point]] = {}
    for point in found:
        made.setdefault(point.group, []).append(point)
    return made
