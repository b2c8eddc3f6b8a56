"""Mistakes are named in one line before anything is written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merging import (
    EXPERTS,
    SMALL,
    WORDS,
    Weights,
    edit,
    permuted,
    random_models,
    recipe,
    run,
    write_tokenizer,
)
from safetensors.torch import load_file

from mergekit_finance.errors import MergekitFinanceError, ModelError, RecipeError
from mergekit_finance.merging.compare import OPERATORS, llama_config, write_model

NORM = "model.layers.1.input_layernorm.weight"
HEAD = "lm_head.weight"
METHODS = list(OPERATORS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models(tmp_path_factory.mktemp("models"))


def refused(settings: dict[str, Any], out: Path, kind: type[MergekitFinanceError], **options: Any) -> str:
    """Return the line with which a merge is refused; assert that nothing is written."""
    with pytest.raises(kind) as caught:
        run(settings, out / "out", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert not (out / "out").exists()
    return message


# ---- recipes: no weight is read


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    from mergekit.io.lazy_tensor_loader import LazyTensorLoader

    def get_tensor(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read before the recipe was checked")

    monkeypatch.setattr(LazyTensorLoader, "get_tensor", get_tensor)


def with_(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """An edit of a recipe: `models.0.parameters.density`."""
    *parents, last = path.split(".")

    def change(settings: dict[str, Any]) -> None:
        place: Any = settings
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[last] = value

    return change


FIRST = "models.0.parameters"
WRONG: list[tuple[str, str, Callable[[dict[str, Any]], None], str]] = [
    (
        "unknown semantics",
        "cpt_ties",
        with_("parameters.semantics", "papr"),
        r"parameters.semantics: 'papr' is neither paper nor mergekit. Did you mean 'paper'\? Known: mergekit, paper",
    ),
    (
        "typo in a model",
        "cpt_ties",
        with_(f"{FIRST}.densty", 0.2),
        r"models\[0\] \(.*/finance\).parameters.densty: cpt_ties has no .*. Did you mean 'density'\? ",
    ),
    (
        "typo at the top",
        "cpt_dare_ties",
        with_("parameters.lamda", 0.2),
        r"^parameters.lamda: .* 'lambda'\? Known: ",
    ),
    (
        "no density in TA",
        "cpt_task_arithmetic",
        with_(f"{FIRST}.density", 0.2),
        "cpt_task_arithmetic has no such",
    ),
    (
        "density is text",
        "cpt_ties",
        with_(f"{FIRST}.density", "abc"),
        r"finance\).*density: 'abc' is not a number \[recipe.invalid\]$",
    ),
    ("density is true", "cpt_ties", with_(f"{FIRST}.density", True), "density: True is not a number"),
    ("density 0", "cpt_ties", with_("parameters.density", 0), r"parameters.density: 0 is outside \(0, 1\]"),
    (
        "density 1.5",
        "cpt_dare_ties",
        with_("models.1.parameters.density", 1.5),
        r"models\[1\].*1.5 is outside",
    ),
    ("density NaN", "cpt_ties", with_(f"{FIRST}.density", float("nan")), "nan is not a number"),
    (
        "density in a filter",
        "cpt_ties",
        with_(f"{FIRST}.density", [{"filter": "mlp", "value": -1}, {"value": 1}]),
        "-1 is outside",
    ),
    (
        "density gradient",
        "cpt_ties",
        with_(f"{FIRST}.density", [0.1, 0.9]),
        r"finance\).parameters.density: paper semantics has no gradient or filter",
    ),
    (
        "density filter",
        "cpt_dare_ties",
        with_("parameters.density", [{"filter": "mlp", "value": 0.5}, {"value": 1}]),
        "^parameters.density: paper semantics has no gradient or filter.*set semantics: mergekit",
    ),
    ("empty list", "cpt_ties", with_(f"{FIRST}.weight", []), "weight: is empty"),
    ("weight is text", "cpt_task_arithmetic", with_(f"{FIRST}.weight", "heavy"), "'heavy' is not a number"),
    (
        "lambda infinite",
        "cpt_task_arithmetic",
        with_("parameters.lambda", float("inf")),
        "lambda: inf is not a number",
    ),
    ("lambda of a model", "cpt_ties", with_(f"{FIRST}.lambda", 0.5), "lambda: is one value for all models"),
    (
        "semantics of a model",
        "cpt_ties",
        with_(f"{FIRST}.semantics", "paper"),
        "semantics: is one value for all",
    ),
    (
        "semantics by filter",
        "cpt_ties",
        with_("parameters.semantics", [{"filter": "mlp", "value": "paper"}]),
        "semantics: must be one value",
    ),
    ("seed is a fraction", "cpt_dare_ties", with_("parameters.seed", 1.5), "seed: 1.5 is not a whole number"),
    ("seed in TIES", "cpt_ties", with_("parameters.seed", 1), "cpt_ties has no such parameter"),
    (
        "normalize is text",
        "cpt_ties",
        with_("parameters.normalize", "maybe"),
        "'maybe' is neither true nor false",
    ),
    (
        "normalize in paper",
        "cpt_ties",
        with_("parameters.normalize", True),
        "normalize: paper semantics does not have it",
    ),
    ("mask_id is a number", "cpt_dare_ties", with_(f"{FIRST}.mask_id", 7), "mask_id: 7 is not a string"),
    ("mask_id at the top", "cpt_dare_ties", with_("parameters.mask_id", "a"), "mask_id: names one model"),
    (
        "same mask_id",
        "cpt_dare_ties",
        with_(f"{FIRST}.mask_id", "math"),
        "mask_id 'math' belongs to both .*finance and",
    ),
    ("similarity is a word", "cpt_ties", with_("parameters.similarity", "yes"), "'yes' is neither true nor"),
    ("similarity is a number", "cpt_ties", with_("parameters.similarity", 1), "1 is neither true nor false"),
    ("similarity of one model", "cpt_ties", with_(f"{FIRST}.similarity", True), "one value for all models"),
    ("similarity, misspelt", "cpt_ties", with_("parameters.similarty", True), "Did you mean 'similarity'"),
    ("density too fine", "cpt_dare_ties", with_("parameters.density", 1e-10), "1e-10 keeps nothing"),
    ("density of TIES too fine", "cpt_ties", with_("parameters.density", 1e-320), "1e-320 keeps nothing"),
    (
        "weight too small",
        "cpt_ties",
        with_(f"{FIRST}.weight", [{"filter": "mlp", "value": "1e-320"}, {"value": 1}]),
        "'1e-320' is too small for float32",
    ),
    ("no base", "cpt_ties", lambda s: s.pop("base_model"), "base_model is missing: cpt_ties needs"),
    (
        "no expert",
        "cpt_ties",
        lambda s: s.update(models=[{"model": s["base_model"]}]),
        "no model besides base_model",
    ),
    (
        "twice the same",
        "cpt_ties",
        lambda s: s["models"].append(s["models"][0]),
        "finance is listed more than once",
    ),
]


@pytest.mark.parametrize(("method", "change", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
@pytest.mark.usefixtures("unread")
def test_a_wrong_recipe_is_refused(
    models: Path, tmp_path: Path, method: str, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    settings = recipe(models, method)
    change(settings)
    assert re.search(message, refused(settings, tmp_path, RecipeError))


def slices(settings: dict[str, Any], last: int = 2) -> dict[str, Any]:
    sources = [
        {**entry, "layer_range": [0, last]}
        for entry in [*settings.pop("models"), {"model": settings["base_model"]}]
    ]
    return {**settings, "slices": [{"sources": sources}]}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("unread")
def test_slices_in_paper_semantics_are_refused(models: Path, tmp_path: Path, method: str) -> None:
    message = refused(slices(recipe(models, method)), tmp_path, RecipeError)
    assert message.startswith("slices: paper semantics merges whole models")


@pytest.mark.usefixtures("unread")
def test_similarity_of_slices_is_refused(models: Path, tmp_path: Path) -> None:
    settings = slices(recipe(models, "cpt_ties", semantics="mergekit", similarity=True))
    assert "similarity: compares whole models" in refused(settings, tmp_path, RecipeError)


def test_a_typo_in_slices_is_named(models: Path, tmp_path: Path) -> None:
    settings = slices(recipe(models, "cpt_ties", each={"densty": 0.2}, semantics="mergekit"))
    assert refused(settings, tmp_path, RecipeError).startswith("slices[0].sources[0] (")


@pytest.mark.parametrize("method", METHODS)
def test_mergekit_semantics_takes_slices_and_gradients(models: Path, tmp_path: Path, method: str) -> None:
    each = {} if method == "cpt_task_arithmetic" else {"density": [0.2, 0.8]}
    merged = run(slices(recipe(models, method, each=each, semantics="mergekit")), tmp_path / "out")
    whole = run(recipe(models, method, each=each, semantics="mergekit"), tmp_path / "whole")
    assert all(torch.equal(merged[name], whole[name]) for name in whole)


@pytest.mark.usefixtures("unread")
def test_whole_vector_ties_refuses_several_gpus_with_a_tokenizer_block(tmp_path: Path) -> None:
    models = random_models(tmp_path / "models")
    write_tokenizer(models / "base", WORDS)
    settings = {**recipe(models, "cpt_ties"), "tokenizer": {"source": "base"}}
    message = refused(settings, tmp_path, RecipeError, multi_gpu=True)
    assert "cannot run with --multi-gpu where the recipe has a tokenizer block" in message


# ---- checkpoints


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return random_models(tmp_path / "models")


def poke(name: str, value: float, index: int = 3) -> Callable[[Weights], Weights]:
    def change(weights: Weights) -> Weights:
        weights[name].view(-1)[index] = value
        return weights

    return change


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_nan_and_inf_are_named_with_model_and_tensor(
    broken: Path, tmp_path: Path, method: str, semantics: str, value: float
) -> None:
    edit(broken / "math", poke(NORM, value))
    message = refused(recipe(broken, method, semantics=semantics), tmp_path, ModelError)
    assert re.search(rf"math: tensor {NORM} holds 1 NaN or Inf \(the first at flat index 3\)", message)


def test_nan_in_the_base_is_named(broken: Path, tmp_path: Path) -> None:
    edit(broken / "base", poke(HEAD, float("nan")))
    assert f"base: tensor {HEAD} holds" in refused(recipe(broken, "cpt_ties"), tmp_path, ModelError)


def test_values_too_large_for_float32_are_named(broken: Path, tmp_path: Path) -> None:
    edit(broken / "math", lambda w: {**w, NORM: w[NORM].double() * 1e300})
    assert f"math: tensor {NORM}" in refused(recipe(broken, "cpt_ties", dtype=None), tmp_path, ModelError)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [NORM, HEAD])
@pytest.mark.parametrize("model", ["base", "finance"])
def test_a_missing_tensor_is_named(broken: Path, tmp_path: Path, method: str, name: str, model: str) -> None:
    # mergekit reads a missing head from the embedding, so that both are removed.
    removed = {name} if name == NORM else {HEAD, "model.embed_tokens.weight"}
    edit(broken / model, lambda w: {n: t for n, t in w.items() if n not in removed})
    message = refused(recipe(broken, method), tmp_path, ModelError)
    assert re.search(rf"{model}: tensor ({'|'.join(removed)}) is missing", message)


@pytest.mark.parametrize("method", METHODS)
def test_shapes_that_differ_are_named(broken: Path, tmp_path: Path, method: str) -> None:
    edit(broken / "math", lambda w: {**w, NORM: torch.zeros(17)})
    message = refused(recipe(broken, method), tmp_path, ModelError)
    assert re.search(rf"math: tensor {NORM} has shape \[17\], .*base has \[16\] \[model.shape\]$", message)


def test_vocabularies_that_differ_are_named(broken: Path, tmp_path: Path) -> None:
    edit(broken / "math", lambda w: {**w, HEAD: torch.zeros(28, 16)})
    message = refused(recipe(broken, "cpt_dare_ties"), tmp_path, ModelError)
    assert f"{HEAD} has shape [28, 16]" in message and message.endswith(
        ". A tokenizer: block aligns vocabularies. [model.shape]"
    )


def test_shapes_that_a_tokenizer_block_cannot_align_are_named(broken: Path, tmp_path: Path) -> None:
    permuted(broken)
    edit(broken / "math", lambda w: {**w, HEAD: torch.zeros(24, 17)})
    settings = {**recipe(broken, "cpt_ties"), "tokenizer": {"source": "base"}}
    assert f"math: tensor {HEAD} has shape [24, 17]" in refused(settings, tmp_path, ModelError)


def test_other_numbers_of_layers_are_named(broken: Path, tmp_path: Path) -> None:
    config = llama_config(**{**SMALL, "num_hidden_layers": 3})
    write_model(broken / "math", config, load_file(broken / "math" / "model.safetensors"))
    assert "has num_hidden_layers 3" in refused(recipe(broken, "cpt_ties"), tmp_path, ModelError)


def test_integer_buffers_must_be_equal_in_all_models(broken: Path, tmp_path: Path) -> None:
    for model in ("base", *EXPERTS):
        edit(broken / model, lambda w: {**w, NORM: torch.arange(16)})
    merged = run(recipe(broken, "cpt_ties", each={"density": 0.2}, dtype=None), tmp_path / "fine")
    assert torch.equal(merged[NORM], torch.arange(16))
    edit(broken / "math", lambda w: {**w, NORM: torch.arange(16) + 1})
    message = refused(recipe(broken, "cpt_ties", dtype=None), tmp_path, ModelError)
    assert f"math: tensor {NORM} is not floating point and differs" in message


@pytest.mark.parametrize("method", ["cpt_ties", "cpt_dare_ties"])
def test_a_density_that_keeps_nothing_is_refused(broken: Path, tmp_path: Path, method: str) -> None:
    size = sum(t.numel() for t in load_file(broken / "math" / "model.safetensors").values())
    settings = recipe(broken, method, each={"density": 0.49 / size})
    message = refused(settings, tmp_path, RecipeError)
    assert re.search(rf"finance: density .* keeps none of the {size} elements", message)
    run(recipe(broken, method, each={"density": 0.51 / size}), tmp_path / "one")


def test_the_same_recipe_without_the_mistake_runs(broken: Path, tmp_path: Path) -> None:
    assert run(recipe(broken, "cpt_ties", each={"density": 0.2}), tmp_path / "out")
