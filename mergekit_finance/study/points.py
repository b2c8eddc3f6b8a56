"""Merges of a study: combinations of experts, points of the grids, the plain recipe of each point."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

from mergekit_finance.files import Json
from mergekit_finance.operators import OPERATORS, by_parameter, value_of
from mergekit_finance.study.config import Combination, Study, combinations_of, format_value


@dataclass(frozen=True)
class SourceModel:
    """A model to merge: its name in recipes, and its reference (folder or Hub id)."""

    name: str  # also its mask_id
    reference: str


@dataclass(frozen=True)
class Point:
    """One merge of a study.

    Attributes:
        stage: 1, 2 or 3.
        combination: names of the experts that it combines.
        operator: key of the operator.
        values: hyperparameters, `seed` included.
        sources: the models that are merged: the experts, or with `chain: best` the selected models of the
            stage before.
        base: reference of the base.
        semantics: `paper` or `mergekit`.
        out_dtype: dtype of the merged weights.
    """

    stage: int
    combination: Combination
    operator: str
    values: Mapping[str, float]
    sources: tuple[SourceModel, ...]
    base: str
    semantics: str
    out_dtype: str = "bfloat16"

    @property
    def group(self) -> str:
        """Combination and operator, such as `stage2-finance-math-ties`."""
        return f"stage{self.stage}-{'-'.join(self.combination)}-{OPERATORS[self.operator].slug}"

    @property
    def name(self) -> str:
        """The unique name, such as `stage2-finance-math-ties-density0.2-lambda1.0`.

        Values by expert are in the order of the combination: `stage2-finance-math-ta-lambda0.6_0.4`.
        """
        texts = [self.group]
        for parameter, value in by_parameter(self.values).items():
            each = [value[e] for e in self.combination] if isinstance(value, Mapping) else [value]
            texts.append(f"{parameter}{'_'.join(map(format_value, each))}")
        return "-".join(texts)

    @property
    def cell(self) -> tuple[tuple[str, float], ...]:
        """The hyperparameters without the seed. Selection is among these."""
        return tuple((key, value) for key, value in self.values.items() if key != "seed")

    @property
    def constituents(self) -> tuple[str, ...]:
        """References of the models that Gain and OG compare with; in stage 1 the base is one of them."""
        merged = tuple(source.reference for source in self.sources)
        return (self.base, *merged) if self.stage == 1 else merged

    def recipe(self) -> dict[str, Json]:
        """Return the plain mergekit recipe, with the keys in their usual order.

        A λ for each expert is written as its weight, beside `lambda: 1.0`.
        """
        values = by_parameter(self.values)
        scale, weight = values["lambda"], values.get("weight", 1.0)
        if isinstance(scale, Mapping):
            scale, weight = 1.0, scale
        shared: dict[str, Json] = {"lambda": scale, "semantics": self.semantics}
        if "seed" in self.values:
            shared["seed"] = int(self.values["seed"])
        density = {"density": values["density"]} if "density" in values else {}
        of_experts = {"weight": weight, **density}

        def parameters(expert: str) -> dict[str, Json]:
            of_expert = {name: value_of(value, expert) for name, value in of_experts.items()}
            return {**of_expert, "mask_id": expert}

        return {
            "merge_method": OPERATORS[self.operator].method,
            "base_model": self.base,
            "models": [{"model": s.reference, "parameters": parameters(s.name)} for s in self.sources],
            "parameters": shared,
            "dtype": "float32",
            "out_dtype": self.out_dtype,
        }


@dataclass(frozen=True)
class RecipePoint:
    """The merge of `mergekit-finance run`, by any recipe that mergekit accepts.

    Attributes:
        name: the start of its folder's name.
        merge: the recipe without its `finance:` block.
        seed: seed of the merge method's random numbers; None if it uses none.
    """

    name: str
    merge: Mapping[str, Json]
    seed: int | None = None

    def recipe(self) -> dict[str, Json]:
        """Return the plain mergekit recipe."""
        return dict(self.merge)


AnyPoint: TypeAlias = Point | RecipePoint


def smaller_combinations(combination: Combination) -> list[Combination]:
    """Return the combinations with one expert fewer; `chain: best` merges their selected models."""
    return list(combinations(combination, len(combination) - 1))


def points(
    study: Study, stage: int, selected: Mapping[Combination, SourceModel] | None = None
) -> list[Point]:
    """Return all points of a stage.

    Args:
        study: the study.
        stage: 1, 2 or 3.
        selected: with `chain: best`, the selected model of each combination of the stage before.
    """
    return [
        Point(stage, combination, operator, values, sources, study.base, study.semantics, study.out_dtype)
        for combination in combinations_of(study, stage)
        for sources in [_sources(study, combination, selected)]
        for operator, grid in study.operators.present().items()
        for values in grid.grid(combination)
    ]


def merges_in_full(study: Study) -> int:
    """Return about how many merges are evaluated on all items; what a search asks for counts by its share."""
    merges = sum(len(points(study, stage)) for stage in study.stages)
    if study.race is None:
        return merges
    winners = sum(len(combinations_of(study, stage)) for stage in study.stages)
    return min(merges, winners + round(study.race.share * merges))


def _sources(
    study: Study, combination: Combination, selected: Mapping[Combination, SourceModel] | None
) -> tuple[SourceModel, ...]:
    if len(combination) == 1 or not selected:
        return tuple(SourceModel(name, study.experts[name].model) for name in combination)
    return tuple(selected[parent] for parent in smaller_combinations(combination))


def starts(study: Study) -> Iterator[Point]:
    """Yield one point per combination and operator: at the `start` values, or in the middle of the grid."""
    for stage in sorted(study.stages):
        for point in points(study, stage):
            if point.values == start(study, point.operator, point.combination):
                yield point


def start(study: Study, operator: str, combination: Combination = ()) -> Mapping[str, float]:
    """Return the first point of an operator's grid that has its `start` values, or the middle of the grid."""
    settings = study.operators.present()[operator]
    grid, start_values = settings.grid(combination), settings.start_values(combination)
    if start_values:
        for values in grid:
            if all(values[key] == value for key, value in start_values.items()):
                return values
    return grid[len(grid) // 2]


def groups(plans: Iterable[Point]) -> dict[str, list[Point]]:
    """Return points by combination and operator: each group is one sweep of a MergeSession."""
    grouped: dict[str, list[Point]] = {}
    for point in plans:
        grouped.setdefault(point.group, []).append(point)
    return grouped
