"""MergeSession, merge() and our methods in mergekit-yaml print the warnings and notes of `check`, once."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import commands, sessions
from helpers.merging import WORDS, edit, recipe, run, stored, write_tokenizer
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions

from mergekit_finance.checks.check_all import check_all, start_again
from mergekit_finance.errors import ModelError
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.recipe.load import check_mapping

Settings = Mapping[str, Any]


def by_run(settings: Settings, out: Path) -> None:
    """`run`, `study` and `lm_eval --model mergekit` call this function."""
    checked = check_mapping(dict(settings), "recipe.yml")
    check_all(checked.models, "recipe.yml", **checked.merge_settings)


def by_session(settings: Settings, out: Path) -> None:
    MergeSession.open(settings).close()


def by_merge(settings: Settings, out: Path) -> None:
    merge(MergeConfiguration.model_validate(settings), MergeOptions(quiet=True))


def by_mergekit_yaml(settings: Settings, out: Path) -> None:
    run(settings, out)


COMMANDS = (by_run, by_session, by_merge, by_mergekit_yaml)


def configured(base: dict[str, object], **values: object) -> Callable[[Path], None]:
    """Return a function that changes the configs of ./base and ./finance."""

    def change(models: Path) -> None:
        for name, changes in (("base", base), ("finance", values)):
            file = models / name / "config.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def other_token_ids(models: Path) -> None:
    write_tokenizer(models / "finance", [WORDS[0], *reversed(WORDS[1:])])


def copy_of_the_base(models: Path) -> None:
    weights = stored(models / "base")
    edit(models / "finance", lambda _: weights)


def unrelated_weights(models: Path) -> None:
    edit(models / "finance", lambda weights: {name: w.flip(0).contiguous() for name, w in weights.items()})


def conflicting_licenses(models: Path) -> None:
    for name, license in (("base", "llama3"), ("finance", "cc-by-sa-4.0")):
        (models / name / "README.md").write_text(f"---\nlicense: {license}\n---\n")


def a_head_under_tied_embeddings(models: Path) -> None:
    configured({"tie_word_embeddings": True}, tie_word_embeddings=True)(models)
    embeddings = "model.embed_tokens.weight"
    for name, factor in {"base": 1, "finance": 2, "math": 1}.items():
        edit(models / name, lambda w, f=factor: {**w, "lm_head.weight": w[embeddings] * f})


CASES = {
    "model.own-head": a_head_under_tied_embeddings,
    "model.rope": configured({}, rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
    "model.config": configured({"rms_norm_eps": 1e-6}, rms_norm_eps=1e-3),
    "model.dtype": configured({}, dtype="bfloat16"),
    "model.token-ids": other_token_ids,
    "recipe.out-dtype": configured({"dtype": "bfloat16"}),
    "model.license": conflicting_licenses,
    "model.equals-base": copy_of_the_base,
    "model.far-from-base": unrelated_weights,
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return sessions.models(tmp_path / "m")


def printed(id: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.endswith(f"[{id}]")]


@pytest.mark.parametrize("id", CASES)
def test_every_command_prints_the_same_warning_once(
    id: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CASES[id](models)
    settings = recipe(models, "cpt_task_arithmetic", semantics="paper")
    by_command = {}
    for number, command in enumerate(COMMANDS):
        start_again()
        command(settings, tmp_path / f"out{number}")
        by_command[command.__name__] = printed(id, capsys)
        command(settings, tmp_path / f"out{number}")
        assert not printed(id, capsys)  # once per process
    expected = by_command["by_run"]
    assert len(expected) == 1
    assert by_command == {command.__name__: expected for command in COMMANDS}


def test_models_that_lose_tensors_are_refused_before_anything_is_written(
    models: Path, tmp_path: Path
) -> None:
    name = "model.layers.0.self_attn.q_proj.bias"
    edit(models / "finance", lambda weights: {**weights, name: weights["model.norm.weight"].clone()})
    settings = recipe(models, "cpt_task_arithmetic", semantics="paper")
    for command in COMMANDS:
        with pytest.raises(ModelError, match=name) as error:
            command(settings, tmp_path / "out")
        assert error.value.id == "model.tensor-lost"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [by_session, by_mergekit_yaml])
def test_low_memory_and_full_disks_are_reported(
    command: Callable[[Settings, Path], None],
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mergekit_finance.checks.resources.free_memory", lambda: 1)
    monkeypatch.setattr("mergekit_finance.checks.resources.free_disk", lambda folder: 1)
    command(recipe(models, "cpt_ties", each={"density": 0.5}), tmp_path / "out")
    # mergekit-yaml loads a few tensors at a time, and only it writes.
    expected = "resources.memory" if command is by_session else "resources.disk"
    lines = [line for line in capsys.readouterr().err.splitlines() if "[resources." in line]
    assert len(lines) == 1
    assert lines[0].endswith(f"[{expected}]")


def test_a_session_of_a_study_is_not_checked_again(
    models: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    CASES["model.rope"](models)
    with caplog.at_level(logging.WARNING):
        MergeSession.open(recipe(models, "cpt_task_arithmetic"), check=False).close()
    assert not printed("model.rope", capsys)
    assert "rope" not in caplog.text


@pytest.mark.parametrize(
    ("name", "text"), [("./missing", "no such folder"), ("some/model", "cannot be loaded")]
)
def test_mergekit_yaml_names_a_missing_model_in_one_line(
    name: str, text: str, models: Path, tmp_path: Path
) -> None:
    settings = recipe(models, "cpt_task_arithmetic")
    settings["models"][0]["model"] = name
    (tmp_path / "recipe.yml").write_text(json.dumps(settings))
    result = commands.run("mergekit-yaml", "recipe.yml", "out", cwd=tmp_path)
    line = commands.error_line(result)
    assert name in line
    assert text in line
    assert not (tmp_path / "out").exists()
