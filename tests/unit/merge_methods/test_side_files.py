"""Config, tokenizer, generation config and template are made and checked before any tensor is read."""

import json
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import commands, study
from helpers.architectures import write_family
from mergekit.config import MergeConfiguration
from mergekit.io.lazy_tensor_loader import LazyTensorLoader
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from mergekit_finance.errors import MergekitFinanceError, ModelError
from mergekit_finance.hosts import mergekit as host
from mergekit_finance.merge_methods.side_files import make_side_files
from mergekit_finance.merging import in_memory
from mergekit_finance.merging.on_disk import merge_to_folder
from mergekit_finance.merging.session import MergeSession

Settings = dict[str, Any]
OPTIONS = MergeOptions(quiet=True, write_model_card=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("family"), "llama", tied=False)


@pytest.fixture
def family(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(written, tmp_path / "family")
    return tmp_path / "family"


def recipe(folder: Path, method: str = "cpt_task_arithmetic", **keys: Any) -> Settings:
    models = [{"model": str(folder / role)} for role in ("math", "finance")]
    parameters = {} if method.startswith("cpt_") else {"weight": 0.5}
    head = {"merge_method": method, "base_model": str(folder / "base"), "dtype": "float32"}
    return {**head, "models": models, "parameters": parameters, **keys}


def configuration(settings: Settings) -> MergeConfiguration:
    return MergeConfiguration.model_validate(settings)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# ---- found before the merge

BREAKS: dict[str, tuple[Callable[[Path], Any], Settings, str]] = {
    "tokenizer.json": (lambda f: (f / "base/tokenizer.json").write_text("{}"), {}, "base"),
    "tokenizer_config.json": (lambda f: (f / "base/tokenizer_config.json").write_text("[]"), {}, "base"),
    "generation_config.json": (lambda f: (f / "base/generation_config.json").write_text("{"), {}, "base"),
    "an end token": (
        lambda f: edit(f / "base/generation_config.json", eos_token_id="</s>"), {}, "eos_token_id",
    ),
    "sampling settings": (
        lambda f: edit(f / "base/generation_config.json", cache_implementation="nonsense"), {}, "generation_config",
    ),
    "chat_template.jinja": (lambda f: (f / "base/chat_template.jinja").write_text("{% if %}"), {}, "Jinja"),
    "the recipe's template": (lambda f: None, {"chat_template": "chatm"}, "Did you mean 'chatml'"),
    "the recipe's Jinja": (lambda f: None, {"chat_template": "{% for m in messages %}{{ m }}"}, "not valid Jinja"),
    "an expert's tokenizer under a tokenizer block": (
        lambda f: (f / "math/tokenizer.json").write_text("{}"), {"tokenizer": {"source": "union"}}, "math",
    ),
    "the base's tokenizer under a chat template": (
        lambda f: (f / "base/tokenizer.json").write_text("{}"), {"chat_template": "chatml"}, "base",
    ),
}  # fmt: skip


def in_memory_merge(settings: Settings, out: Path) -> None:
    in_memory.merge(configuration(settings), OPTIONS)


def session(settings: Settings, out: Path) -> None:
    MergeSession.open(settings).close()


def to_folder(settings: Settings, out: Path) -> None:
    out.mkdir()
    try:
        merge_to_folder(configuration(settings), out, OPTIONS)
    finally:
        if not list(out.iterdir()):
            out.rmdir()


def mergekit_yaml(settings: Settings, out: Path) -> None:
    run_merge(configuration(settings), str(out), OPTIONS)


WAYS = {
    "memory": (in_memory_merge, "cpt_ties"),
    "memory, a method of mergekit's": (in_memory_merge, "linear"),
    "session": (session, "cpt_ties"),
    "folder": (to_folder, "cpt_ties"),
    "folder, a method of mergekit's": (to_folder, "linear"),
    "mergekit-yaml": (mergekit_yaml, "cpt_ties"),
}


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("way", WAYS)
def test_a_broken_small_file_is_found_before_a_tensor_is_read(way, fault, family, tmp_path, monkeypatch):
    breaks, keys, message = BREAKS[fault]
    breaks(family)

    def no_tensor(*_: Any, **__: Any) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(LazyTensorLoader, "get_tensor", no_tensor)
    merge, method = WAYS[way]
    with pytest.raises(MergekitFinanceError, match=message) as caught:
        merge(recipe(family, method, **keys), tmp_path / "out")
    assert "\n" not in str(caught.value) and "/tmp/mergekit-finance-" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["generation_config.json", "chat_template.jinja", "tokenizer.json"])
@pytest.mark.parametrize("command", ["run", "study plan", "lm_eval", "mergekit-yaml"])
def test_every_command_names_a_broken_small_file(command, fault, family, tmp_path):
    BREAKS[fault][0](family)
    settings, out = tmp_path / "recipe.yml", tmp_path / "out"
    settings.write_text(json.dumps(recipe(family)))
    plan = study.write(tmp_path / "study.yml", family)
    fpb = ["--tasks", "finance_bench_fpb"]
    calls = {
        "run": ["mergekit-finance", "run", settings, "--out", out, *fpb, "--source", "sample"],
        "study plan": ["mergekit-finance", "study", "plan", plan],
        "lm_eval": ["lm_eval", "--model", "mergekit", "--model_args", f"recipe={settings}", *fpb],
        "mergekit-yaml": ["mergekit-yaml", settings, out],
    }
    line = commands.error_line(commands.run(*map(str, calls[command]), cwd=tmp_path))
    assert str(family / "base") in line and not out.exists()


def test_a_model_without_tokenizer_is_merged_on_disk_as_by_mergekit_and_refused_in_memory(family, tmp_path):
    for path in (family / "base").glob("*token*"):
        path.unlink()
    mergekit_yaml(recipe(family), tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    with pytest.raises(ModelError, match="no usable tokenizer"):
        in_memory_merge(recipe(family), tmp_path)


# ---- how they are made


def test_mergekits_log_is_silent_only_while_side_files_are_written(written, monkeypatch, caplog):
    write, log = host.write_side_files, logging.getLogger("mergekit.merge")

    def write_and_log(*arguments):
        log.error("a traceback of what is raised as one line later")
        return write(*arguments)

    monkeypatch.setattr(host, "write_side_files", write_and_log)
    with host.fresh_loaders():
        make_side_files(configuration(recipe(written)), OPTIONS)
    log.error("something else")
    assert "something else" in caplog.text
    assert "a traceback" not in caplog.text


def test_the_folder_of_side_files_is_kept_as_long_as_the_tokenizer(written):
    with host.fresh_loaders():
        side_files = make_side_files(configuration(recipe(written)), OPTIONS)
    folder, tokenizer = side_files.folder, side_files.tokenizer
    del side_files
    assert {path.name for path in folder.iterdir()} >= {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
    }
    assert tokenizer.name_or_path == str(written / "base")
    del tokenizer
    assert not folder.exists()


def test_a_merge_of_another_thread_writes_its_weights_meanwhile(written, tmp_path):
    """mergekit's planner is replaced for the thread that makes side files only."""
    finished = []

    def other_thread() -> None:
        run_merge(configuration(recipe(written, "linear")), str(tmp_path / "other"), OPTIONS)
        finished.append(True)

    def meanwhile(planner: Any) -> None:
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()

    (tmp_path / "side").mkdir()
    host.write_side_files(configuration(recipe(written, "linear")), tmp_path / "side", OPTIONS, meanwhile)
    assert finished and (tmp_path / "other" / "model.safetensors").is_file()
    assert not list((tmp_path / "side").glob("*.safetensors"))


def test_a_layer_that_is_used_twice_gives_two_independent_layers(written):
    """As after loading from disk: training one of them does not change the other."""
    part = {"sources": [{"model": str(written / "math"), "layer_range": [0, 1]}]}
    settings = {"merge_method": "passthrough", "slices": [part, part], "dtype": "float32"}
    model, _ = in_memory.merge(configuration(settings), OPTIONS)
    first, second = (layer.mlp.up_proj.weight for layer in model.model.layers)
    assert torch.equal(first, second) and first.data_ptr() != second.data_ptr()


def test_the_models_of_a_recipe_keep_its_order(written):
    """mergekit lists a set: without a base, any of them could give config and tokenizer."""
    in_memory.install_methods()
    roles = ("finance", "base", "math")
    for rotation in range(3):
        order = [str(written / role) for role in (*roles[rotation:], *roles[:rotation])]
        settings: Settings = {"merge_method": "linear", "models": [{"model": model} for model in order]}
        assert list(map(str, configuration(settings).referenced_models())) == order
        slices = [{"sources": [{"model": model, "layer_range": [0, 1]}]} for model in order]
        layered = configuration({"merge_method": "passthrough", "slices": slices})
        assert list(map(str, layered.referenced_models())) == order
        based = configuration({**settings, "base_model": str(written / "math")})
        assert str(based.referenced_models()[0]) == str(written / "math")
