"""Every fault of a model or recipe, through every command: the same finding, one line, exit code 1, nothing written.

Warnings by command are in test_warnings_by_command.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from helpers import commands
from helpers import study as studies
from helpers.merging import WORDS, edit, random_models, recipe, run, split, write_tokenizer
from pydantic import ValidationError

from mergekit_finance.checks.check_all import start_again
from mergekit_finance.cli import main
from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.evaluation.mergekit_lm import MergekitLM
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.registration import register

LAYER = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    register()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = random_models(tmp_path / "m")
    for name in ("base", "finance", "math"):
        write_tokenizer(folder / name, WORDS)
    return folder


# ---- faults of a model: each changes ./finance. Where a config contradicts the files, `check` lists all findings,
# other commands the first one.


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def replace(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    edit(folder, lambda weights: {**weights, name: change(weights[name]).contiguous()})


def missing_tensor(expert: Path) -> None:
    edit(expert, lambda weights: {name: w for name, w in weights.items() if name != LAYER})


def bias_tensor(expert: Path) -> None:
    edit(expert, lambda ws: {**ws, LAYER.replace("weight", "bias"): ws["model.norm.weight"].clone()})


def index_beside_one_file(expert: Path) -> None:
    whole = (expert / "model.safetensors").read_bytes()
    split(expert, 2)
    (expert / "model.safetensors").write_bytes(whole)


def index_outside_the_folder(expert: Path) -> None:
    split(expert, 2)
    file = expert / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"][LAYER] = "../base/model.safetensors"
    file.write_text(json.dumps(index))


def missing_shard(expert: Path) -> None:
    split(expert, 2)
    (expert / "model-00002-of-00002.safetensors").unlink()


def truncated_file(expert: Path) -> None:
    file = expert / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def long_header(expert: Path) -> None:
    (expert / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")


def garbage_bin(expert: Path) -> None:
    (expert / "model.safetensors").unlink()
    (expert / "pytorch_model.bin").write_bytes(b"garbage")


MODEL_FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a tensor is missing": ("model.tensor-missing", missing_tensor),
    "a bias tensor": ("model.tensor-lost", bias_tensor),
    "fewer layers in the config": (
        "model.layers model.architecture",
        lambda e: change_config(e, num_hidden_layers=1),
    ),
    "more layers in the config": (
        "model.layers model.architecture",
        lambda e: change_config(e, num_hidden_layers=3),
    ),
    "another shape": ("model.shape", lambda e: replace(e, LAYER, lambda w: w[:8])),
    "another rank": ("model.shape", lambda e: replace(e, LAYER, lambda w: w[None])),
    "no elements": ("model.shape", lambda e: replace(e, LAYER, lambda w: w[:0])),
    "int8": ("model.quantized", lambda e: replace(e, LAYER, lambda w: w.to(torch.int8))),
    "NaN": ("model.not-finite", lambda e: replace(e, LAYER, lambda w: w * float("nan"))),
    "infinity": ("model.not-finite", lambda e: replace(e, LAYER, lambda w: w.clone().fill_(float("-inf")))),
    "an index beside one file": ("model.two-sets", index_beside_one_file),
    "an index outside the folder": ("model.broken", index_outside_the_folder),
    "a missing shard": ("model.missing", missing_shard),
    "a truncated file": ("model.broken", truncated_file),
    "a header longer than the file": ("model.broken", long_header),
    "a garbage .bin": ("model.broken", garbage_bin),
    "no architectures": ("model.broken", lambda e: change_config(e, architectures=None)),
    "two architectures": ("model.broken", lambda e: change_config(e, architectures=["A", "B"])),
    "another hidden size in the config": (
        "model.config-shape model.architecture",
        lambda e: change_config(e, hidden_size=32),
    ),
}

# ---- faults of a recipe: each changes its mapping


RECIPE_FAULTS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "paramaters": ("recipe.unknown-key", lambda r: r.update(paramaters={})),
    "out_dtyp": ("recipe.unknown-key", lambda r: r.update(out_dtyp="bfloat16")),
    "tokeniser": ("recipe.unknown-key", lambda r: r.update(tokeniser={})),
    "lamda": ("recipe.unknown-key", lambda r: r["parameters"].update(lamda=0.5)),
    "finance: taks": ("recipe.unknown-key", lambda r: r.update(finance={"taks": ["finance_bench_fpb"]})),
    "fliter": (
        "recipe.unknown-key",
        lambda r: r["parameters"].update({"lambda": [{"fliter": "mlp", "value": 0.3}, {"value": 0.1}]}),
    ),
}

# ---- commands: each returns the line that it prints, and writes to `out` only


def through_the_command_line(*arguments: str) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert isinstance(done.exception, SystemExit), (done.exception, done.output)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    return done.output


def raised(action: Callable[[], object]) -> str:
    """The message of our error, also where mergekit's pydantic model wraps it."""
    with pytest.raises((MergekitFinanceError, ValidationError)) as caught:
        action()
    return str(caught.value)


def has_one_of(ids: str, output: str) -> bool:
    """Return whether a finding is in the output: `[id]` at the end of a line, or `id` in the report of `check`."""
    return any(f"[{id}]" in output or f"{id}:" in output or f" {id}\n" in output for id in ids.split())


def by_check(file: Path, out: Path) -> str:
    return through_the_command_line("check", str(file))


def by_run(file: Path, out: Path) -> str:
    options = ("--tasks", "finance_bench_fpb", "--source", "sample", "--limit", "2")
    return through_the_command_line("run", str(file), "-o", str(out), *options)


def by_lm_eval(file: Path, out: Path) -> str:
    return raised(lambda: MergekitLM(recipe=str(file), device="cpu"))


def by_session(file: Path, out: Path) -> str:
    return raised(lambda: MergeSession.open(file))


def by_mergekit_yaml(file: Path, out: Path) -> str:
    return raised(lambda: run(yaml.safe_load(file.read_text()), out))


RECIPE_COMMANDS = (by_check, by_run, by_lm_eval, by_session, by_mergekit_yaml)
STUDY_COMMANDS = {
    "check": lambda file, out: ("check", str(file)),
    "study plan": lambda file, out: ("study", "plan", str(file)),
    "study plan --no-sample": lambda file, out: ("study", "plan", str(file), "--no-sample"),
    "study": lambda file, out: ("study", str(file), "-o", str(out)),
}


def written(file: Path, settings: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(settings))
    return file


# Without its start-up hook, mergekit reads `architectures` before our checks. The command itself is run below, in
# test_architectures_are_checked_before_mergekit_reads_them.
CELLS = [
    (fault, command)
    for fault in MODEL_FAULTS
    for command in RECIPE_COMMANDS
    if not (command is by_mergekit_yaml and "architectures" in fault)
]


@pytest.mark.parametrize(("fault", "command"), CELLS)
def test_a_fault_of_a_model(fault: str, command: Any, models: Path, tmp_path: Path) -> None:
    ids, damage = MODEL_FAULTS[fault]
    damage(models / "finance")
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    start_again()
    assert has_one_of(ids, command(file, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", RECIPE_COMMANDS)
@pytest.mark.parametrize("fault", RECIPE_FAULTS)
def test_a_fault_of_a_recipe(fault: str, command: Any, models: Path, tmp_path: Path) -> None:
    id, change = RECIPE_FAULTS[fault]
    settings = recipe(models, "cpt_task_arithmetic", semantics="paper")
    change(settings)
    file = written(tmp_path / "r.yml", settings)
    start_again()
    line = command(file, tmp_path / "out")
    name = fault.split()[-1]
    assert name in line
    assert f"[{id}]" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", STUDY_COMMANDS)
@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_a_fault_of_a_model_in_a_study(fault: str, command: str, models: Path, tmp_path: Path) -> None:
    ids, damage = MODEL_FAULTS[fault]
    damage(models / "finance")
    file = written(tmp_path / "study.yml", studies.content(models))
    start_again()
    assert has_one_of(ids, through_the_command_line(*STUDY_COMMANDS[command](file, tmp_path / "out")))
    assert not list(tmp_path.glob("out/points/*"))


@pytest.mark.parametrize("command", RECIPE_COMMANDS)
def test_an_output_that_is_an_input_keeps_its_weights(command: Any, models: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    weights = (models / "finance" / "model.safetensors").read_bytes()
    (tmp_path / "link").symlink_to(models / "finance")
    if command in (by_run, by_mergekit_yaml):  # the others write no model
        for out in (models / "finance", tmp_path / "link", models / "finance" / "out", models):
            start_again()
            assert "[output." in command(file, out)
    assert (models / "finance" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("fault", ["no architectures", "two architectures"])
def test_architectures_are_checked_before_mergekit_reads_them(
    fault: str, models: Path, tmp_path: Path
) -> None:
    MODEL_FAULTS[fault][1](models / "finance")
    written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    line = commands.error_line(commands.run("mergekit-yaml", "r.yml", "out", cwd=tmp_path))
    assert "must name one class" in line
    assert "[model.broken]" in line


def test_a_config_that_is_a_list_is_one_line_in_mergekit_yaml_and_check(models: Path, tmp_path: Path) -> None:
    """mergekit reads configs before our hook: the start-up hook of the command turns its error into one line."""
    (models / "finance" / "config.json").write_text("[]")
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    line = commands.error_line(commands.run("mergekit-yaml", "r.yml", "out", cwd=tmp_path))
    assert "config.json: not a JSON object" in line
    assert "[model.broken]" in line
    assert "model.broken" in by_check(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def without_special_tokens(folder: Path) -> None:
    for name in ("base", "finance", "math"):
        file = folder / name / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token": None, "bos_token": None}))


@pytest.mark.parametrize("command", [name for name in STUDY_COMMANDS if name != "check"])
def test_a_tokenizer_without_bos_and_eos_is_refused_before_options_are_compared(
    command: str, models: Path, tmp_path: Path
) -> None:
    without_special_tokens(models)
    file = written(tmp_path / "study.yml", studies.content(models))
    start_again()
    output = through_the_command_line(*STUDY_COMMANDS[command](file, tmp_path / "out"))
    assert "[model.no-special-tokens]" in output


def test_the_same_in_run_and_in_lm_eval(models: Path, tmp_path: Path) -> None:
    without_special_tokens(models)
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    start_again()
    assert "[model.no-special-tokens]" in by_run(file, tmp_path / "out")
    lm = MergekitLM(recipe=str(file), device="cpu")
    with pytest.raises(MergekitFinanceError, match="no bos and no eos token"):
        lm.loglikelihood([])


def test_a_recipe_above_one_megabyte_is_refused_by_mergekit_yaml_too(models: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    file.write_text(file.read_text() + "# " + "x" * 1_000_000 + "\n")
    for line in (
        by_check(file, tmp_path / "out"),
        commands.error_line(commands.run("mergekit-yaml", "r.yml", "out", cwd=tmp_path)),
    ):
        assert "at most 1 MB" in line
    assert not (tmp_path / "out").exists()
