"""Merges as live models, ready to be evaluated: one recipe, or a sweep over values of one recipe.

A merge depends only on the plain recipe, which is part of the key of its result.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.live_models import torch_dtype
from mergekit_finance.hosts.lm_eval_output import quiet as quiet_hosts
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.models.loading import cast

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
) -> "HFLM":
    """Merge any plain recipe, with random numbers from `seed`, and wrap the model for lm-eval."""
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
        model, tokenizer = merge(MergeConfiguration.model_validate(dict(recipe)), options, check=False)
    return live_models.wrap(cast(model, torch_dtype(live_models.dtype)), tokenizer)


class Sweep:
    """Recipes that differ in the method's values only, written one after another into one live model.

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
        values = list(map(swept_values, recipes))
        self._models = max(1, len(values))
        densities = [one["density"] for one in values if "density" in one]
        self._densities = [one for k, one in enumerate(densities) if one not in densities[:k]]
        if self._open and self._densities:
            self._open[0].prepare(density=self._densities)

    def close(self) -> None:
        """Release the constituents and the live model."""
        if self._open:
            self._open[0].close()
            self._open = None

    def at(self, recipe: "Mapping[str, Json]") -> "HFLM":
        """Merge a plain recipe and return the live model in lm-eval's wrapper.

        Raises:
            ModelError: the merge holds NaN or infinity.
        """
        if self._open and self._fixed != without_swept_values(recipe):
            self.close()
        session, host = self._open or self._opened(recipe)
        values = {"lambda_" if key == "lambda" else key: value for key, value in swept_values(recipe).items()}
        session.apply(**values)
        return host

    def _opened(self, recipe: "Mapping[str, Json]") -> "tuple[MergeSession, HFLM]":
        device, trust = self.live_models.device, self.trust_remote_code
        with quiet_hosts():
            session = MergeSession.open(
                recipe, device=device, trust_remote_code=trust, merged=False, check=False
            )
        if self._densities:
            session.prepare(density=self._densities)
        model = cast(session.model, torch_dtype(self.live_models.dtype))
        self._fixed = without_swept_values(recipe)
        self._open = session, self.live_models.wrap(model, session.tokenizer, self._models)
        return self._open


def swept_values(recipe: "Mapping[str, Json]") -> "dict[str, PointValue]":
    """Return a recipe's `lambda` and `seed`, and by the mask_id of each model its density and weight."""
    parameters = _mapping(recipe["parameters"])
    models = [_mapping(model["parameters"]) for model in _models(recipe)]
    values: dict[str, PointValue] = {
        name: _number(parameters[name]) for name in OF_RECIPE if name in parameters
    }
    for name in OF_MODELS:
        if of_models := {str(m["mask_id"]): _number(m[name]) for m in models if name in m}:
            values[name] = of_models
    return values


def without_swept_values(recipe: "Mapping[str, Json]") -> "dict[str, Json]":
    """Return a recipe without its swept values: the part that all recipes of a sweep share."""
    models = [{**m, "parameters": _without(m["parameters"], OF_MODELS)} for m in _models(recipe)]
    return {**recipe, "parameters": _without(recipe["parameters"], OF_RECIPE), "models": models}


def _without(parameters: "Json", names: Sequence[str]) -> "dict[str, Json]":
    return {name: value for name, value in _mapping(parameters).items() if name not in names}


def _models(recipe: "Mapping[str, Json]") -> "list[Mapping[str, Json]]":
    models = recipe["models"]
    assert isinstance(models, Sequence)
    return [_mapping(model) for model in models]


def _mapping(value: "Json") -> "Mapping[str, Json]":
    assert isinstance(value, Mapping)
    return value


def _number(value: "Json") -> float:
    assert isinstance(value, int | float)
    return value
