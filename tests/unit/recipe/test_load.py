"""Recipes: derived values, and refusals that name file, key and remedy."""

import os
import re
import subprocess
import sys

import pytest

from mergekit_finance.errors import RecipeError
from mergekit_finance.files import bundled
from mergekit_finance.recipe.load import check_mapping, load_recipe

ALL = sorted(p for p in bundled("recipes").glob("*/*.yml") if p.name != "study.yml")


def test_a_loaded_recipe_has_stage_constituents_and_semantics(recipe, tiny):
    loaded = load_recipe(recipe())
    assert loaded.experts == loaded.constituents == (f"{tiny}/finance", f"{tiny}/math")
    assert (loaded.base, loaded.stage, loaded.semantics) == (f"{tiny}/base", 2, "paper")


def test_without_a_finance_block_stage_and_constituents_follow_from_the_merge(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text(
        "merge_method: ties\nbase_model: ./b\nmodels:\n  - model: ./e\n    parameters: {weight: 1}\n"
    )
    loaded = load_recipe(path)
    assert (loaded.stage, loaded.constituents, loaded.semantics) == (1, ("./b", "./e"), "mergekit")


def test_slices_name_their_models(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text(
        "merge_method: passthrough\nslices:\n  - sources: [{model: ./a, layer_range: [0, 1]}]\n"
        "  - sources: [{model: ./b, layer_range: [0, 1]}]\n"
    )
    assert load_recipe(path).experts == ("./a", "./b")


def test_a_mapping_of_a_model_keeps_its_revision(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text(
        "merge_method: linear\nparameters: {weight: 1}\nmodels:\n"
        "  - model: {model: {path: o/a, revision: v1}}\n  - model: {model: {path: o/b}}\n"
    )
    assert load_recipe(path).experts == ("o/a@v1", "o/b")


def test_a_mapping_with_an_adapter_is_one_model(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text(
        "merge_method: linear\nparameters: {weight: 1}\nmodels:\n"
        "  - model: {model: {path: o/a, revision: v1}, lora: {path: o/l}}\n  - model: o/b\n"
    )
    assert load_recipe(path).experts == ("o/a@v1+o/l", "o/b")


@pytest.mark.parametrize("path", ALL, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_bundled_recipe_is_valid(path):
    loaded = load_recipe(path)
    assert loaded.finance.stage and loaded.finance.citation and loaded.finance.tasks


def test_there_are_bundled_recipes():
    assert ALL


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lambda: 0.5", "lamda: 0.5", r"parameters: unknown parameter 'lamda'\. Did you mean 'lambda'"),
        ("  - model: {}/math", "  - model: {}/math\n    parameters: {{densty: 0.5}}", r"models\[1\]\.parameters: unknown parameter 'densty'"),
        ("dtype: float32\n", "dtpye: float32\n", "unknown key 'dtpye'. Did you mean 'dtype'"),
        ("  - model: {}/math", "  - model: {}/math\n    paramaters: {{}}", r"models\[1\]: unknown key 'paramaters'"),
        ("cpt_task_arithmetic", "cpt_task_arithmetc", "merge_method 'cpt_task_arithmetc' is not known. Did you mean 'cpt_task_arithmetic'"),
        ("merge_method: cpt_task_arithmetic\n", "", "merge_method is missing"),
        ("stage: 2", "stage: 4", "finance.stage: must be 1, 2 or 3"),
        ("stage: 2", "stage: 3", "stage: 3 means three experts or more, the recipe merges 2"),
        ("stage: 2", "stages: 2", "finance: unknown key 'stages'. Did you mean 'stage'"),
        ('"{}/finance", ', '"./finace", ', r"finance.constituents: './finace' is not merged here"),
        ("models:", "modules:", "modules"),
        ("lambda: 0.5", "lambda: half", "recipe.yml: parameters.*lambda.*is not a number"),
        ("lambda: 0.5", "semantics: papper", "recipe.yml: .*semantics.*Did you mean 'paper'"),
        ("parameters:\n", "parameters: {{\n", "line .*: not valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_remedy(recipe, tiny, old, new, message):
    path = recipe((old.format(tiny), new.format(tiny)))
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("finance: []", "finance: must be a mapping"),
        ("finance: false", "finance: must be a mapping"),
        ("finance: {tasks: {a: 1}}", "finance.tasks: must be a list"),
        ("tokenizer_source: 5", "tokenizer_source: must be union, base or a model"),
    ],
)
def test_values_of_other_types_are_refused_in_words_of_a_recipe(tmp_path, lines, message):
    path = tmp_path / "r.yml"
    path.write_text(f"merge_method: linear\nmodels: [{{model: ./a, parameters: {{weight: 1}}}}]\n{lines}\n")
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(path)
    path.write_text(path.read_text().replace(lines, "finance:"))
    assert load_recipe(path).finance.tasks == ()


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match="none.yml: no such recipe"):
        load_recipe(tmp_path / "none.yml")


@pytest.mark.parametrize("text", ["- a list", "just text", "", "merge_method: [linear]"])
def test_a_file_that_is_not_a_recipe_is_refused(tmp_path, text):
    path = tmp_path / "r.yml"
    path.write_text(text)
    with pytest.raises(RecipeError):
        load_recipe(path)


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text("merge_method: !!python/object/apply:os.system ['echo owned']")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("dtype: float32\n", "dtype: float32\ndtype: bfloat16\n", "dtype"),
        ("  lambda: 0.5\n", "  lambda: 0.5\n  lambda: 0.7\n", "lambda"),
        ("  stage: 2\n", "  stage: 2\n  stage: 2\n", "stage"),
    ],
)
def test_a_key_that_appears_twice_is_refused_with_its_line(recipe, old, new, key):
    with pytest.raises(
        RecipeError, match=rf"recipe.yml, line \d+: not valid YAML \(key '{key}' appears twice"
    ):
        load_recipe(recipe((old, new)))


def test_a_mapping_is_checked_as_the_file_would_be(recipe):
    loaded = load_recipe(recipe())
    content = {**loaded.merge, "finance": {"stage": 2}}
    assert check_mapping(content, "point").merge == loaded.merge
    with pytest.raises(RecipeError, match="^point: unknown key 'dtpye'. Did you mean 'dtype'"):
        check_mapping({**content, "dtpye": "float32"}, "point")


def test_our_methods_are_registered_without_the_start_up_hook(recipe):
    """Loading a recipe registers them: a program needs no call of `register()`."""
    code = (
        "import sys\n"
        "from mergekit_finance.recipe.load import load_recipe\n"
        f"print(load_recipe({str(recipe())!r}).method, 'mergekit_finance.registration' in sys.modules)"
    )
    environment = {**os.environ, "MERGEKIT_FINANCE_AUTOLOAD": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "cpt_task_arithmetic False\n", done.stderr


@pytest.mark.parametrize("block", ["tokenizer: {source: base}", "tokenizer_source: base"])
def test_a_tokenizer_block_aligns_vocabularies(recipe, block):
    assert not load_recipe(recipe()).aligns_vocabularies
    assert load_recipe(recipe(("dtype: float32\n", f"dtype: float32\n{block}\n"))).aligns_vocabularies
