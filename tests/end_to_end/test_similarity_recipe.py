"""`similarity: true` in a recipe: plain `mergekit-yaml` leaves the file that the command writes."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
import yaml
from helpers import commands
from helpers.merging import WORDS, edit, permuted, random_models, recipe, run, write_tokenizer

from mergekit_finance.errors import RecipeError
from mergekit_finance.merging.compare import OPERATORS
from mergekit_finance.similarity import table
from mergekit_finance.similarity.compute import compute_similarity

NAMES = ("base", "finance", "math")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_models(tmp_path_factory.mktemp("models"), dtypes={"base": torch.bfloat16})
    for name in NAMES:
        write_tokenizer(folder / name, WORDS)
    return folder


def settings_of(folder: Path, method: str = "cpt_ties", **parameters: Any) -> dict[str, Any]:
    """A recipe whose experts are not in mask_id order, so that paper semantics reorders them."""
    each = {} if method == "cpt_task_arithmetic" else {"density": 0.4}
    return recipe(folder, method, ("math", "finance"), each=each, similarity=True, **parameters)


def mergekit_yaml(settings: dict[str, Any], place: Path) -> "CompletedProcess[str]":
    """The command, in `place`; it writes `place`/out."""
    (place / "recipe.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return commands.run("mergekit-yaml", "recipe.yml", "out", "--quiet", cwd=place)


def by_command(settings: dict[str, Any], out: Path) -> bytes:
    """Return the result of `mergekit-finance similarity` for the recipe's models, in its order."""
    table.write_similarity(
        compute_similarity(settings["base_model"], [m["model"] for m in settings["models"]]), out
    )
    return out.read_bytes()


@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
@pytest.mark.parametrize("method", OPERATORS)
def test_mergekit_yaml_writes_the_same_file_as_the_command(
    folder: Path, method: str, semantics: str, tmp_path: Path
) -> None:
    settings = settings_of(folder, method, semantics=semantics)
    done = mergekit_yaml(settings, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "similarity.json").read_bytes() == by_command(settings, tmp_path / "sim.json")
    assert not list((tmp_path / "out").glob(".*"))


def test_similarity_changes_no_weight_and_false_writes_no_file(folder: Path, tmp_path: Path) -> None:
    with_, without = settings_of(folder), settings_of(folder)
    without["parameters"]["similarity"] = False
    one, other = run(with_, tmp_path / "with"), run(without, tmp_path / "without")
    assert all(torch.equal(one[n], other[n]) for n in other)
    assert (tmp_path / "with" / "similarity.json").is_file()
    assert not (tmp_path / "without" / "similarity.json").exists()


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
def test_similarity_is_measured_on_the_files_for_any_dtype_of_the_recipe(
    dtype: str | None, tied: bool, tmp_path: Path
) -> None:
    folder = random_models(tmp_path / "m", tie_word_embeddings=tied)
    settings = settings_of(folder, "cpt_task_arithmetic", dtype=dtype)
    run(settings, tmp_path / "out")
    assert (tmp_path / "out" / "similarity.json").read_bytes() == by_command(settings, tmp_path / "sim.json")


def test_with_a_tokenizer_block_the_aligned_tensors_are_measured(tmp_path: Path) -> None:
    folder = random_models(tmp_path / "m")
    plain = settings_of(folder, "cpt_task_arithmetic")
    expected = json.loads(by_command(plain, tmp_path / "sim.json"))
    permuted(folder)
    run({**plain, "tokenizer": {"source": "base"}}, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "similarity.json").read_text()) == expected


def nan_in(model: Path) -> None:
    """In the tensor that the planner reads last."""
    edit(model, lambda ws: {n: w * float("nan") if n == "model.norm.weight" else w for n, w in ws.items()})


def truncated(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(("breaks", "message"), [(nan_in, "holds"), (truncated, "truncated or broken")])
def test_a_merge_that_is_refused_writes_nothing(
    breaks: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = random_models(tmp_path / "m")
    breaks(folder / "math")
    done = mergekit_yaml(settings_of(folder), tmp_path)
    assert done.returncode == 1 and message in done.stderr and "math" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_merge_that_fails_later_leaves_no_similarity(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergekit.io.tensor_writer import TensorWriter

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(TensorWriter, "finalize", full)
    with pytest.raises(RecipeError, match="out: cannot be written .No space left on device.. Free some disk"):
        run(settings_of(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_in_memory_nothing_is_measured_and_one_line_is_logged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    from mergekit_finance.merging import in_memory as merging
    from mergekit_finance.merging.session import MergeSession
    from mergekit_finance.similarity.measures import Accumulator

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(Accumulator, "add", never)
    settings = settings_of(folder)
    merging.merge(MergeConfiguration.model_validate(settings), MergeOptions(quiet=True))
    MergeSession.open(settings).close()
    messages = [r.message for r in caplog.records if "similarity" in r.message]
    assert len(messages) == 2 and all("a merge in memory has no output folder" in line for line in messages)
    assert not any("\n" in line for line in messages)
