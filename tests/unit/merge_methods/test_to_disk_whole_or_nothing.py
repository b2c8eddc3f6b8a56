"""A merge to disk leaves all weights in its output folder, or nothing: overflow, full disks, older models."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merging import (
    WORDS,
    edit,
    random_models,
    raw,
    recipe,
    run,
    same_bytes,
    stored,
    write_tokenizer,
)

from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.hosts.mergekit_writer import UNFINISHED
from mergekit_finance.merging.session import MergeSession

DOWN = "model.layers.1.mlp.down_proj.weight"
OVERFLOW = f"the merge's tensor {DOWN} holds NaN or Inf. Lower lambda or the weights"
METHODS = ("cpt_task_arithmetic", "cpt_ties", "cpt_dare_ties")
MANY = {"out_shard_size": 500}  # elements: a shard for nearly every tensor


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Models whose finance expert has one weight of 3e38, which float32 and bfloat16 can hold."""
    folder = random_models(tmp_path / "m")
    edit(folder / "finance", with_value(3e38))
    write_tokenizer(folder / "base", WORDS)  # sessions need one
    return folder


def with_value(value: float) -> "Callable[[Any], Any]":
    def changed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights[DOWN].view(-1)[-1] = value
        return weights

    return changed


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("options", [{}, MANY, {**MANY, "async_write": True, "write_threads": 2}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_an_overflow_leaves_no_output_folder(method: str, options: Any, models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=OVERFLOW):
        run(recipe(models, method, lambda_=3), tmp_path / "new" / "out", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_an_overflow_leaves_an_output_folder_as_it_was(safe: bool, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(recipe(models, "cpt_task_arithmetic", ["math"]), out, **MANY, safe_serialization=safe)
    (out / "notes.txt").write_text("mine")
    before = content(out)
    with pytest.raises(ModelError, match=OVERFLOW):
        run(recipe(models, "cpt_task_arithmetic", lambda_=3), out, **MANY, safe_serialization=safe)
    assert content(out) == before
    assert {p.name for p in out.iterdir()} == {*before}


def test_rounding_to_float16_may_overflow(tmp_path: Path) -> None:
    folder = random_models(tmp_path / "m")
    write_tokenizer(folder / "base", WORDS)
    edit(folder / "finance", with_value(5e4))
    settings = {**recipe(folder, "cpt_task_arithmetic", lambda_=2), "out_dtype": "float16"}
    with pytest.raises(ModelError, match="write out_dtype: bfloat16, or look for NaN"):
        run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with MergeSession.open(settings, merged=False) as session, pytest.raises(ModelError, match="out_dtype"):
        session.apply()
    assert run({**settings, "out_dtype": "bfloat16"}, tmp_path / "out")[DOWN].view(-1)[-1] > 9e4


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
def test_a_session_refuses_the_same_overflow(dtype: str | None, models: Path) -> None:
    settings = {**recipe(models, "cpt_task_arithmetic"), **({"out_dtype": dtype} if dtype else {})}
    with MergeSession.open(settings, merged=False) as session:
        session.apply(lambda_=1.0)
        with pytest.raises(ModelError, match=OVERFLOW):
            session.apply(lambda_=3.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_an_input_that_is_not_finite_is_refused_wherever_it_is(
    value: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    """The last value of a tensor of 30,000, which no sample has."""
    folder = random_models(tmp_path / "m", intermediate_size=2000, dtypes={"finance": dtype})
    edit(folder / "finance", lambda w: with_value(0.5)(with_value(value)(w)) | {DOWN: broken(w[DOWN], value)})
    with pytest.raises(
        ModelError, match=f"finance: tensor {DOWN} holds 1 NaN or Inf .the first at flat index"
    ):
        run(recipe(folder, "cpt_ties", each={"density": 0.5}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def broken(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """Put a value where none is sampled."""
    tensor = tensor.clone()
    tensor.view(-1)[-1] = 0.0
    tensor.view(-1)[tensor.numel() // 2 + 1000] = value
    return tensor


def test_an_error_of_another_kind_also_leaves_no_output_folder(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergekit_finance.merge_methods.task_arithmetic import CptTaskArithmetic

    def fails(self: Any, call: Any) -> torch.Tensor:
        if call.name == DOWN:
            raise ValueError("a fault of ours")
        return torch.zeros_like(call.base)

    monkeypatch.setattr(CptTaskArithmetic, "paper", fails)
    message = ""
    try:  # pytest.raises would keep the tasks alive, which own the temporary folder
        run(recipe(models, "cpt_task_arithmetic"), tmp_path / "out", **MANY)
    except ValueError as error:
        message = str(error)
    assert "a fault of ours" in message
    gc.collect()
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_reported_in_one_line(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergekit.io.tensor_writer import TensorWriter

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorWriter, "_write_shard_task", full)
    for options in (MANY, {**MANY, "async_write": True}):
        with pytest.raises(RecipeError, match="out: cannot be written .*No space left on device.*Free some"):
            run(recipe(models, "cpt_task_arithmetic", ["math"]), tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()


def test_older_weights_do_not_stay_beside_new_ones(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers prefers a single file to an index, mergekit an index, both safetensors to .bin."""
    out, settings = tmp_path / "out", recipe(models, "cpt_task_arithmetic", ["math"])
    one = run(settings, out)
    assert {p.name for p in out.iterdir()} == {"config.json", "model.safetensors"}
    (out / "adapter_model.safetensors").write_bytes((out / "model.safetensors").read_bytes())
    many = run(settings, out, **MANY)
    assert same_bytes(one, many)
    names = {p.name for p in out.glob("*model*")} - {"adapter_model.safetensors"}
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert names == {*index["weight_map"].values(), "model.safetensors.index.json"}
    assert (
        "out: weights of an older model" in caplog.text and "were removed: model.safetensors" in caplog.text
    )
    run(settings, out, safe_serialization=False)
    assert {p.name for p in out.iterdir()} == {
        "config.json", "pytorch_model.bin", "adapter_model.safetensors",
    }  # fmt: skip


def test_files_of_a_killed_merge_are_removed(models: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "out" / UNFINISHED
    unfinished.mkdir(parents=True)
    (unfinished / "model-1.safetensors").write_bytes(b"half of it")
    merged = run(recipe(models, "cpt_task_arithmetic", ["math"]), tmp_path / "out")
    assert merged and {p.name for p in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors"}


def test_a_link_in_place_of_the_unfinished_folder_is_not_followed(models: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / UNFINISHED).symlink_to(victim)
    with pytest.raises(RecipeError, match="out: cannot be written"):
        run(recipe(models, "cpt_task_arithmetic", ["math"]), tmp_path / "out")
    assert content(victim) == {"mine": b"mine"}


@pytest.mark.parametrize(
    "options", [{"lazy_unpickle": True}, {"clone_tensors": True}, {"low_cpu_memory": True}]
)
def test_options_of_the_host_change_no_bit(options: Any, models: Path, tmp_path: Path) -> None:
    settings = recipe(models, "cpt_task_arithmetic", ["math"])
    assert same_bytes(run(settings, tmp_path / "a"), run(settings, tmp_path / "b", **options))


def test_a_merge_with_a_host_method_is_written_by_the_host_alone(models: Path, tmp_path: Path) -> None:
    run(recipe(models, "task_arithmetic", lambda_=3), tmp_path / "out", **MANY)
    assert not stored(tmp_path / "out")[DOWN].isfinite().all()


def test_two_semantics_in_one_process_do_not_change_each_other(tmp_path: Path) -> None:
    """The order of models is kept for all merges of a process; paper semantics sorts its own recipe only."""
    folder = random_models(tmp_path / "m", scale=0.02)
    experts = ["math", "japanese", "finance"]
    paper = recipe(folder, "cpt_ties", experts, each={"density": 0.3})
    host = recipe(folder, "cpt_ties", experts, each={"density": 0.3}, semantics="mergekit", normalize=False)
    theirs = recipe(folder, "ties", experts, each={"density": 0.3}, normalize=False)
    first = [run(one, tmp_path / f"first{i}") for i, one in enumerate((paper, host, theirs))]
    second = [run(one, tmp_path / f"second{i}") for i, one in enumerate((theirs, host, paper))][::-1]
    assert all(same_bytes(a, b) for a, b in zip(first, second, strict=True))
    assert same_bytes(first[1], first[2]) and not same_bytes(first[0], first[1])
    reordered = run(recipe(folder, "cpt_ties", sorted(experts), each={"density": 0.3}), tmp_path / "sorted")
    assert same_bytes(reordered, first[0])
    assert raw(first[1][DOWN]) == raw(first[2][DOWN])
