"""The values of a point that differ from the recipe's, checked as a recipe's are."""

from collections.abc import Hashable, Mapping
from typing import Any

from mergekit.merge_methods.base import ParameterScope

from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.merge_methods.parameters import default_mask_id
from mergekit_finance.merge_methods.recipe_checks import FINEST_DENSITY, _fault

SWEPT = ("lambda", "density", "weight", "seed")
Changes = dict[str, Any]


def checked(overrides: Mapping[str, Any], method: Any, mask_ids: Mapping[Hashable, str | None]) -> Changes:
    """Overrides by parameter name; those of models by model. `lambda_` is `lambda`."""
    specs = {spec.name: spec for spec in method.spec.parameters if spec.name in SWEPT}
    changes: Changes = {}
    for written, value in overrides.items():
        name = "lambda" if written == "lambda_" else written
        if name in changes:
            raise RecipeError(f"{name}: given twice")
        if name not in specs:
            raise RecipeError(f"{name}: cannot be swept for {method.spec.name}; {did_you_mean(name, specs)}")
        if specs[name].scope == ParameterScope.SHARED:
            changes[name] = _value(name, value, specs[name], method)
            continue
        chosen = (
            _by_model(name, value, mask_ids) if isinstance(value, Mapping) else dict.fromkeys(mask_ids, value)
        )
        changes[name] = {model: _value(name, v, specs[name], method) for model, v in chosen.items()}
    return changes


def applied(values: Mapping[str, Any], changes: Changes) -> Mapping[str, Any]:
    """One tensor's parameters with the changes; a model that is not named keeps its own."""
    merged = {n: {**values[n], **c} if isinstance(c, dict) else c for n, c in changes.items()}
    return {**values, **merged}


def _by_model(name: str, value: Mapping[Any, Any], mask_ids: Mapping[Hashable, str | None]) -> dict[Any, Any]:
    known = {str(m): m for m in mask_ids} | {i or default_mask_id(m): m for m, i in mask_ids.items()}
    for key in value:
        if str(key) not in known:
            raise RecipeError(f"{name}: {key!r} is no expert of this recipe; {did_you_mean(str(key), known)}")
    return {known[str(key)]: v for key, v in value.items()}


def _value(name: str, value: Any, spec: Any, method: Any) -> Any:
    fault = _fault(name, value, spec)
    if not fault and name == "density" and method.draws_masks and float(value) < FINEST_DENSITY:
        fault = f"keeps nothing; masks resolve {FINEST_DENSITY:.1g}"
    if fault:
        raise RecipeError(f"{name}: {value!r} {fault}")
    return spec.validate(value)
