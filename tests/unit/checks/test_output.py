"""No command writes into, over or around what it reads, however the output path is written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.inputs import WRITERS, lm_eval, merge_recipe, mergekit_yaml, mkf, refusal, snapshot, write_recipe

from mergekit_finance.checks import output as checks
from mergekit_finance.checks.output import Input, check_output, check_output_file, model_inputs
from mergekit_finance.errors import MergekitFinanceError, RecipeError

WEIGHTS = "model.safetensors"


@pytest.fixture
def models(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny models that a test may overwrite."""
    return Path(shutil.copytree(tiny, tmp_path / "models", ignore=shutil.ignore_patterns("japanese")))


def linked(models: Path) -> Path:
    (models.parent / "link").symlink_to(models / "finance", target_is_directory=True)
    return models.parent / "link"


def hard_linked_files(models: Path) -> Path:
    """Another folder with the same files, as `cp -al` makes it."""
    other = models.parent / "other"
    other.mkdir()
    for file in (models / "finance").iterdir():
        os.link(file, other / file.name)
    return other


def linked_files(models: Path) -> Path:
    other = models.parent / "other"
    other.mkdir()
    for file in (models / "finance").iterdir():
        (other / file.name).symlink_to(file)
    return other


def moved_weights(models: Path) -> Path:
    """The weights lie elsewhere, and the model's folder has links to them."""
    store = models.parent / "store"
    store.mkdir()
    for file in list((models / "finance").iterdir()):
        shutil.move(file, store / file.name)
        file.symlink_to(store / file.name)
    return store


def shards_elsewhere(models: Path) -> Path:
    """An index whose only shard lies outside of the model's folder."""
    from safetensors import safe_open

    folder, store = models / "finance", models.parent / "shards"
    store.mkdir()
    shutil.move(folder / WEIGHTS, store / WEIGHTS)
    with safe_open(store / WEIGHTS, "pt") as file:
        files = dict.fromkeys(file.keys(), f"../../shards/{WEIGHTS}")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return store


OUTPUTS: dict[str, Callable[[Path], Path | str]] = {
    "an expert": lambda models: models / "finance",
    "the base": lambda models: models / "base",
    "a slash at the end": lambda models: f"{models / 'finance'}/",
    "a path with ..": lambda models: models / "math" / ".." / "finance",
    "a relative path": lambda models: os.path.relpath(models / "finance"),
    "a link to it": linked,
    "a link and ..": lambda models: linked(models) / "." / ".." / "finance",
    "a folder in it": lambda models: models / "finance" / "merged",
    "a deep new folder in it": lambda models: models / "finance" / "a" / "b",
    "a new folder behind a link": lambda models: linked(models) / "merged",
    "the folder of its real files": moved_weights,
    "the folder of its shards": shards_elsewhere,
}
SHARED_FILES = {"hard links to its files": hard_linked_files, "links to its files": linked_files}
AROUND = {"the folder of all models": lambda models: models, "a parent": lambda models: models.parent}
ONE_FILE = ("similarity", "recipes export")  # they write files whose names no file of a model has
NEW_FILES_ONLY = (*ONE_FILE, "lm_eval")  # they may write into a folder that holds models


def user_files(models: Path) -> dict[str, str]:
    """Return the files in the folder of the models, without the recipes that these tests write."""
    return {k: v for k, v in snapshot(models.parent).items() if not k.startswith("recipes of tests")}


def refused_line(command: str, output: Path | str, models: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    before = user_files(models)
    line = refusal(WRITERS[command](models, Path(output) if command == "similarity" else output, monkeypatch))
    assert user_files(models) == before, "something was written"
    # Commands that check the model files first refuse shards outside the folder of their model.
    assert "Choose another" in line or "not a file of this folder" in line
    return line


@pytest.mark.parametrize(
    ("where", "command"),
    [(w, c) for w in OUTPUTS for c in WRITERS if not (c in ONE_FILE and w.startswith("the folder of its"))],
)
def test_an_output_that_is_or_lies_in_an_input_is_refused(command, where, models, monkeypatch):
    output = OUTPUTS[where](models)
    line = refused_line(command, output, models, monkeypatch)
    assert f"{models}/" in line


@pytest.mark.parametrize("command", [c for c in WRITERS if c not in ONE_FILE])
@pytest.mark.parametrize("where", SHARED_FILES)
def test_an_output_that_shares_files_with_an_input_is_refused(command, where, models, monkeypatch):
    line = refused_line(command, SHARED_FILES[where](models), models, monkeypatch)
    assert "is the same file as" in line and "of model" in line


@pytest.mark.parametrize("command", [c for c in WRITERS if c not in NEW_FILES_ONLY])
@pytest.mark.parametrize("where", AROUND)
def test_an_output_that_holds_an_input_is_refused(command, where, models, monkeypatch):
    assert "holds model" in refused_line(command, AROUND[where](models), models, monkeypatch)


@pytest.mark.parametrize(
    "block",
    [
        {"tokenizer": {"source": "{}/japanese"}},
        {"tokenizer_source": "{}/japanese"},
        {"tokenizer": {"source": "base", "tokens": {"<s>": {"source": "{}/japanese"}}}},
        {
            "tokenizer": {
                "source": "base",
                "tokens": {"<s>": {"source": {"kind": "model_token", "model": "{}/japanese", "token_id": 0}}},
            }
        },
    ],
    ids=["source", "tokenizer_source", "a token", "a token of a model"],
)
def test_the_source_of_a_tokenizer_is_an_input(block, tiny, models):
    shutil.copytree(tiny / "japanese", models / "japanese")
    block = json.loads(json.dumps(block).replace("{}", str(models)))
    recipe = write_recipe(models.parent / "r.yml", merge_recipe(models, **block))
    before = snapshot(models.parent)
    line = refusal(mergekit_yaml(recipe, models / "japanese"))
    assert f"is the folder of tokenizer source {models}/japanese" in line
    line = refusal(mkf("run", recipe, "-o", models / "japanese", "--source", "lab"))
    if "tokens" in str(block):  # found while the recipe is read
        assert f"{str(models / 'japanese')!r} is not merged here" in line
    else:
        assert f"is the folder of tokenizer source {models}/japanese" in line
    assert snapshot(models.parent) == before


def test_a_lora_adapter_is_an_input(models):
    adapter = models.parent / "adapter"
    adapter.mkdir()
    (source,) = model_inputs([f"./nowhere+{adapter}"])
    assert source == Input(f"LoRA adapter {adapter}", adapter)
    with pytest.raises(RecipeError, match=f"-o {adapter}: is the folder of LoRA adapter"):
        check_output(adapter, [source])


@pytest.mark.parametrize("place", ["", "snapshots/abc", "blobs", "snapshots/abc/merged"])
def test_the_hubs_cache_of_an_input_is_an_input(place, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--owner--name"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "blobs").mkdir()
    with pytest.raises(RecipeError, match="of model owner/name"):
        check_output(cached / place, model_inputs(["owner/name@abc"]))


def test_another_folder_can_be_the_hubs_cache(tmp_path):
    (tmp_path / "models--owner--name").mkdir()
    with pytest.raises(RecipeError, match="lies in the folder of model owner/name"):
        check_output(
            tmp_path / "models--owner--name" / "x", model_inputs(["owner/name"], cache=str(tmp_path))
        )


def test_links_into_the_blobs_of_the_hubs_cache_are_shared_files(tmp_path):
    blob = tmp_path / "models--owner--name" / "blobs" / "1234"
    blob.parent.mkdir(parents=True)
    blob.write_text("weights")
    out = tmp_path / "out"
    out.mkdir()
    (out / WEIGHTS).symlink_to(blob)
    with pytest.raises(RecipeError, match=f"{WEIGHTS} there is the same file as .*1234, of model owner/name"):
        check_output(out, model_inputs(["owner/name"], cache=str(tmp_path)))


def test_two_paths_of_one_folder_on_disk_are_the_same_folder(models, monkeypatch):
    """A bind mount has two paths, and so has any folder where the file system ignores case."""
    real = checks._id
    alias = models / "FINANCE"
    monkeypatch.setattr(checks, "_id", lambda path: real(models / "finance" if path == alias else path))
    for output in (alias, alias / "merged"):
        with pytest.raises(RecipeError, match="FINANCE"):
            check_output(output, model_inputs([str(models / "finance")]))


@pytest.mark.parametrize("name", ["mergekit_config.yml", "README.md", "config.json"])
@pytest.mark.parametrize("link", [False, True], ids=["itself", "a link to it"])
def test_a_recipe_that_the_merge_would_overwrite_is_kept(name, link, models, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    recipe = write_recipe(tmp_path / "r.yml" if link else out / name, merge_recipe(models))
    if link:
        (out / name).symlink_to(recipe)
    text = recipe.read_text()
    assert f"overwrite its own recipe {recipe}" in refusal(mergekit_yaml(recipe, out))
    assert recipe.read_text() == text and len(list(out.iterdir())) == 1


@pytest.mark.parametrize("name", ["r.yml", "README.md"])
def test_a_recipe_in_the_output_folder_that_is_not_overwritten_is_allowed(name, models, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    recipe = write_recipe(out / name, merge_recipe(models))
    text = recipe.read_text()
    options = ["--no-write-model-card"] if name == "README.md" else []
    result = mergekit_yaml(recipe, out, *options)
    assert result.exit_code == 0, result.output
    assert recipe.read_text() == text and (out / WEIGHTS).is_file()


def test_an_output_that_is_a_file_is_refused_before_the_merge(models, tmp_path):
    (tmp_path / "out").write_text("mine")
    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models))
    assert "out: exists and is not a directory. Choose" in refusal(mergekit_yaml(recipe, tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "mine"


def test_a_path_that_is_too_long_is_refused_before_the_merge(models, tmp_path):
    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models))
    line = refusal(mergekit_yaml(recipe, tmp_path / ("z" * 300)))
    assert line.endswith("longer than the file system allows. Use a shorter name. [output.not-writable]")


def test_a_gpu_that_is_not_there_is_named_before_the_merge(models, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models))
    assert "--cuda: torch sees no GPU" in refusal(mergekit_yaml(recipe, tmp_path / "out", "--cuda"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["results", "results/new.json"])
def test_a_folder_that_lm_eval_cannot_write_is_refused_before_the_merge(name, models, tmp_path, monkeypatch):
    """lm-eval would evaluate, and then only log that it could not write."""
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(
        "mergekit_finance.evaluation.mergekit_lm.writable_folder", lambda folder: f"{folder}!"
    )
    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models))
    line = refusal(lm_eval(recipe, output_path=str(tmp_path / name)))
    assert line.endswith(
        f"{tmp_path}/{name}: {tmp_path}/results!. Choose another output directory, or change its permissions. [output.not-writable]"
    )


def test_output_folders_of_other_methods_are_not_checked(models, tmp_path):
    """This package does not check where mergekit writes merges of its own methods."""
    merged = [{"model": str(models / name), "parameters": {"weight": 0.5}} for name in ("finance", "math")]
    recipe = merge_recipe(models, merge_method="linear", base_model=None, parameters=None, models=merged)
    result = mergekit_yaml(write_recipe(tmp_path / "r.yml", recipe), models / "finance" / "merged")
    assert result.exit_code == 0, result.exception


def test_an_output_folder_beside_the_models_is_allowed(models, tmp_path):
    """An earlier merge, or files with the names of an input's files, may be in the output folder."""
    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models))
    for _ in range(2):
        assert mergekit_yaml(recipe, models / "merged").exit_code == 0
    check_output(models / "finance2", model_inputs([str(models / "finance")]))


def test_selected_merges_of_a_study_may_be_merged_into_results_beside_them(models, tmp_path):
    """A recipe of a later stage names OUT/selected/..., and `run -o OUT` uses the results in OUT."""
    from mergekit_finance.study.refusals import check_folder

    selected = tmp_path / "out" / "selected" / "one"
    shutil.copytree(models / "finance", selected)
    check_folder(tmp_path / "out", model_inputs([str(selected)]))
    with pytest.raises(RecipeError, match="is the folder of model"):
        check_folder(selected, model_inputs([str(selected)]))


@pytest.mark.parametrize("name", ["points", "selected"])
def test_a_folder_of_results_that_links_into_an_input_is_refused(name, models, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(models / "finance")
    for command in ("run", "study", "study plan"):
        assert f"{name}: is the folder of model" in refused_line(command, out, models, monkeypatch)


def test_recipes_are_copied_beside_models_and_not_into_them(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models, tmp_path / "lab")
    before = snapshot(tmp_path)
    for target in ("lab/base/study.yml", "lab/base", "lab/base/config.json"):
        line = refusal(mkf("recipes", "copy", "lab/study", target, "--force"))
        assert "lies in the folder of model ./lab/base" in line
    assert snapshot(tmp_path) == before
    assert mkf("recipes", "copy", "lab", ".").exit_code == 0


def test_export_does_not_overwrite_the_study_file(models, tmp_path):
    from helpers import study as studies

    name = "stage1-finance-ta-lambda0.5.yml"
    file = studies.write(tmp_path / name, models)
    text = file.read_text()
    line = refusal(mkf("recipes", "export", file, "--force"))
    assert "of the study file" in line and file.read_text() == text


def test_a_json_file_of_lm_eval_in_an_input_is_refused(models, monkeypatch):
    line = refused_line("lm_eval", models / "finance" / "results.json", models, monkeypatch)
    assert "--output_path" in line and "lies in the folder of model" in line


@pytest.mark.parametrize("name", ["answers", "new/answers"])
def test_answers_of_lm_eval_in_an_input_are_refused(name, models):
    """They would change the bytes that identify the model."""
    recipe = write_recipe(models.parent / "r.yml", merge_recipe(models))
    before = snapshot(models.parent)
    for place in (models / "finance", linked(models)):
        line = refusal(lm_eval(recipe, use_cache=f"{place}/{name}"))
        assert line == (
            f"--use_cache {place}/{name}_rank0.db: lies in the folder of model {models}/finance. "
            "Choose another file. [output.in-input]"
        )
    (models.parent / "link").unlink()
    assert snapshot(models.parent) == before


def test_the_plain_command_prints_one_line(models, tmp_path):
    from helpers import commands

    recipe = write_recipe(tmp_path / "r.yml", merge_recipe(models))
    before = snapshot(models)
    line = commands.error_line(commands.run("mergekit-yaml", recipe, models / "finance"))
    assert line == (
        f"Error: output {models}/finance: is the folder of model {models}/finance, which would be "
        "overwritten. Choose another output directory. [output.is-input]"
    )
    assert snapshot(models) == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md", "link.json"])
def test_an_output_file_never_replaces_a_file_of_any_model(name, tmp_path):
    """Also of a model that the command does not read, such as an expert of a study that is ranked."""
    for file in ("config.json", "model.safetensors", "README.md", "similarity.json", "notes.log"):
        (tmp_path / file).write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link.json").symlink_to(tmp_path / "config.json")
    output = tmp_path / "out" / name if name == "link.json" else tmp_path / name
    with pytest.raises(MergekitFinanceError, match=r"is a file of the model .*\[output.is-input\]"):
        check_output_file(output, [])
    for other in ("similarity.json", "notes.log", "ranking.json"):
        check_output_file(tmp_path / other, [])


def test_an_output_file_with_too_long_a_name_is_left_to_the_writer(tmp_path):
    check_output_file(tmp_path / f"{'x' * 300}.json", [])
