"""The values of a point: which are accepted, for which models, and which are refused."""

from typing import Any

import pytest

from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods.dare_ties import cpt_dare_ties
from mergekit_finance.merge_methods.parameters import Parameters
from mergekit_finance.merge_methods.ties import cpt_ties
from mergekit_finance.merging.point_values import PointValues, check_point

EXPERTS = {"./lab/finance": None, "./lab/math": "maths"}
RECIPE: Parameters = {
    "lambda": 1.0,
    "density": {"./lab/finance": 0.2, "./lab/math": 0.4},
    "weight": {"./lab/finance": 1.0, "./lab/math": 2.0},
    "semantics": "paper",
    "seed": 7,
}


def test_one_value_is_for_all_experts_and_a_mapping_for_those_it_names() -> None:
    point = check_point({"lambda_": 0.5, "density": 0.9, "weight": {"maths": 3}}, cpt_ties, EXPERTS)
    changed = point.applied_to(RECIPE)
    assert changed["lambda"] == 0.5
    assert changed["density"] == {"./lab/finance": 0.9, "./lab/math": 0.9}
    assert changed["weight"] == {"./lab/finance": 1.0, "./lab/math": 3.0}
    assert changed["semantics"] == "paper" and RECIPE["lambda"] == 1.0  # values of the recipe are unchanged


def test_experts_are_named_by_reference_mask_id_or_last_path_component() -> None:
    names = {"./lab/finance": 0.1, "maths": 0.2}
    assert check_point({"density": names}, cpt_ties, EXPERTS) == check_point(
        {"density": {"finance": 0.1, "./lab/math": 0.2}}, cpt_ties, EXPERTS
    )


def test_a_seed_of_zero_replaces_the_recipes_seed() -> None:
    assert check_point({"seed": 0}, cpt_dare_ties, EXPERTS).applied_to(RECIPE)["seed"] == 0
    assert PointValues().applied_to(RECIPE) == RECIPE


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"densty": 0.2}, "densty: cannot be swept for cpt_dare_ties. Did you mean 'density'"),
        ({"lambda": 1, "lambda_": 1}, "lambda: is given twice"),
        ({"density": {"mth": 0.5}}, "density: 'mth' is not an expert of this recipe. Did you mean 'maths'"),
        ({"density": 0}, r"density: 0 is outside \(0, 1\]"),
        ({"density": 1e-10}, "density: 1e-10 keeps nothing; the smallest density is 2e-10"),
        (
            {"lambda": 1e-320},
            r"lambda: 1e-320 is too small for float32, whose smallest number above 0 is 1.2e-38",
        ),
        ({"weight": {"maths": -1e-40}}, "weight: -1e-40 is too small for float32"),
        ({"weight": {"maths": "heavy"}}, "weight: 'heavy' is not a number"),
        ({"seed": 1.5}, "seed: 1.5 is not a whole number"),
        ({"lambda": {"maths": 1.0}}, "lambda: .* is not a number"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_point(values, cpt_dare_ties, EXPERTS)
