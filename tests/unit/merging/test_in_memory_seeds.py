"""mergekit's random methods through our commands: seeded, recorded, and the same bytes every time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.inputs import write_recipe
from helpers.merging import WORDS, random_models, run, same_bytes, write_tokenizer
from mergekit.config import MergeConfiguration
from mergekit.merge_methods import registered_methods
from mergekit.options import MergeOptions

from mergekit_finance.errors import RecipeError
from mergekit_finance.merging import in_memory
from mergekit_finance.recipe.load import DRAWS_NOTHING, load_recipe
from mergekit_finance.recipe.overrides import load_changed
from mergekit_finance.study.points import RecipePoint
from mergekit_finance.study.worker import Stamp, Worker

RANDOM = ["dare_linear", "dare_ties", "della", "della_linear"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_models(tmp_path_factory.mktemp("models"))
    write_tokenizer(folder / "base", WORDS)
    return folder


def content(models: Path, method: str) -> dict[str, Any]:
    parameters = {"weight": 0.5, "density": 0.5, **({"epsilon": 0.1} if method.startswith("della") else {})}
    entries = [{"model": str(models / name), "parameters": parameters} for name in ("finance", "math")]
    return {"merge_method": method, "base_model": str(models / "base"), "models": entries, "dtype": "float32"}


def merged(models: Path, method: str, seed: int | None) -> dict[str, torch.Tensor]:
    """The tensors of a merge in memory."""
    options = MergeOptions(quiet=True, random_seed=seed)
    with in_memory.host.fresh_loaders():
        in_memory.host.set_up_loaders(options)
        config = MergeConfiguration.model_validate(content(models, method))
        with in_memory.host.seeded(seed or 0):
            return in_memory._merged_tensors(config, options)


@pytest.fixture
def without_side_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from mergekit_finance.merge_methods import side_files

    replacement = SimpleNamespace(live_model=lambda tensors, *_: tensors, tokenizer=None)
    monkeypatch.setattr(side_files, "make_side_files", lambda *_: replacement)


@pytest.mark.parametrize("method", RANDOM)
def test_two_merges_are_equal_and_another_seed_gives_another(method, models, without_side_files):
    def merge(seed: int | None) -> Any:
        config = MergeConfiguration.model_validate(content(models, method))
        return in_memory.merge(config, MergeOptions(quiet=True, random_seed=seed))[0]

    first = merge(None)
    torch.manual_seed(5)  # earlier random numbers of the process have no effect
    assert same_bytes(first, merge(None)) and same_bytes(first, merge(0))
    assert not same_bytes(first, merge(1))


def test_the_callers_random_numbers_stay_as_they_were(models, without_side_files):
    config = MergeConfiguration.model_validate(content(models, "dare_ties"))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    in_memory.merge(config, MergeOptions(quiet=True))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("method", RANDOM)
def test_mergekit_yaml_with_this_seed_writes_the_same_tensors(method, seed, models, tmp_path):
    on_disk = run(content(models, method), tmp_path / "out", random_seed=seed)
    assert same_bytes(on_disk, merged(models, method, seed))


@pytest.mark.parametrize(
    ("method", "finance", "seed"),
    [("dare_ties", {}, 0), ("della", {"seed": 7}, 7), ("ties", {}, None), ("ties", {"seed": 7}, None)],
)
def test_a_recipe_has_a_seed_if_its_method_draws(method, finance, seed, models, tmp_path):
    recipe = content(models, method)
    if method == "ties":
        recipe["models"][0]["parameters"].pop("epsilon", None)
    path = write_recipe(tmp_path / "r.yml", {**recipe, "finance": finance})
    assert load_recipe(path).seed == load_changed(str(path), {"dtype": "float32"}).seed == seed


def test_our_methods_have_a_seed_of_their_own(models, tmp_path):
    recipe = {**content(models, "cpt_dare_ties"), "finance": {"seed": 3}}
    with pytest.raises(RecipeError, match="finance.seed: only for mergekit's methods.*parameters.seed"):
        load_recipe(write_recipe(tmp_path / "r.yml", recipe))


@pytest.mark.parametrize("value", [-1, 2**63, True, "one", 1.5])
def test_a_seed_is_a_whole_number_that_torch_takes(value, models, tmp_path):
    recipe = {**content(models, "dare_ties"), "finance": {"seed": value}}
    with pytest.raises(RecipeError, match="finance.seed: "):
        load_recipe(write_recipe(tmp_path / "r.yml", recipe))


def test_the_methods_that_draw_nothing_are_registered():
    names = {method.spec.name for method in registered_methods()}
    assert set(DRAWS_NOTHING) < names and not set(RANDOM) & set(DRAWS_NOTHING)


def test_the_seed_is_part_of_a_results_key_if_the_method_draws(tmp_path):
    worker = Worker(None, tmp_path, {}, stamp=Stamp({}, {}, {}))

    def key(seed: int | None) -> Any:
        return worker.point_key(RecipePoint("p", {"merge_method": "x"}, seed))

    assert key(0).seed == 0 and key(0).digest != key(1).digest
    assert "seed" not in key(None).as_json()
