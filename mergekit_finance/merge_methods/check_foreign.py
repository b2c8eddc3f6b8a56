"""Checks of recipes with merge methods of mergekit or of another package, before mergekit plans the merge."""

from collections.abc import Iterator, Mapping
from numbers import Real

from mergekit.config import MergeConfiguration

from mergekit_finance.errors import RecipeError
from mergekit_finance.hosts.mergekit_methods import MethodParameter, method_facts
from mergekit_finance.operators import size_error


def check_foreign_method(config: MergeConfiguration, is_complete: bool = True) -> None:
    """Check the number of models, required parameters and the kinds of their values.

    Recipes with `slices:` or `modules:` have an input for each slice and are left to mergekit.

    Args:
        config: the recipe.
        is_complete: whether the required parameters must be there.

    Raises:
        RecipeError: the method does not merge these models, or a parameter is missing or of another kind.
    """
    method = method_facts().get(config.merge_method)
    if method is None or not config.models or config.slices or config.modules:
        return
    names = [str(entry.model) for entry in config.models]
    base = str(config.base_model) if config.base_model is not None else None
    inputs = names if base is None or base in names else [base, *names]
    if problem := method.accepts(inputs, base):
        raise RecipeError(f"models: {problem.removesuffix('.')}. Change models, base_model or merge_method.")
    shared = config.parameters or {}
    for name, parameter in method.parameters.items():
        _check_value(f"parameters.{name}", parameter, shared.get(name))
        for i, entry in enumerate(config.models):
            _check_value(f"models[{i}].parameters.{name}", parameter, (entry.parameters or {}).get(name))
            is_missing = is_complete and name not in shared and name not in (entry.parameters or {})
            if parameter.required and parameter.scope != "merge" and is_missing and str(entry.model) != base:
                raise RecipeError(
                    f"models[{i}]: has no {name}, which {method.name} needs. Add parameters.{name}."
                )
        if is_complete and parameter.required and parameter.scope == "merge" and name not in shared:
            raise RecipeError(f"parameters: has no {name}, which {method.name} needs. Add it.")


def _check_value(place: str, parameter: MethodParameter, value: object) -> None:
    for leaf in _leaves(value):
        if parameter.kind in ("a number", "a whole number") and not _is_number(leaf):
            raise RecipeError(f"{place}: {leaf!r:.60} is not {parameter.kind}. Correct it.")
        if parameter.kind == "a number" and (problem := size_error("", float(str(leaf)))):
            raise RecipeError(f"{place}: {leaf!r:.60} {problem}.")


def _leaves(value: object) -> Iterator[object]:
    """Yield every value inside gradients and filters."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, Mapping):
        yield from _leaves(value.get("value"))
    elif (inner := getattr(value, "value", None)) is not None:  # of a filter
        yield from _leaves(inner)
    elif value is not None:
        yield value


def _is_number(value: object) -> bool:
    """Return whether mergekit reads a value as a number; it also takes text such as 1e-3."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, Real) and not isinstance(value, bool)
