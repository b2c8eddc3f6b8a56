"""Whole merges through mergekit's run_merge: settings that change the written bytes, and settings that do not."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
import yaml
from helpers import commands
from helpers.merging import (
    EXPERTS,
    SMALL,
    WORDS,
    edit,
    permuted,
    random_models,
    raw,
    recipe,
    run,
    same_bytes,
    split,
    stored,
    write_tokenizer,
)

from mergekit_finance.merging.compare import OPERATORS, llama_config

METHODS = list(OPERATORS)
paper_and_mergekit = pytest.mark.parametrize("semantics", ["paper", "mergekit"])
each_method = pytest.mark.parametrize("method", METHODS)


def density(method: str, value: float = 0.3) -> dict[str, float]:
    return {} if method == "cpt_task_arithmetic" else {"density": value}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models(tmp_path_factory.mktemp("models"))


@each_method
def test_order_of_models_changes_no_byte_in_paper_semantics(
    models: Path, method: str, tmp_path: Path
) -> None:
    outs = [
        run(recipe(models, method, order, each=density(method)), tmp_path / str(i))
        for i, order in enumerate((EXPERTS, EXPERTS[::-1], ("math", "finance", "japanese")))
    ]
    assert same_bytes(outs[0], outs[1]) and same_bytes(outs[0], outs[2])


@each_method
@paper_and_mergekit
def test_two_runs_and_shard_layouts_write_the_same_bytes(
    models: Path, method: str, semantics: str, tmp_path: Path
) -> None:
    settings = recipe(models, method, each=density(method), semantics=semantics)
    first = run(settings, tmp_path / "first")
    assert same_bytes(first, run(settings, tmp_path / "second"))
    sharded = run(settings, tmp_path / "sharded", out_shard_size=2000)
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 3
    assert same_bytes(first, sharded)
    for model in ("base", "math"):
        shutil.copytree(models / model, tmp_path / "in" / model)
        split(tmp_path / "in" / model, 3)
    shutil.copytree(models / "finance", tmp_path / "in" / "finance")
    again = recipe(tmp_path / "in", method, each=density(method), semantics=semantics)
    assert same_bytes(first, run(again, tmp_path / "third"))


@each_method
def test_thread_counts_change_no_byte_in_paper_semantics(method: str, tmp_path: Path) -> None:
    # Tensors of more than 32,768 elements, which torch splits over threads.
    folder = random_models(
        tmp_path, hidden_size=128, intermediate_size=300, num_hidden_layers=1, vocab_size=512
    )
    threads, outs = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            outs.append(run(recipe(folder, method, EXPERTS, each=density(method)), tmp_path / str(count)))
    finally:
        torch.set_num_threads(threads)
    assert same_bytes(*outs)


def test_seed_and_mask_id_change_the_dare_mask(models: Path, tmp_path: Path) -> None:
    method = "cpt_dare_ties"
    plain = run(recipe(models, method, each=density(method)), tmp_path / "plain")
    assert same_bytes(plain, run(recipe(models, method, each=density(method), seed=0), tmp_path / "zero"))
    assert not same_bytes(plain, run(recipe(models, method, each=density(method), seed=1), tmp_path / "one"))
    renamed = recipe(models, method, each=density(method))
    renamed["models"][0]["parameters"]["mask_id"] = "other"
    assert not same_bytes(plain, run(renamed, tmp_path / "renamed"))


@each_method
def test_a_model_that_changed_on_disk_is_read_anew(method: str, tmp_path: Path) -> None:
    folder = random_models(tmp_path)
    settings = recipe(folder, method, each=density(method))
    before = run(settings, tmp_path / "before")
    edit(folder / "math", lambda weights: {n: w + 0.01 for n, w in weights.items()})
    after = run(settings, tmp_path / "after")
    assert not same_bytes(before, after)
    moved = random_models(tmp_path / "elsewhere")
    edit(moved / "math", lambda weights: {n: w + 0.01 for n, w in weights.items()})
    assert same_bytes(after, run(recipe(moved, method, each=density(method)), tmp_path / "fresh"))


@paper_and_mergekit
@pytest.mark.parametrize(
    "method", ["cpt_task_arithmetic", "cpt_ties"]
)  # DARE: tests/unit/merging/test_compare.py
def test_matches_mergekits_own_method_in_a_whole_merge(
    models: Path, method: str, semantics: str, tmp_path: Path
) -> None:
    theirs = run(recipe(models, OPERATORS[method][0], each=density(method), lambda_=0.5), tmp_path / "theirs")
    ours = run(
        recipe(models, method, each=density(method), lambda_=0.5, semantics=semantics), tmp_path / "ours"
    )
    by_design = semantics == "paper" and method == "cpt_ties"
    assert same_bytes(theirs, ours) is not by_design


# ---- vocabulary


@each_method
@paper_and_mergekit
@pytest.mark.parametrize("tied", [False, True])
def test_a_tokenizer_block_aligns_permuted_vocabularies(
    method: str, semantics: str, tied: bool, tmp_path: Path
) -> None:
    folder = random_models(tmp_path, tie_word_embeddings=tied)
    parameters: dict[str, Any] = {"each": density(method), "semantics": semantics}
    expected = run(recipe(folder, method, **parameters), tmp_path / "aligned")
    permuted(folder)
    block = {"tokenizer": {"source": "base"}}
    merged = run({**recipe(folder, method, **parameters), **block}, tmp_path / "permuted")
    assert same_bytes(merged, expected)
    assert not same_bytes(run(recipe(folder, method, **parameters), tmp_path / "unaligned"), expected)


def test_a_union_tokenizer_does_not_depend_on_the_order_of_models(tmp_path: Path) -> None:
    folder, outs = random_models(tmp_path), []
    for model in ("base", *EXPERTS):
        write_tokenizer(folder / model, WORDS[:-1] + ([] if model == "base" else ["new"]))
        edit(folder / model, lambda ws: {n: w * 3.3 if n == "lm_head.weight" else w for n, w in ws.items()})
    for order in (EXPERTS, EXPERTS[::-1]):
        settings = {
            **recipe(folder, "cpt_ties", order, each={"density": 0.3}),
            "tokenizer": {"source": "union"},
        }
        outs.append(run(settings, tmp_path / f"out-{order[0]}"))
    assert same_bytes(*outs)


# ---- the plain command


def mergekit_yaml(settings: dict[str, Any], folder: Path, start=commands.run) -> "CompletedProcess[str]":
    (folder / "recipe.yml").write_text(yaml.safe_dump(settings))
    return start("mergekit-yaml", "recipe.yml", "out", "--no-copy-tokenizer", cwd=folder)


def test_the_plain_command_writes_what_run_merge_writes(models: Path, tmp_path: Path) -> None:
    settings = {**recipe(models, "cpt_ties", each=density("cpt_ties")), "out_dtype": "bfloat16"}
    settings["finance"] = {"stage": 2}
    done = mergekit_yaml(settings, tmp_path)
    assert done.returncode == 0, done.stderr
    del settings["finance"]
    assert same_bytes(stored(tmp_path / "out"), run(settings, tmp_path / "again"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("poison", "each", "message"),
    [
        (
            None,
            {"densty": 0.2},
            "finance).parameters.densty: cpt_ties has no such parameter. Did you mean 'density'?",
        ),
        (float("nan"), {}, "math: tensor model.norm.weight holds 16 NaN or Inf (the first at flat index 0)"),
    ],
)
def test_the_plain_command_names_a_mistake_in_one_line(
    tmp_path: Path, poison: float | None, each: dict[str, float], message: str
) -> None:
    folder = random_models(tmp_path)
    if poison:
        edit(
            folder / "math",
            lambda ws: {n: w * poison if n == "model.norm.weight" else w for n, w in ws.items()},
        )
    # Once in a fresh interpreter: the line comes from a hook that is installed when the host is imported.
    start = commands.run if poison else commands.run_installed
    done = mergekit_yaml(recipe(folder, "cpt_ties", each=each), tmp_path, start)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and message in last


def test_installing_the_planner_hook_twice_wraps_once() -> None:
    import mergekit.plan

    from mergekit_finance.merge_methods import planner_hook

    wrapped = mergekit.plan.MergePlanner._plan
    planner_hook.install_planner_hook()
    assert mergekit.plan.MergePlanner._plan is wrapped


def test_recipes_of_other_methods_are_not_checked(models: Path, tmp_path: Path) -> None:
    assert run(recipe(models, "ties", each={"densty": 0.2}), tmp_path / "out")  # mergekit ignores the typo


def test_the_config_is_that_of_the_base(models: Path, tmp_path: Path) -> None:
    run(recipe(models, "cpt_task_arithmetic"), tmp_path / "out")
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["hidden_size"]
        == llama_config(**SMALL)["hidden_size"]
    )
    assert raw(stored(tmp_path / "out")["model.norm.weight"]) != raw(
        stored(models / "base")["model.norm.weight"]
    )
