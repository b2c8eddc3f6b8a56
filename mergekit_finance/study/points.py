"""Merges of a study: combinations of experts, points of the grids, the plain recipe of each point."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

from pydantic import TypeAdapter

from mergekit_finance.file_models import Value
from mergekit_finance.files import Json
from mergekit_finance.operators import OPERATORS, by_parameter, format_value, operator_of, value_of
from mergekit_finance.study.config import Combination, Study, combinations_of
from mergekit_finance.study.methods import fits, method_recipe
from mergekit_finance.study.operator_grids import BASE
from mergekit_finance.study.schema import MergeRecipe, PointEntry


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
    values: Mapping[str, Json]
    sources: tuple[SourceModel, ...]
    base: str
    semantics: str
    out_dtype: str = "bfloat16"

    @property
    def group(self) -> str:
        """Combination and operator, such as `stage2-finance-math-ties`."""
        return f"stage{self.stage}-{'-'.join(self.combination)}-{operator_of(self.operator).slug}"

    @property
    def name(self) -> str:
        """The unique name, such as `stage2-finance-math-ties-density0.2-lambda1.0`.

        Hyperparameters are in the order of their names, as in files, the seed last; values by expert in that
        of the combination: `stage2-finance-math-ta-lambda0.6_0.4`.
        """
        texts = [self.group]
        values = by_parameter(self.values)
        for parameter in sorted(values, key=lambda name: (name == "seed", name)):
            value, models = values[parameter], [BASE, *self.combination]
            each = [value[m] for m in models if m in value] if isinstance(value, Mapping) else [value]
            texts.append(f"{parameter}{'_'.join(map(format_value, each))}")
        return "-".join(texts)

    @property
    def cell(self) -> tuple[tuple[str, Json], ...]:
        """The hyperparameters without the seed. Selection is among these."""
        return tuple((key, value) for key, value in self.values.items() if key != "seed")

    @property
    def constituents(self) -> tuple[str, ...]:
        """References of the models that Gain and OG compare with; in stage 1 the base is one of them."""
        merged = tuple(source.reference for source in self.sources)
        return (self.base, *merged) if self.stage == 1 else merged

    @property
    def drawn_seed(self) -> int | None:
        """The seed for mergekit's `--random-seed`; None if the recipe says it, or nothing is drawn."""
        return drawn_seed(self.operator, self.values)

    @property
    def template_source(self) -> str | None:
        """The model whose tokenizer and chat template the merge gets: mergekit copies those of the base."""
        recipe = self.recipe()
        return str(recipe["base_model"]) if recipe.get("base_model") else None

    def recipe(self) -> dict[str, Json]:
        """Return the plain mergekit recipe, with the keys in their usual order.

        A λ for each expert is written as its weight, beside `lambda: 1.0`. The seed of a method of mergekit
        is not a part of a recipe: see `drawn_seed`.
        """
        if self.operator not in OPERATORS:
            sources = {source.name: source.reference for source in self.sources}
            return method_recipe(self.operator, self.values, sources, self.base, self.out_dtype)
        values = by_parameter(self.values)
        scale, weight = values["lambda"], values.get("weight", 1.0)
        if isinstance(scale, Mapping):
            scale, weight = 1.0, scale
        shared: dict[str, Json] = {"lambda": scale, "semantics": self.semantics}
        if "seed" in self.values:
            shared["seed"] = self.values["seed"]
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

    @property
    def drawn_seed(self) -> int | None:
        """The seed for mergekit's `--random-seed`."""
        return self.seed

    @property
    def template_source(self) -> None:
        """A recipe may set a chat template of its own, so the merge itself is asked."""

    def recipe(self) -> dict[str, Json]:
        """Return the plain mergekit recipe."""
        return dict(self.merge)


AnyPoint: TypeAlias = Point | RecipePoint


def stored_values(values: Mapping[str, Json]) -> dict[str, Value]:
    """Return the values of a point as its entry in index.json has them."""
    return TypeAdapter(dict[str, Value]).validate_python(dict(values))


def drawn_seed(operator: str, values: Mapping[str, Json]) -> int | None:
    """Return the seed for `--random-seed` of a point; our operators have theirs in the recipe."""
    seed = values.get("seed")
    return seed if operator not in OPERATORS and isinstance(seed, int) else None


def seed_comments(seed: int | None) -> list[str]:
    """Return the comment at the top of a recipe whose method draws random numbers with a seed."""
    return [] if seed is None else [f"For the same bytes: mergekit-yaml --random-seed {seed}"]


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
        if fits(operator, [source.name for source in sources])
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


def start(study: Study, operator: str, combination: Combination = ()) -> Mapping[str, Json]:
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


def point_entry(point: Point, folder: str) -> PointEntry:
    """Return the entry in index.json of a point whose results are in points/<folder>."""
    return PointEntry(
        name=point.name,
        folder=folder,
        stage=point.stage,
        combination=list(point.combination),
        operator=point.operator,
        values=stored_values(point.values),
        references=list(point.constituents),
        recipe=MergeRecipe.model_validate(point.recipe()),
    )
