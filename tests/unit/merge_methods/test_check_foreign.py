"""Recipes with mergekit's own methods: refused before mergekit plans them, in one line with a remedy."""

from typing import Any

import pytest
from mergekit.config import MergeConfiguration

from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods.check_foreign import check_foreign_method

FITTING: dict[str, Any] = {
    "merge_method": "linear",
    "models": [{"model": "a", "parameters": {"weight": 0.5}}, {"model": "b", "parameters": {"weight": 1}}],
    "dtype": "float32",
}


def problem(**changes: Any) -> str:
    content = {key: value for key, value in {**FITTING, **changes}.items() if value is not None}
    try:
        check_foreign_method(MergeConfiguration.model_validate(content))
    except RecipeError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"models": [{"model": "a"}, {"model": "b"}], "parameters": {"weight": [0, 0.5, 1]}}, ""),
        ({"models": [{"model": "a"}, {"model": "b"}]}, "models[0]: has no weight, which linear needs."),
        ({"merge_method": "passthrough"}, "models: Merge method requires exactly 1 inputs; got 2."),
        ({"merge_method": "slerp", "base_model": "a"}, "parameters: has no t, which slerp needs."),
        ({"merge_method": "slerp", "base_model": "a", "parameters": {"t": 0.5}}, ""),
        (
            {"merge_method": "slerp", "base_model": "a", "parameters": {"t": [0.1, "x"]}},
            "parameters.t: 'x' is not a number.",
        ),
        (
            {
                "merge_method": "slerp",
                "base_model": "a",
                "parameters": {"t": [{"filter": "mlp", "value": "much"}, {"value": 0.5}]},
            },
            "parameters.t: 'much' is not a number.",
        ),
    ],
)
def test_a_recipe_is_refused_with_a_remedy(changes: dict[str, Any], message: str) -> None:
    text = problem(**changes)
    assert text.startswith(message) and bool(text) == bool(message)
    assert text.endswith(".") or not text
