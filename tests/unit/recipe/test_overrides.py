"""Values set in a recipe from the outside: by name, by path; what does not exist is named."""

from pathlib import Path

import pytest
import yaml

from mergekit_finance.errors import MergekitFinanceError, RecipeError
from mergekit_finance.recipe.merge_label import label
from mergekit_finance.recipe.overrides import load_changed


@pytest.fixture
def ties(recipe):
    """Write a TIES recipe in which each model has its own density."""
    return str(
        recipe(
            ("cpt_task_arithmetic", "cpt_ties"),
            ("/finance\n  - model", "/finance\n    parameters: {density: 0.5}\n  - model"),
            ("/math\nparameters", "/math\n    parameters: {density: 0.5, weight: 2.0}\nparameters"),
        )
    )


def merged(path, **overrides):
    return load_changed(path, overrides).merge


def test_a_parameter_of_the_method_can_be_set(ties):
    assert merged(ties, **{"lambda": 0.4})["parameters"] == {"lambda": 0.4}


def test_a_parameter_of_the_models_is_set_for_each_model(ties):
    parameters = [m["parameters"] for m in merged(ties, density=0.3)["models"]]
    assert parameters == [{"density": 0.3}, {"density": 0.3, "weight": 2.0}]


@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("models[0].weight", lambda m: m["models"][0]["parameters"]["weight"]),
        ("models[1].parameters.weight", lambda m: m["models"][1]["parameters"]["weight"]),
        ("parameters.lambda", lambda m: m["parameters"]["lambda"]),
    ],
)
def test_a_value_can_be_set_by_its_path(ties, place, where):
    assert where(merged(ties, **{place: 0.25})) == 0.25


def test_a_key_of_the_recipe_and_a_model_can_be_set(ties, tiny):
    assert merged(ties, out_dtype="float32")["out_dtype"] == "float32"
    changed = merged(ties, **{"models[0].model": f"{tiny}/japanese"})
    assert changed["models"][0]["model"] == f"{tiny}/japanese"


def test_parameters_are_set_in_slices_and_not_for_the_base(tiny, tmp_path):
    """A value nearer to a slice has priority; the base has no density; with `linear` all models have a weight."""
    sources = [
        {"model": f"{tiny}/{m}", "layer_range": [0, 2], "parameters": {"density": 1}}
        for m in ("base", "math")
    ]
    data = {"merge_method": "ties", "base_model": f"{tiny}/base", "dtype": "float32",
            "slices": [{"sources": sources, "parameters": {"lambda": 0.9}}]}  # fmt: skip
    path = tmp_path / "slices.yml"
    path.write_text(yaml.safe_dump(data))
    changed = merged(str(path), density=0.3, **{"lambda": 0.4})
    assert [s["parameters"]["density"] for s in changed["slices"][0]["sources"]] == [1, 0.3]
    assert changed["parameters"]["lambda"] == 0.4 and changed["slices"][0]["parameters"] == {}
    models = [{"model": f"{tiny}/{m}", "parameters": {"weight": 1}} for m in ("base", "math")]
    path.write_text(yaml.safe_dump({"merge_method": "linear", "models": models}))
    assert [m["parameters"]["weight"] for m in merged(str(path), weight=0.5)["models"]] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("lambada", 1, "set.lambada: unknown parameter 'lambada'. Did you mean 'lambda'"),
        ("dtyp", "x", "set.dtyp: unknown parameter 'dtyp'. Did you mean 'dtype'"),
        ("models[7].weight", 1, r"set.models\[7\].weight: \[7\] does not exist; there are 2 entries"),
        ("model[0].weight", 1, "'model' does not exist there. Did you mean 'models'"),
        ("models[0].wieght", 1, r"recipe.yml,models\[0\].wieght=1: models\[0\]: unknown key 'wieght'"),
        (
            "parameters.lambdo",
            1,
            "recipe.yml,parameters.lambdo=1: parameters: unknown .* Did you mean 'lambda'",
        ),
        ("merge_method", "cpt_tise", "merge_method 'cpt_tise' is not known. Did you mean 'cpt_ties'"),
        ("models..weight", 1, "not a path. Write it like"),
        ("dtype.x", 1, "there is no part 'x' in a single value"),
        ("dtype.x.y", 1, "there is no part 'x' in a single value"),
    ],
)
def test_unknown_paths_are_reported_in_one_line_with_the_nearest(ties, place, value, message):
    with pytest.raises(MergekitFinanceError, match=message) as caught:
        merged(ties, **{place: value})
    assert "\n" not in str(caught.value)


def test_a_parameter_of_a_method_that_does_not_exist_names_the_method(ties):
    with pytest.raises(RecipeError, match="merge_method 'cpt_tise' is not known. Did you mean 'cpt_ties'"):
        merged(ties, merge_method="cpt_tise", density=0.3)


def test_the_file_itself_is_not_changed(ties):
    before = Path(ties).read_text()
    merged(ties, density=0.3)
    assert Path(ties).read_text() == before


def test_a_changed_recipe_keeps_its_path_and_is_labelled_by_its_changes(ties):
    assert str(load_changed(ties, {"lambda": 0.4}).path) == ties
    assert label({"recipe": "R.yml", "set.lambda": 0.4, "batch_size": 3}) == "R.yml,lambda=0.4"
