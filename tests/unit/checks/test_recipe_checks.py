"""Keys that are not read are refused by name, place and nearest valid key, by every way to give a recipe."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import commands
from helpers.inputs import merge_recipe, mergekit_yaml, mkf, refusal, snapshot, write_recipe
from helpers.merging import random_models
from mergekit.common import dtype_from_name
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from mergekit_finance.checks.recipe_checks import DTYPES, FINANCE_KEYS, check_dtypes, check_keys
from mergekit_finance.errors import HostError, RecipeError
from mergekit_finance.hosts import mergekit_recipes as host
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.recipe.load import Finance, check_mapping

Content = dict[str, Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models(tmp_path_factory.mktemp("models"))


def set_(path: str, value: Any) -> Callable[[Content], None]:
    """Set a value of a recipe at a place like `models.0.parameters`."""
    *parents, last = path.split(".")

    def change(content: Content) -> None:
        place: Any = content
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[last] = value

    return change


def as_slices(*changes: Callable[[Content], None]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        sources = [{"layer_range": [0, 2], **m} for m in content.pop("models")]
        content["slices"] = [{"sources": sources}]
        content["parameters"]["semantics"] = "mergekit"
        for one in changes:
            one(content)

    return change


def as_modules(*changes: Callable[[Content], None]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        content["modules"] = {"default": {"models": content.pop("models")}}
        for one in changes:
            one(content)

    return change


FILTERS = [{"fliter": "mlp", "value": 0.3}, {"value": 1.0}]
TOKEN = "tokenizer.tokens.<s>"
KEYS = {  # id: (change, place, key, nearest)
    "dtpye": (set_("dtpye", "float32"), "", "dtpye", "dtype"),
    "out_dtyp": (set_("out_dtyp", "bfloat16"), "", "out_dtyp", "out_dtype"),
    "paramaters": (set_("paramaters", {}), "", "paramaters", "parameters"),
    "tokeniser": (set_("tokeniser", {"source": "base"}), "", "tokeniser", "tokenizer"),
    "base-model": (set_("base-model", "./b"), "", "base-model", "base_model"),
    "modells": (set_("modells", []), "", "modells", "models"),
    "finance taks": (set_("finance", {"taks": "finance_bench_fpb"}), "finance", "taks", "tasks"),
    "Finance": (set_("Finance", {}), "", "Finance", "finance"),
    "of a model": (set_("models.1.paramaters", {}), "models[1]", "paramaters", "parameters"),
    "modle": (set_("models.0.modle", "x"), "models[0]", "modle", "model"),
    "filter, shared": (set_("parameters.lambda", FILTERS), "parameters.lambda[0]", "fliter", "filter"),
    "filter of a model": (
        set_("models.0.parameters", {"weight": FILTERS}), "models[0].parameters.weight[0]", "fliter", "filter",
    ),
    "second filter": (
        set_("models.0.parameters", {"weight": [{"value": 1}, {"valeu": 2, "value": 1}]}),
        "models[0].parameters.weight[1]", "valeu", "value",
    ),
    "one filter, no list": (
        set_("models.0.parameters", {"weight": FILTERS[0]}), "models[0].parameters.weight", "fliter", "filter",
    ),
    "a slice": (as_slices(set_("slices.0.soruces", [])), "slices[0]", "soruces", "sources"),
    "parameters of a slice": (
        as_slices(set_("slices.0.parameters", {"lambda": FILTERS})),
        "slices[0].parameters.lambda[0]", "fliter", "filter",
    ),
    "a source": (
        as_slices(set_("slices.0.sources.1.layer_rnage", [0, 1])),
        "slices[0].sources[1]", "layer_rnage", "layer_range",
    ),
    "a module": (as_modules(set_("modules.default.model", [])), "modules.default", "model", "models"),
    "parameters of a module": (
        as_modules(set_("modules.default.parameters", {"lambda": FILTERS})),
        "modules.default.parameters.lambda[0]", "fliter", "filter",
    ),
    "a model of a module": (
        as_modules(set_("modules.default.models.1.paramaters", {})),
        "modules.default.models[1]", "paramaters", "parameters",
    ),
    "tokenizer": (set_("tokenizer", {"sourec": "base"}), "tokenizer", "sourec", "source"),
    "a token": (set_("tokenizer", {"tokens": {"<s>": {"froce": True}}}), TOKEN, "froce", "force"),
    "a token's source": (
        set_("tokenizer", {"tokens": {"<s>": {"source": {"kind": "zero", "kinds": "x"}}}}),
        f"{TOKEN}.source", "kinds", "kind",
    ),
    "a token of a model": (
        set_("tokenizer", {"tokens": {"<s>": {"source": {"kind": "model_token", "model": "x", "tokne": 1, "token_id": 1}}}}),
        f"{TOKEN}.source", "tokne", "token",
    ),
    "a reference": (
        set_("models.0.model", {"model": {"path": "./finance"}, "lroa": "./x"}), "models[0].model", "lroa", "lora",
    ),
    "a path": (
        set_("models.0.model", {"model": {"path": "./finance", "revison": "x"}}),
        "models[0].model.model", "revison", "revision",
    ),
    "the base's path": (
        set_("base_model", {"model": {"path": "./base", "revison": "x"}}), "base_model.model", "revison", "revision",
    ),
}  # fmt: skip


def lm_eval(recipe: Path, out: Path) -> str:
    from mergekit_finance.evaluation.mergekit_lm import MergekitLM

    with pytest.raises(RecipeError) as caught:
        MergekitLM(recipe=str(recipe), device="cpu")
    return str(caught.value)


def session(recipe: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        MergeSession.open(recipe)
    return str(caught.value)


def library(recipe: Path, out: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        run_merge(
            MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text())), str(out), MergeOptions()
        )
    return str(caught.value)


READERS: dict[str, Callable[[Path, Path], str]] = {
    "mergekit-yaml": lambda recipe, out: refusal(mergekit_yaml(recipe, out)),
    "run_merge": library,
    "run": lambda recipe, out: refusal(mkf("run", recipe, "-o", out)),
    "lm_eval": lm_eval,
    "MergeSession": lambda recipe, out: session(recipe),
    "MergeSession of a mapping": lambda recipe, out: session(yaml.safe_load(recipe.read_text())),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", KEYS)
def test_an_unknown_key_is_refused_by_name(case, reader, models, tmp_path):
    change, place, key, nearest = KEYS[case]
    content = merge_recipe(models)
    change(content)
    recipe = write_recipe(tmp_path / "r.yml", content)
    before = snapshot(tmp_path)
    line = READERS[reader](recipe, tmp_path / "out")
    assert f"{place}{': ' if place else ''}unknown key {key!r}. Did you mean {nearest!r}? Known: " in line
    if reader in ("mergekit-yaml", "run", "lm_eval", "MergeSession"):
        assert line.removeprefix("Error: ").startswith(f"{recipe}: ")
    assert snapshot(tmp_path) == before


DUPLICATES = {
    "at the top": ("dtype: float32", "dtype: bfloat16\ndtype: float32", "dtype"),
    "of a model": (
        "  parameters:\n    weight: 1.0",
        "  parameters:\n    weight: 0.5\n    weight: 1.0",
        "weight",
    ),
    "of the method": ("  lambda: 0.5", "  lambda: 0.5\n  lambda: 0.7", "lambda"),
    "quoted": ("  lambda: 0.5", "  lambda: 0.5\n  'lambda': 0.7", "lambda"),
    "a whole block": ("parameters:\n  lambda", "parameters: {}\nparameters:\n  lambda", "parameters"),
    "of a filter": (
        "weight: 1.0",
        "weight: [{filter: mlp, filter: attn, value: 1.0}, {value: 1.0}]",
        "filter",
    ),
    "in finance": ("dtype: float32", "dtype: float32\nfinance: {stage: 2, stage: 2}", "stage"),
}


@pytest.mark.parametrize("reader", ["mergekit-yaml", "run_merge", "run", "lm_eval", "MergeSession"])
@pytest.mark.parametrize("case", DUPLICATES)
def test_a_key_that_appears_twice_is_refused(case, reader, models, tmp_path):
    old, new, key = DUPLICATES[case]
    content = merge_recipe(models)
    content["models"][0]["parameters"] = {"weight": 1.0}
    text = yaml.safe_dump(content, sort_keys=False)
    assert text.count(old) == 1
    recipe = tmp_path / "r.yml"
    recipe.write_text(text.replace(old, new))
    before = snapshot(tmp_path)
    if reader == "run_merge":  # a program may give mergekit the text as well
        with pytest.raises(RecipeError) as caught:
            config = MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text()))
            run_merge(
                config, str(tmp_path / "out"), MergeOptions(quiet=True), config_source=recipe.read_text()
            )
        line = str(caught.value)
    else:
        line = READERS[reader](recipe, tmp_path / "out")
    assert f"key {key!r} appears twice" in line and ", line " in line
    assert reader == "run_merge" or str(recipe) in line
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("key", ["dtype", "out_dtype"])
@pytest.mark.parametrize("value", ["flaot32", "int64", "fp8"])
@pytest.mark.parametrize("reader", READERS)
def test_a_dtype_that_does_not_exist_is_refused_before_the_merge(reader, value, key, models, tmp_path):
    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models, **{key: value}))
    before = snapshot(tmp_path)
    assert f"{key}: {value!r} is not a dtype of weights. " in READERS[reader](recipe, tmp_path / "out")
    assert snapshot(tmp_path) == before


def test_dtypes_are_those_that_mergekit_has():
    for name in DTYPES:
        assert dtype_from_name(name).is_floating_point
        check_dtypes(name, f"torch.{name}")


def test_recipes_of_other_methods_are_not_checked(models, tmp_path):
    weighted = [
        {"model": str(models / e), "parameters": {"weight": 0.5}, "x": 1} for e in ("finance", "math")
    ]
    content = merge_recipe(models, merge_method="linear", parameters=None, base_model=None, models=weighted)
    content |= {"dtpye": "float32", "finance": {"taks": 1}}
    recipe = write_recipe(tmp_path / "r.yml", content)
    result = mergekit_yaml(recipe, tmp_path / "out", "--no-copy-tokenizer")
    assert result.exit_code == 0, result.exception


def test_every_key_that_pydantic_reads_is_accepted():
    """The recipe has every key that mergekit's models of a recipe have."""
    path = {"path": "./a", "revision": "main"}
    reference = {"model": path, "lora": path, "override_architecture": "LlamaForCausalLM"}
    filters = [{"filter": "mlp", "value": [0.1, 0.2]}, {"value": 1.0}]
    entry = {"model": reference, "parameters": {"weight": filters}}
    source = {**entry, "layer_range": [0, 1]}
    part = {
        "sources": [source],
        "base_model": reference,
        "residual_weight": 1.0,
        "parameters": {"weight": filters},
    }
    tokens = {
        "a": {"source": {"kind": "zero"}, "force": True},
        "b": {"source": {"kind": "model_token", "model": reference, "token_id": 1}},
        "c": {"source": {"kind": "model_token", "model": "x", "token": "c"}},
        "d": {"source": reference},
        "e": {"source": "./a"},
    }
    content = {
        "merge_method": "cpt_ties", "base_model": reference, "models": [entry], "slices": [part],
        "modules": {"m": {"slices": [part], "models": [entry], "parameters": {"weight": filters}}},
        "dtype": "float32", "out_dtype": "bfloat16", "chat_template": "auto", "tokenizer_source": reference,
        "tokenizer": {"source": reference, "tokens": tokens, "pad_to_multiple_of": 8}, "parameters": {"lambda": 1},
        "finance": {key: None for key in FINANCE_KEYS},
    }  # fmt: skip
    check_keys(content, parameters=["lambda", "weight"])
    assert set(content) == set(MergeConfiguration.model_fields) | {"finance"}


def test_the_finance_block_has_the_keys_of_its_model():
    derived = {"task_settings"}  # from mappings in `tasks`: no key of a file
    assert tuple(name for name in Finance.model_fields if name not in derived) == FINANCE_KEYS
    with pytest.raises(RecipeError, match="unknown key 'task_settings'"):
        check_keys({"finance": {"task_settings": {}}})


def test_an_unknown_parameter_of_the_method_is_refused_by_name(models):
    with pytest.raises(RecipeError, match=r"parameters: unknown parameter 'lamda'. Did you mean 'lambda'"):
        check_mapping(merge_recipe(models, parameters={"lamda": 1.0}), "r")


# ---- mergekit's own command


def test_a_recipe_from_a_pipe_is_checked_for_keys_that_appear_twice(models, tmp_path):
    """A pipe cannot be read a second time."""
    text = yaml.safe_dump(merge_recipe(models), sort_keys=False) + "dtype: bfloat16\n"
    code = (
        "import os, sys\n"
        "r, w = os.pipe()\n"
        f"os.write(w, {text!r}.encode()); os.close(w)\n"
        f"sys.argv = ['mergekit-yaml', f'/dev/fd/{{r}}', {str(tmp_path / 'out')!r}, '--quiet']\n"
        "from mergekit.scripts.run_yaml import main\n"
        "main()\n"
    )
    done = commands.run("python", "-c", code)
    assert done.returncode == 1 and "key 'dtype' appears twice" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            set_("models.0.paramaters", {}),
            "models[0]: unknown key 'paramaters'. Did you mean 'parameters'? Known:",
        ),
        (set_("models", 5), "models: must be a list"),
        (set_("parameters.lambda", {"a": 1}), "parameters.lambda: unknown key 'a'. Known: filter, value"),
        (set_("slices", []), ""),
        (set_("models.0.model", "a+b+c"), "Can't parse a+b+c"),
    ],
    ids=["key", "type", "mapping", "nothing wrong", "reference"],
)
def test_the_plain_command_prints_one_line(change, message, models, tmp_path):
    content = merge_recipe(models)
    change(content)
    recipe = write_recipe(tmp_path / "r.yml", content)
    done = commands.run("mergekit-yaml", recipe, tmp_path / "out", "--no-copy-tokenizer")
    if message:
        assert commands.error_line(done).startswith(f"Error: {recipe}: {message}")
        assert not (tmp_path / "out").exists()
    else:
        assert done.returncode == 0, done.stderr


def test_a_python_program_gets_the_error_of_pydantic(models):
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        MergeConfiguration.model_validate(merge_recipe(models, models=5))


# ---- the adapter


def test_the_text_of_the_recipe_comes_from_the_running_merge(monkeypatch):
    import mergekit.merge

    def run_merge(config: object, config_source: str | None = None) -> str | None:
        return host.recipe_text()

    assert host.recipe_text() is None
    monkeypatch.setattr(mergekit.merge, "run_merge", run_merge)
    assert run_merge(None, config_source="text") == "text"
    assert run_merge(None) is None
    monkeypatch.setattr(mergekit.merge, "run_merge", lambda config: None)
    with pytest.raises(HostError, match=r"has no merge.run_merge\(config_source=\)"):
        host.recipe_text()
    monkeypatch.delitem(sys.modules, "mergekit.merge")
    assert host.recipe_text() is None


@pytest.mark.parametrize("name", ["MergeConfiguration", "ConditionalParameter", "OutputSliceDefinition"])
def test_a_mergekit_without_a_block_of_recipes_gives_one_readable_line(name, monkeypatch):
    import mergekit.config

    monkeypatch.delattr(mergekit.config, name)
    with pytest.raises(HostError, match=f"has no mergekit.config.{name}"):
        host.recipe_keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_("models.1.model", None), "models.1.model: must be a folder or a Hub id"),
        (set_("models.1.model", ["./m"]), "models.1.model: must be a folder or a Hub id"),
        (set_("base_model", 7), "base_model: must be a folder or a Hub id"),
        (set_("parameters.lambda", None), "parameters.lambda: must be a value, a gradient or filters"),
        (set_("parameters.lambda", [[[0.5]]]), "parameters.lambda: must be a value, a gradient or filters"),
        (set_("parameters", [1]), "parameters: must be a mapping of keys"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_in_words_of_a_recipe(change, message, tmp_path):
    content = merge_recipe(Path("./m"))
    change(content)
    with pytest.raises(RecipeError) as caught:
        check_mapping(content, "r.yml")
    assert caught.value.message == f"r.yml: {message}"
