"""Merges as live models, ready to be evaluated: one recipe, or a sweep over values of one recipe.

A merge depends only on the plain recipe, which is part of the key of its result.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mergekit_finance.hosts.lm_eval_output import quiet as quiet_hosts
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.models.loading import cast, torch_dtype
from mergekit_finance.operators import BY_METHOD, number_of

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

    from mergekit_finance.evaluation.live_models import LiveModels
    from mergekit_finance.files import Json
    from mergekit_finance.merging.point_values import PointValue

OF_RECIPE = ("lambda", "seed")  # swept values in a recipe's `parameters:`
OF_MODELS = ("density", "weight")  # swept values in the parameters of each model


def merge_once(
    recipe: "Mapping[str, Json]",
    live_models: "LiveModels",
    trust_remote_code: bool,
    seed: int | None = None,
    models: int = 1,
) -> "HFLM":
    """Merge any plain recipe, with random numbers from `seed`, and wrap the model for lm-eval.

    Args:
        models: how many models of this architecture are evaluated one after the other.
    """
    # Imported here to keep reading of results fast: mergekit takes 4.5 s.
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    options = MergeOptions(
        device=live_models.device,
        trust_remote_code=trust_remote_code,
        quiet=live_models.quiet,
        random_seed=seed,
    )
    with quiet_hosts():
        configuration = MergeConfiguration.model_validate(dict(recipe))
        model, tokenizer = merge(configuration, options, check=False, spread=live_models.spread)
    return live_models.wrap(cast(model, torch_dtype(live_models.dtype)), tokenizer, models)


class Sweep:
    """Recipes that differ in the method's values only, written one after another into one live model.

    Recipes of other methods than our three are merged one by one.

    Constituents are opened at the first recipe and kept until `close`, or until a recipe with other
    models or settings is merged.
    """

    def __init__(self, live_models: "LiveModels", trust_remote_code: bool = False) -> None:
        self.live_models, self.trust_remote_code = live_models, trust_remote_code
        self._densities: list[PointValue] = []
        self._models = 1
        self._fixed: Mapping[str, Json] = {}
        self._open: tuple[MergeSession, HFLM] | None = None

    def prepare(self, recipes: "Iterable[Mapping[str, Json]]") -> None:
        """Compute the thresholds of all densities of the next recipes in one pass over the models."""
        listed = list(recipes)
        self._models = max(1, len(listed))
        swept = [swept_values(recipe) for recipe in listed if _is_swept(recipe)]
        densities = [values["density"] for values in swept if "density" in values]
        self._densities = [one for k, one in enumerate(densities) if one not in densities[:k]]
        if self._open and self._densities:
            self._open[0].prepare(density=self._densities)

    def close(self) -> None:
        """Release the constituents and the live model."""
        if self._open:
            self._open[0].close()
            self._open = None

    def at(self, recipe: "Mapping[str, Json]", seed: int | None = None) -> "HFLM":
        """Merge a plain recipe and return the live model in lm-eval's wrapper.

        Args:
            recipe: the recipe.
            seed: of random numbers that mergekit draws; our methods have theirs in the recipe.

        Raises:
            ModelError: the merge holds NaN or infinity.
        """
        if not _is_swept(recipe):
            self.close()
            return merge_once(recipe, self.live_models, self.trust_remote_code, seed, self._models)
        if self._open and self._fixed != without_swept_values(recipe):
            self.close()
        session, host = self._open or self._opened(recipe)
        values = {"lambda_" if key == "lambda" else key: value for key, value in swept_values(recipe).items()}
        session.apply(**values)
        return host

    def _opened(self, recipe: "Mapping[str, Json]") -> "tuple[MergeSession, HFLM]":
        spread = self.live_models.spread
        with quiet_hosts():
            session = MergeSession.open(
                recipe,
                device=spread.devices if spread else self.live_models.device,
                trust_remote_code=self.trust_remote_code,
                merged=False,
                check=False,
                parallelize=spread is not None,
                max_memory_per_gpu=spread.max_memory_per_gpu if spread else None,
            )
        if self._densities:
            session.prepare(density=self._densities)
        model = cast(session.model, torch_dtype(self.live_models.dtype))
        self._fixed = without_swept_values(recipe)
        self._open = session, self.live_models.wrap(model, session.tokenizer, self._models)
        return self._open


def swept_values(recipe: "Mapping[str, Json]") -> "dict[str, PointValue]":
    """Return a recipe's `lambda` and `seed`, and by the mask_id of each model its density and weight.

    Gradients and filters are not swept: recipes that differ in them are opened one by one.
    """
    parameters = _mapping(recipe["parameters"])
    values: dict[str, PointValue] = {
        name: value for name in OF_RECIPE if (value := number_of(parameters.get(name))) is not None
    }
    models = [_mapping(model["parameters"]) for model in _models(recipe)]
    for name in OF_MODELS:
        numbers = {str(model["mask_id"]): number_of(model.get(name)) for model in models}
        of_models = {mask_id: number for mask_id, number in numbers.items() if number is not None}
        if len(of_models) == len(models):
            values[name] = of_models
    return values


def without_swept_values(recipe: "Mapping[str, Json]") -> "dict[str, Json]":
    """Return a recipe without its swept values: the part that all recipes of a sweep share."""
    swept = swept_values(recipe)
    models = [{**m, "parameters": _without(m["parameters"], swept)} for m in _models(recipe)]
    return {**recipe, "parameters": _without(recipe["parameters"], swept), "models": models}


def _is_swept(recipe: "Mapping[str, Json]") -> bool:
    return recipe["merge_method"] in BY_METHOD


def _without(parameters: "Json", names: "Collection[str]") -> "dict[str, Json]":
    return {name: value for name, value in _mapping(parameters).items() if name not in names}


def _models(recipe: "Mapping[str, Json]") -> "list[Mapping[str, Json]]":
    models = recipe["models"]
    assert isinstance(models, Sequence)
    return [_mapping(model) for model in models]


def _mapping(value: "Json") -> "Mapping[str, Json]":
    assert isinstance(value, Mapping)
    return value
