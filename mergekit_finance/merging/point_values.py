"""The values of a point that replace the recipe's, with the same checks."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mergekit.merge_methods.base import ParameterSpec

from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.merge_methods.check_recipe import Scalar, value_error
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.parameters import Parameters, default_mask_id

SWEPT = ("lambda", "density", "weight", "seed")
PointValue: TypeAlias = Scalar | Mapping[str, Scalar]  # one value, or values by model reference or mask_id
ByModel: TypeAlias = Mapping[Hashable, float]


@dataclass(frozen=True)
class PointValues:
    """Checked values. None or a missing key means the recipe's value."""

    scale: float | None = None  # lambda
    seed: int | None = None
    density: ByModel = field(default_factory=dict)
    weight: ByModel = field(default_factory=dict)

    def applied_to(self, parameters: Parameters) -> Parameters:
        """Return one tensor's parameters with these values."""
        changed = parameters.copy()
        if self.scale is not None:
            changed["lambda"] = self.scale
        if self.seed is not None:
            changed["seed"] = self.seed
        if self.density:
            changed["density"] = {**parameters["density"], **self.density}
        if self.weight:
            changed["weight"] = {**parameters["weight"], **self.weight}
        return changed


def check_point(
    overrides: Mapping[str, PointValue], method: CptMethod, mask_ids: Mapping[Hashable, str | None]
) -> PointValues:
    """Return the checked values of a point.

    Args:
        overrides: values by parameter; `lambda_` means `lambda`.
        mask_ids: the experts, each with its mask_id if the recipe has one.

    Raises:
        RecipeError: a value is wrong; the message names the first one.
    """
    specs = {spec.name: spec for spec in method.spec.parameters if spec.name in SWEPT}
    values: dict[str, PointValue] = {}
    for written, value in overrides.items():
        name = "lambda" if written == "lambda_" else written
        if name in values:
            raise RecipeError(f"{name}: is given twice; give it once")
        if name not in specs:
            raise RecipeError(f"{name}: cannot be swept for {method.spec.name}. {did_you_mean(name, specs)}")
        values[name] = value

    def one(name: str) -> float | None:
        return _value(name, values[name], specs[name]) if name in values else None

    def by_model(name: str) -> ByModel:
        if name not in values:
            return {}
        chosen = _by_model(name, values[name], mask_ids)
        return {model: _value(name, value, specs[name]) for model, value in chosen.items()}

    seed = one("seed")
    return PointValues(
        one("lambda"), None if seed is None else int(seed), by_model("density"), by_model("weight")
    )


def _by_model(
    name: str, value: PointValue, mask_ids: Mapping[Hashable, str | None]
) -> dict[Hashable, Scalar]:
    """Return a parameter's value for each expert that gets one."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(mask_ids, value)
    experts: dict[str, Hashable] = {str(model): model for model in mask_ids}
    experts |= {mask_id or default_mask_id(model): model for model, mask_id in mask_ids.items()}
    for key in value:
        if str(key) not in experts:
            raise RecipeError(
                f"{name}: {key!r} is not an expert of this recipe. {did_you_mean(str(key), experts)}"
            )
    return {experts[str(key)]: expert_value for key, expert_value in value.items()}


def _value(name: str, value: PointValue, spec: ParameterSpec) -> float:
    error = value_error(name, value, spec)
    if error:
        raise RecipeError(f"{name}: {value!r} {error}")
    return spec.validate(value)
