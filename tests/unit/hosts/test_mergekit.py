"""The adapters to mergekit: one readable line where a name is missing; open checkpoints of the caller stay."""

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.merging import WORDS, random_models, recipe, write_tokenizer
from mergekit import merge, sparsify
from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge_methods import TensorGroup, merge_method, registered_methods
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner

from mergekit_finance.errors import HostError, MergekitFinanceError
from mergekit_finance.hosts import mergekit as host
from mergekit_finance.hosts import mergekit_recipes
from mergekit_finance.merging import in_memory
from mergekit_finance.merging.on_disk import merge_to_folder
from mergekit_finance.merging.session import MergeSession


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_models(tmp_path_factory.mktemp("models"))
    write_tokenizer(folder / "base", WORDS)
    return folder


@pytest.fixture
def configuration(models: Path) -> MergeConfiguration:
    return MergeConfiguration.model_validate(recipe(models, "task_arithmetic"))


@pytest.fixture
def planner(configuration: MergeConfiguration) -> MergePlanner:
    return host.new_planner(configuration, MergeOptions(quiet=True))


def hooks() -> None:
    host.install_planner_hooks(handles=None, plan=None, tasks_to_disk=None, opening=None)


def side_files(planner: MergePlanner) -> None:
    host.write_side_files(planner.config, Path(), planner.options, lambda planner: None)


# Name of mergekit: our function that uses it. Spaces at the end tell apart the functions that use one name.
CLASS_NAMES = {
    (MergePlanner, "_plan"): lambda planner: host.plan_merge(planner),
    (MergePlanner, "_plan "): lambda planner: host.plan_without_hook(planner),
    (MergePlanner, "_plan  "): lambda planner: hooks(),
    (MergePlanner, "plan_to_disk"): lambda planner: hooks(),
    (MergePlanner, "_tokenizer_task"): lambda planner: host.tokenizer_task(planner),
    (MergePlanner, "_tokenizer_task "): lambda planner: host.set_tokenizer_task(planner, None),
    (LoaderCache, "loaders"): lambda planner: host.fresh_loaders().__enter__(),
    (LoaderCache, "get"): lambda planner: host.open_loader("model"),
    (LoaderCache, "setup"): lambda planner: host.set_up_loaders(planner.options),
    (merge, "_model_out_config"): lambda planner: host.new_planner(planner.config, planner.options),
    (merge, "MergePlanner"): lambda planner: side_files(planner),
    (merge, "run_merge"): lambda planner: side_files(planner),
    (MergePlanner, "plan_to_disk "): lambda planner: side_files(planner),
    (MergeConfiguration, "referenced_models"): lambda planner: mergekit_recipes.keep_recipe_order(),
    (sparsify, "bernoulli"): lambda planner: host.replaced_bernoulli(print).__enter__(),
}


@pytest.mark.parametrize(("owner", "name"), CLASS_NAMES, ids=lambda value: getattr(value, "__name__", value))
def test_a_mergekit_without_a_private_name_gives_one_readable_line(owner, name, planner, monkeypatch):
    monkeypatch.delattr(owner, name.strip())
    with pytest.raises(HostError) as caught:
        CLASS_NAMES[owner, name](planner)
    label = f"{owner.__name__}.{name.strip()}"
    assert str(caught.value) == (
        f"mergekit 0.1.5 has no {label}; mergekit-finance was written for mergekit 0.1.5. "
        "Install mergekit>=0.1.5,<0.2."
    )
    assert isinstance(caught.value, MergekitFinanceError)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("_method", host.planner_method),
        ("_tensors", host.planned_tensors),
        ("_tensors", lambda planner: host.set_planned_tensors(planner, [])),
    ],
)
def test_a_planner_without_a_private_attribute_gives_one_readable_line(name, call, planner, monkeypatch):
    monkeypatch.delattr(planner, name)
    with pytest.raises(HostError, match=rf"has no MergePlanner\.{name}; .* Install mergekit>=0.1.5,<0.2\.$"):
        call(planner)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("mergekit.io.tasks", "LoaderCache", lambda: host.fresh_loaders().__enter__()),
        ("mergekit.merge_methods", "register", lambda: mergekit_recipes.register_methods([])),
        ("mergekit.merge_methods", "registered_methods", mergekit_recipes.method_parameters),
    ],
)
def test_a_module_without_a_public_name_gives_one_readable_line(module, name, call, monkeypatch):
    monkeypatch.delattr(f"{module}.{name}")
    with pytest.raises(HostError, match=rf"^mergekit 0.1.5 has no {module}\.{name}; "):
        call()


def test_a_missing_module_gives_one_readable_line(monkeypatch, configuration):
    monkeypatch.setitem(sys.modules, "mergekit.plan", None)
    with pytest.raises(HostError, match=r"^mergekit 0.1.5 has no module mergekit\.plan; "):
        host.new_planner(configuration, MergeOptions())


def test_an_import_error_of_another_package_is_raised_unchanged():
    with pytest.raises(ImportError, match="quux"), host.MERGEKIT.imports():
        raise ImportError("No module named 'quux'", name="quux")


# ---- open checkpoints


@pytest.fixture
def opened(models: Path) -> SimpleNamespace:
    """A checkpoint that the caller has opened with other settings."""
    reference = ModelReference.model_validate(str(models / "base"))
    before, LoaderCache.loaders = LoaderCache.loaders, {}
    LoaderCache().setup(MergeOptions(lora_merge_cache="theirs"))
    loader = LoaderCache().get(reference)
    yield SimpleNamespace(reference=reference, loader=loader, loaders=LoaderCache.loaders)
    LoaderCache.loaders = before


def test_a_merge_in_memory_leaves_the_callers_open_checkpoints_alone(opened, configuration):
    in_memory.merge(configuration, MergeOptions(quiet=True))
    assert LoaderCache.loaders is opened.loaders
    assert LoaderCache.loaders == {opened.reference: opened.loader}
    assert LoaderCache().get(opened.reference) is opened.loader
    assert LoaderCache().lora_cache_dir == "theirs"


def test_fresh_loaders_are_empty_and_the_callers_come_back_after_an_error(opened):
    with pytest.raises(KeyError), host.fresh_loaders():
        assert LoaderCache.loaders == {}
        assert host.open_loader(opened.reference) is not opened.loader
        raise KeyError
    assert LoaderCache().get(opened.reference) is opened.loader


def test_reopening_a_checkpoint_keeps_the_others(opened, models):
    other = ModelReference.model_validate(str(models / "math"))
    loader = host.open_loader(other)
    host.reopen([other])
    assert LoaderCache().get(opened.reference) is opened.loader
    assert LoaderCache().get(other) is not loader


def test_a_checkpoint_lists_its_tensors(opened):
    assert "model.norm.weight" in host.stored_names(opened.reference)
    assert host.stored_as_safetensors(opened.reference)


# ---- merge methods


def test_a_method_is_registered_once_and_a_taken_name_is_kept_with_a_warning():
    def first(group: TensorGroup) -> torch.Tensor:
        return group.tensors[0]

    taken = merge_method(name="linear")(first)
    before = registered_methods()
    with pytest.warns(RuntimeWarning, match="'linear' exists already; the plugin's method is ignored"):
        mergekit_recipes.register_methods([taken])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mergekit_recipes.register_methods(before)
    assert registered_methods() == before


def test_mergekits_own_methods_are_planned_by_mergekit_alone(planner):
    host.plan_merge(planner)
    assert planner._tensors == host.planned_tensors(planner) != []
    assert host.tokenizer_task(planner) is None
    assert host.planner_method(planner).spec.name == "task_arithmetic"


def test_a_merge_on_disk_leaves_the_callers_open_checkpoints_alone(opened, configuration, tmp_path):
    """It reads the current files, not those that an earlier merge of this process opened."""
    options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
    files = merge_to_folder(configuration, tmp_path, options)
    assert [path.name for path in files] == ["config.json", "model.safetensors"]
    assert LoaderCache.loaders is opened.loaders
    assert LoaderCache.loaders == {opened.reference: opened.loader}


def test_a_session_leaves_the_callers_open_checkpoints_alone(opened, models):
    with MergeSession.open(recipe(models, "cpt_ties", each={"density": 0.5})) as session:
        session.apply(density=0.2)
        assert LoaderCache.loaders is opened.loaders
    assert LoaderCache.loaders == {opened.reference: opened.loader}


def test_mergekits_own_merge_with_a_method_of_ours_keeps_the_checkpoints_of_other_models(
    opened, models, tmp_path
):
    settings = recipe(models, "cpt_task_arithmetic")
    settings["base_model"] = str(models / "japanese")  # not the one that the caller has open
    options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
    merge.run_merge(MergeConfiguration.model_validate(settings), str(tmp_path), options)
    assert LoaderCache().get(opened.reference) is opened.loader
