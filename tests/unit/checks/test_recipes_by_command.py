"""Every fault of a recipe, through every command: the same finding, one line, exit code 1, nothing written.

Faults of models are in test_model_files_by_command.py, warnings in test_warnings_by_command.py.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from helpers import commands, sessions
from helpers import study as studies
from helpers.merging import edit, recipe, run
from pydantic import ValidationError

from mergekit_finance.checks.check_all import start_again
from mergekit_finance.checks.model_checks import examine_models
from mergekit_finance.checks.output import check_output, model_inputs
from mergekit_finance.cli import main
from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.evaluation.mergekit_lm import MergekitLM
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.models.facts import FactsReader
from mergekit_finance.models.presence import absent_models
from mergekit_finance.registration import register

LAYER = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    register()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return sessions.models(tmp_path / "m")


# ---- faults of a recipe: each changes its mapping


def models_of(recipe: dict[str, Any]) -> Path:
    """The folder of a recipe's models, with a spare one that the recipe does not merge."""
    folder = Path(recipe["base_model"]).parent
    if not (folder / "spare").exists():
        shutil.copytree(folder / "math", folder / "spare")
    return folder


def without_tokenizer(recipe: dict[str, Any]) -> str:
    for file in (models_of(recipe) / "spare").glob("*token*"):
        file.unlink()
    return f"{models_of(recipe)}/spare"


def add_revision(entry: dict[str, Any], key: str, revision: str = "@main") -> None:
    entry[key] += revision


def tokens(**entry: Any) -> dict[str, Any]:
    """A tokenizer block with one new token."""
    return {"source": "union", "tokens": {"<new>": entry}}


def token_of(recipe: dict[str, Any], **token: Any) -> dict[str, Any]:
    return {"kind": "model_token", "model": f"{models_of(recipe)}/math", **token}


def ties_of(recipe: dict[str, Any], **parameters: Any) -> None:
    recipe.update(merge_method="cpt_ties")
    recipe["models"][0]["parameters"].update(parameters)


# Misspelled names of our methods; mergekit reports those that are similar to its own.
RECIPE_FAULTS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "paramaters": ("recipe.unknown-key", lambda r: r.update(paramaters={})),
    "cpt_tise": ("recipe.unknown-method", lambda r: r.update(merge_method="cpt_tise")),
    "CPT_TASK_ARITHMETIC": (
        "recipe.unknown-method",
        lambda r: r.update(merge_method="CPT_TASK_ARITHMETIC"),
    ),
    "out_dtyp": ("recipe.unknown-key", lambda r: r.update(out_dtyp="bfloat16")),
    "tokenizer: basse": ("model.missing", lambda r: r.update(tokenizer={"source": "basse"})),
    "tokens: ./nowhere": (
        "model.missing",
        lambda r: r.update(tokenizer={"source": "base", "tokens": {"<new>": {"source": "./nowhere"}}}),
    ),
    "tokens: merged": (
        "recipe.invalid",
        lambda r: r.update(tokenizer=tokens(source=f"{models_of(r)}/spare")),
    ),
    "tokens: 99999": (
        "recipe.invalid",
        lambda r: r.update(tokenizer=tokens(source=token_of(r, token_id=99999))),
    ),
    "tokens: 'nope'": (
        "recipe.invalid",
        lambda r: r.update(tokenizer=tokens(source=token_of(r, token="nope"))),
    ),
    "tokens: source": ("recipe.invalid", lambda r: r.update(tokenizer=tokens(force=True))),
    "tokens: rows": (
        "recipe.invalid",
        lambda r: r.update(tokenizer={**tokens(source=token_of(r, token="w1")), "source": "base"}),
    ),
    "pad_to_multiple_of: -5": (
        "recipe.invalid",
        lambda r: r.update(tokenizer={"source": "base", "pad_to_multiple_of": -5}),
    ),
    "modules: 'nope'": ("recipe.invalid", lambda r: r.update(modules={"nope": {"models": r.pop("models")}})),
    "tokenizer: tokenizer": (
        "model.tokenizer",
        lambda r: r.update(tokenizer={"source": without_tokenizer(r)}),
    ),
    "finance: mapping": ("recipe.invalid", lambda r: r.update(finance=[1])),
    "stage: finance.stage": ("recipe.invalid", lambda r: r.update(finance={"stage": 7})),
    "count: finance.stage": ("recipe.invalid", lambda r: r.update(finance={"stage": 1})),
    "spare: finance.constituents": (
        "recipe.invalid",
        lambda r: r.update(finance={"constituents": [f"{models_of(r)}/spare"]}),
    ),
    "none: finance.tasks": ("recipe.invalid", lambda r: r.update(finance={"tasks": []})),
    "none: finance.constituents": ("recipe.invalid", lambda r: r.update(finance={"constituents": []})),
    "twice: finance.constituents": (
        "recipe.invalid",
        lambda r: r.update(finance={"constituents": [m["model"] for m in r["models"]] * 2}),
    ),
    "of an expert: @main": ("model.local-revision", lambda r: add_revision(r["models"][0], "model")),
    "of the base: @main": ("model.local-revision", lambda r: add_revision(r, "base_model")),
    "of a mapping: @main": (
        "model.local-revision",
        lambda r: r["models"][0].update(
            model={"model": {"path": r["models"][0]["model"], "revision": "main"}}
        ),
    ),
    "number: finance.tasks": ("recipe.invalid", lambda r: r.update(finance={"tasks": [7]})),
    "cpt_: finance.seed": ("recipe.invalid", lambda r: r.update(finance={"seed": 7})),
    "tokeniser": ("recipe.unknown-key", lambda r: r.update(tokeniser={})),
    "lamda": ("recipe.unknown-key", lambda r: r["parameters"].update(lamda=0.5)),
    "finance: taks": ("recipe.unknown-key", lambda r: r.update(finance={"taks": ["finance_bench_fpb"]})),
    "density: 1e-07": ("recipe.density", lambda r: ties_of(r, density=1e-7)),
    "density, which YAML reads as text: 1e-07": ("recipe.density", lambda r: ties_of(r, density="1e-7")),
    "density: 1e-320": ("recipe.invalid", lambda r: ties_of(r, density=1e-320)),
    "weight: 1e-40": ("recipe.invalid", lambda r: r["models"][0]["parameters"].update(weight=1e-40)),
    "lambda: 1e-320": (
        "recipe.invalid",
        lambda r: r["parameters"].update({"lambda": [{"filter": "mlp", "value": 1e-320}, {"value": 0.1}]}),
    ),
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
    assert f"{file}: {file}" not in line
    assert not (tmp_path / "out").exists()


STUDY_FAULTS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "of the base: @v1": ("model.local-revision", lambda s: s.update(base=f"{s['base']}@v1")),
    "of an expert: @v1": (
        "model.local-revision",
        lambda s: add_revision(s["experts"]["finance"], "model", "@v1"),
    ),
    "a value: 'lambda: 0.3 appears twice'": (
        "study.invalid",
        lambda s: s.update(operators={"task_arithmetic": {"lambda": [0.3, 0.5, 0.3]}}),
    ),
    "a share of the vector: 'density 1e-07 keeps none of the'": (
        "recipe.density",
        lambda s: s.update(operators={"ties": {"density": [0.2, 1e-7]}}),
    ),
    "TIES: 'density.0: keeps nothing; the smallest density is 2e-10'": (
        "study.invalid",
        lambda s: s.update(operators={"ties": {"density": 1e-320}}),
    ),
    "SLERP: 't.0: is too small for float32, whose'": (
        "study.invalid",
        lambda s: s.update(operators={"slerp": {"t": 1e-320}}),
    ),
    "the selection: 'selection.share: is too small for float32'": (
        "study.invalid",
        lambda s: s.update(selection={"share": 1e-320}),
    ),
    "a seed: 'seeds: 7 appears twice'": (
        "study.invalid",
        lambda s: s.update(operators={"dare_ties": {"density": 0.5, "seeds": [7, 7]}}),
    ),
}


@pytest.mark.parametrize("command", STUDY_COMMANDS)
@pytest.mark.parametrize("fault", STUDY_FAULTS)
def test_a_fault_of_a_study(fault: str, command: str, models: Path, tmp_path: Path) -> None:
    id, change = STUDY_FAULTS[fault]
    settings = studies.content(models)
    change(settings)
    file = written(tmp_path / "study.yml", settings)
    start_again()
    line = through_the_command_line(*STUDY_COMMANDS[command](file, tmp_path / "out"))
    assert fault.partition(": ")[2].strip("'") in line
    assert f"[{id}]" in line
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("architectures", [None, ["A", "B"]])
def test_architectures_are_checked_before_mergekit_reads_them(
    architectures: list[str] | None, models: Path, tmp_path: Path
) -> None:
    file = models / "finance" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": architectures}))
    written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    line = commands.error_line(commands.run("mergekit-yaml", "r.yml", "out", cwd=tmp_path))
    assert "does not name one class" in line
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a mapping of keys such as merge_method and models"),
        ("- merge_method: linear\n", "not a mapping of keys such as merge_method and models"),
        ("merge_metod: linear\nmodels: []\n", "unknown key 'merge_metod'. Did you mean 'merge_method'?"),
        ("merge_method: [linear]\nmodels: []\n", "merge_method: must be text"),
        ("models: []\n", "merge_method: is missing. Add it"),
    ],
)
def test_a_recipe_without_a_method_is_one_line_in_mergekit_yaml(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "r.yml").write_text(text)
    line = commands.error_line(commands.run("mergekit-yaml", "r.yml", "out", cwd=tmp_path))
    assert line.startswith(f"Error: r.yml: {message}") and "[recipe." in line


def test_a_recipe_above_one_megabyte_is_refused_by_mergekit_yaml_too(models: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    file.write_text(file.read_text() + "# " + "x" * 1_000_000 + "\n")
    for line in (
        by_check(file, tmp_path / "out"),
        commands.error_line(commands.run("mergekit-yaml", "r.yml", "out", cwd=tmp_path)),
    ):
        assert "at most 1 MB" in line
    assert not (tmp_path / "out").exists()


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may read every file: act as another user."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def public_models(models: Path) -> Iterator[Path]:
    """The models in a folder that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copy = Path(shutil.copytree(models, Path(folder) / "m"))
        for path in copy.rglob("*.safetensors"):
            path.chmod(0o644)
        yield copy


@pytest.mark.parametrize("name", ["", "config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_or_file_that_may_not_be_read(name: str, public_models: Path) -> None:
    MergeSession.open(recipe(public_models, "cpt_task_arithmetic", semantics="paper")).close()  # imports
    (public_models / "finance" / name).chmod(0)
    references = [str(public_models / name) for name in ("base", "finance")]
    with without_rights():
        start_again()
        found, _ = examine_models(references, "", FactsReader())
        absent_models(references)
        check_output(public_models.parent / "out", model_inputs(references))
        with pytest.raises(MergekitFinanceError, match="cannot be read") as error:
            MergeSession.open(recipe(public_models, "cpt_task_arithmetic", semantics="paper"))
    assert [one.id for one in found.errors] == ["model.broken"]
    assert error.value.id == "model.broken"


def one_nan(weights: torch.Tensor) -> torch.Tensor:
    changed = weights.clone()
    changed.view(-1)[100] = float("nan")
    return changed


@pytest.mark.parametrize("command", ["run", "lm_eval", "session", "mergekit-yaml", *STUDY_COMMANDS])
def test_one_nan_among_values_that_are_not_sampled(
    command: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mergekit_finance.models.weight_files.RANGES", 2)
    monkeypatch.setattr("mergekit_finance.models.weight_files.RANGE", 8)
    edit(models / "finance", lambda weights: {**weights, LAYER: one_nan(weights[LAYER])})
    file = written(tmp_path / "r.yml", recipe(models, "cpt_task_arithmetic", semantics="paper"))
    study = written(tmp_path / "study.yml", studies.content(models))
    start_again()
    if command == "check":  # it reads some values only
        assert "0 errors" in CliRunner().invoke(main, ["check", str(file)]).output
        return
    by_name = {"run": by_run, "lm_eval": by_lm_eval, "session": by_session, "mergekit-yaml": by_mergekit_yaml}
    if command in by_name:
        output = by_name[command](file, tmp_path / "out")
    else:
        output = through_the_command_line(*STUDY_COMMANDS[command](study, tmp_path / "out"))
    assert f"tensor {LAYER} holds" in output
    assert "[model.not-finite]" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command", ["run r.yml", "study study.yml", "study plan study.yml", "card x", "recipes export study.yml"]
)
def test_an_output_that_is_a_file_has_exit_code_1(command: str, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    line = through_the_command_line(*command.split(), "-o", str(tmp_path / "out"))
    assert line.startswith(f"Error: -o {tmp_path / 'out'}: exists and is not a directory. Choose")
    assert line.endswith("[output.not-a-directory]\n")
