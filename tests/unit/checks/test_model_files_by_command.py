"""Every fault of a model, through every command: the same finding, one line, exit code 1, nothing written.

Faults of recipes are in test_recipes_by_command.py.
"""

import io
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from click.testing import Result
from helpers import inputs, study
from helpers.merging import WORDS, edit, random_models, split, stored, write_tokenizer
from safetensors.torch import save_file

from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.merging.session import MergeSession

WORK = "the checks have passed"
PROJECTION, BIAS = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias"
LINE = re.compile(r"^(?:Error|warning|note): .*\[([a-z-]+\.[a-z-]+)\]$", re.MULTILINE)
Change = Callable[[Path], object]


def stop(*_: object, **__: object) -> NoReturn:
    """Stand for the work of a command: it begins after all checks."""
    raise MergekitFinanceError(WORK)


def expert_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Return a function that changes the tensors of ./finance in place."""

    def edited(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        change(weights)
        return {name: tensor.contiguous() for name, tensor in weights.items()}

    return lambda models: edit(models / "finance", edited)


def expert_json(file: str = "config.json", **values: object) -> Change:
    """Return a function that changes a JSON file of ./finance."""

    def change(models: Path) -> None:
        path = models / "finance" / file
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**content, **values}))

    return change


def without_key(key: str) -> Change:
    """Return a function that takes a key out of config.json of ./finance."""

    def change(models: Path) -> None:
        path = models / "finance" / "config.json"
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return change


def expert_file(name: str, content: bytes) -> Change:
    """Return a function that overwrites a file of ./finance."""
    return lambda models: (models / "finance" / name).write_bytes(content)


def named_template(models: Path) -> None:
    (models / "finance" / "additional_chat_templates").mkdir()
    (models / "finance" / "additional_chat_templates" / "rag.jinja").write_text("{% for %}")


def pipe(name: str) -> Change:
    """Return a function that puts a pipe, which blocks readers, in place of a file of ./finance."""

    def change(models: Path) -> None:
        (models / "finance" / name).unlink(missing_ok=True)
        os.mkfifo(models / "finance" / name)

    return change


def dangling(models: Path) -> None:
    (models / "finance" / "model.safetensors").unlink()
    (models / "finance" / "model.safetensors").symlink_to("nowhere")


def only_bin(content: bytes) -> Change:
    """Return a function that leaves one .bin file of these bytes in ./finance."""

    def change(models: Path) -> None:
        (models / "finance" / "model.safetensors").unlink()
        (models / "finance" / "pytorch_model.bin").write_bytes(content)

    return change


def stranger(models: Path) -> None:
    edit(models / "finance", lambda ws: {n: w.flip(0).contiguous() for n, w in ws.items()})


def saved_again(models: Path) -> None:
    """An expert that has the values of the base in another file."""
    weights = stored(models / "base")
    save_file(weights, models / "finance" / "model.safetensors", metadata={"format": "pt", "saved": "again"})


def copied(name: str) -> Change:
    """Return a function that makes ./finance a byte-equal copy of another model."""

    def change(models: Path) -> None:
        shutil.rmtree(models / "finance")
        shutil.copytree(models / name, models / "finance")

    return change


def repeated(name: str, key: str) -> Change:
    """Return a function that writes the first value of a JSON object in ./finance twice."""

    def change(models: Path) -> None:
        path = models / "finance" / name
        text = path.read_text()
        value = json.dumps(json.loads(text)[key])
        path.write_text("{" + f"{json.dumps(key)}: {value}, " + text[1:])

    return change


def repeated_tensor(models: Path) -> None:
    path = models / "finance" / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode()
    name, entry = next(item for item in json.loads(header).items() if item[0] != "__metadata__")
    text = ("{" + f"{json.dumps(name)}: {json.dumps(entry)}, " + header[1:]).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def an_adapter(models: Path) -> None:
    shutil.rmtree(models / "finance")
    (models / "finance").mkdir()
    expert_json("adapter_config.json", base_model_name_or_path=str(models / "base"), r=1)(models)
    (models / "finance" / "adapter_model.safetensors").write_bytes(b"")


def drop_layer(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if ".layers.1." in name]:
        del weights[name]


def expert_tensor(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Return a function that replaces one tensor of ./finance."""
    return expert_tensors(lambda weights: weights.update({PROJECTION: change(weights[PROJECTION])}))


def in_shards(change: Change) -> Change:
    """Return a function that splits ./finance into two shards and then changes its folder."""

    def sharded(models: Path) -> None:
        split(models / "finance", 2)
        change(models / "finance")

    return sharded


def index_beside_one_file(models: Path) -> None:
    file = models / "finance" / "model.safetensors"
    whole = file.read_bytes()
    split(models / "finance", 2)
    file.write_bytes(whole)


def leave_the_folder(expert: Path) -> None:
    file = expert / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"][PROJECTION] = "../base/model.safetensors"
    file.write_text(json.dumps(index))


def truncated(models: Path) -> None:
    file = models / "finance" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


SETTINGS = {
    "rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 64, "sliding_window": None,
    "eos_token_id": 1, "dtype": "float32",
}  # fmt: skip


def zipped(pickled: bytes) -> bytes:
    """Return a file as torch.save writes it, with this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return buffer.getvalue()


MALICIOUS = b"cposix\nsystem\n(S'touch pwned'\ntR."
ERRORS: dict[str, tuple[str, Change]] = {
    "value head": ("model.tensor-lost", expert_tensors(lambda ws: ws.update({"v_head.weight": torch.ones(16)}))),
    "layer missing": ("model.layers", expert_tensors(drop_layer)),
    "biases in the config": ("model.tensor-lost", expert_json(attention_bias=True)),
    "other model type": ("model.architecture", expert_json(model_type="mistral", architectures=["MistralForCausalLM"])),
    "other head size": ("model.architecture", expert_json(num_key_value_heads=1)),
    "config is a pipe": ("model.broken", pipe("config.json")),
    "index is a pipe": ("model.broken", pipe("model.safetensors.index.json")),
    "weights are a pipe": ("model.broken", pipe("model.safetensors")),
    "empty weights": ("model.broken", expert_file("model.safetensors", b"")),
    "garbage that would run": ("model.broken", only_bin(MALICIOUS)),
    "malicious .bin": ("model.unsafe", only_bin(zipped(MALICIOUS))),
    "config is a list": ("model.broken", expert_file("config.json", b"[]")),
    "config is no JSON": ("model.broken", expert_file("config.json", b"{")),
    "config nested deeply": ("model.broken", expert_file("config.json", b"[" * 100_000)),
    "ten million layers": ("model.broken", expert_json(num_hidden_layers=10_000_000)),
    "adapter": ("model.missing", an_adapter),
    "tokenizer config is a list": ("model.broken", expert_file("tokenizer_config.json", b"[]")),
    "tokenizer without a model": ("model.tokenizer", expert_file("tokenizer.json", b'{"model": {}}')),
    "tokenizer of the base without a model": (
        "model.tokenizer",
        lambda models: (models / "base" / "tokenizer.json").write_bytes(b'{"model": {}}'),
    ),
    "tokenizer of the base is no JSON": (
        "model.broken",
        lambda models: (models / "base" / "tokenizer.json").write_bytes(b"{"),
    ),
    "tokenizer is no JSON": ("model.broken", expert_file("tokenizer.json", b"{")),
    "two values in tokenizer_config.json": (
        "model.broken",
        expert_file("tokenizer_config.json", b'{"model_max_length": 1, "model_max_length": 2}'),
    ),
    "special tokens are no JSON": ("model.broken", expert_file("special_tokens_map.json", b"{")),
    "generation config": ("model.generation-config", expert_json("generation_config.json", eos_token_id="x")),
    "chat template": ("model.chat-template", expert_file("chat_template.jinja", b"{% for %}")),
    "a named chat template": ("model.chat-template", named_template),
    "a special token without a type": (
        "model.tokenizer",
        expert_json("tokenizer_config.json", pad_token={"content": "<pad>"}),
    ),
    "return_dict is false": ("model.broken", expert_json(return_dict=False)),
    "rope is a list": ("model.broken", expert_json(rope_parameters=[1])),
    "layers are a fraction": ("model.broken", expert_json(num_hidden_layers=2.0)),
    "eos is text": ("model.broken", expert_json(eos_token_id="</s>")),
    "no such model type": ("model.unsupported", expert_json(model_type="lama")),
    "a class of another model type": ("model.unsupported", expert_json(architectures=["MistralForCausalLM"])),
    "no such activation": ("model.unsupported", expert_json(hidden_act="gelu_super")),
    "quantization in the config": ("model.quantized", expert_json(quantization_config={"bits": 4})),
    "added tokens are text": ("model.tokenizer", expert_json("added_tokens.json", x="y")),
    "largest length is text": (
        "model.tokenizer",
        expert_json("tokenizer_config.json", model_max_length="x"),
    ),
    "dangling link to weights": ("model.missing", dangling),
    "no folder": ("model.missing", lambda models: shutil.rmtree(models / "finance")),
    "a tensor is missing": ("model.tensor-missing", expert_tensors(lambda ws: ws.pop(PROJECTION))),
    "a bias tensor": ("model.tensor-lost", expert_tensors(lambda ws: ws.update({BIAS: ws["model.norm.weight"].clone()}))),
    "fewer layers in the config": ("model.layers", expert_json(num_hidden_layers=1)),
    "more layers in the config": ("model.layers", expert_json(num_hidden_layers=3)),
    "another shape": ("model.shape", expert_tensor(lambda w: w[:8])),
    "another rank": ("model.shape", expert_tensor(lambda w: w[None])),
    "no elements": ("model.shape", expert_tensor(lambda w: w[:0])),
    "int8": ("model.quantized", expert_tensor(lambda w: w.to(torch.int8))),
    "NaN": ("model.not-finite", expert_tensor(lambda w: w * float("nan"))),
    "infinity": ("model.not-finite", expert_tensor(lambda w: w.clone().fill_(float("-inf")))),
    "an index beside one file": ("model.two-sets", index_beside_one_file),
    "an index outside the folder": ("model.broken", in_shards(leave_the_folder)),
    "a missing shard": ("model.missing", in_shards(lambda e: (e / "model-00002-of-00002.safetensors").unlink())),
    "a truncated file": ("model.broken", truncated),
    "a header longer than the file": ("model.broken", expert_file("model.safetensors", (1 << 60).to_bytes(8, "little") + b"{}")),
    "a garbage .bin": ("model.broken", only_bin(b"garbage")),
    "no architectures": ("model.broken", expert_json(architectures=None)),
    "two architectures": ("model.broken", expert_json(architectures=["A", "B"])),
    "another hidden size in the config": ("model.config-shape", expert_json(hidden_size=32)),
    "no vocabulary size in the config": ("model.config-shape", without_key("vocab_size")),
}  # fmt: skip
WARNINGS: dict[str, tuple[str, Change]] = {
    "rms_norm_eps": ("model.config", expert_json(rms_norm_eps=0.1)),
    "hidden_act": ("model.config", expert_json(hidden_act="gelu")),
    "max positions": ("model.config", expert_json(max_position_embeddings=77)),
    "sliding window": ("model.config", expert_json(sliding_window=9)),
    "eos": ("model.config", expert_json(eos_token_id=7)),
    "rope": ("model.rope", expert_json(rope_parameters={"rope_type": "default", "rope_theta": 7.0})),
    "dtype": ("model.dtype", expert_json(dtype="bfloat16")),
    "length of answers": (
        "model.generation-length",
        expert_json("generation_config.json", max_new_tokens=2),
    ),
    "token outside the vocabulary": (
        "model.token-outside",
        expert_json("generation_config.json", suppress_tokens=[10**12]),
    ),
    "switch without its key": ("model.config-switch", expert_json(use_sliding_window=True, sliding_window=None)),
    "token ids": ("model.token-ids", lambda ms: write_tokenizer(ms / "finance", [WORDS[0], *WORDS[:0:-1]])),
    "stranger": ("model.far-from-base", stranger),
    "equals the base": ("model.equals-base", saved_again),
    "copy of the base": ("model.equals-base", copied("base")),
    "copy of an expert": ("model.equals-expert", copied("math")),
    "key twice in config.json": ("model.repeated-key", repeated("config.json", "vocab_size")),
    "tensor twice in a header": ("model.repeated-key", repeated_tensor),
    "rotary buffers": (
        "model.buffers",
        expert_tensors(lambda ws: ws.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})),
    ),
}  # fmt: skip


def by_check(models: Path, out: Path) -> Result:
    return inputs.mkf("check", models / "base", models / "finance", models / "math")


def by_check_recipe(models: Path, out: Path) -> Result:
    return inputs.mkf("check", recipe(models))


def by_check_study(models: Path, out: Path) -> Result:
    return inputs.mkf("check", study_file(models))


def by_run(models: Path, out: Path) -> Result:
    return inputs.mkf("run", recipe(models), "-o", out, "--source", "sample", "--limit", 2, "--tasks", TASK)


def by_plan(models: Path, out: Path) -> Result:
    return inputs.mkf("study", "plan", study_file(models), "-o", out)


def by_plan_without_sample(models: Path, out: Path) -> Result:
    return inputs.mkf("study", "plan", study_file(models), "-o", out, "--no-sample")


def by_study(models: Path, out: Path) -> Result:
    return inputs.mkf("study", study_file(models), "-o", out, "--quiet")


def by_lm_eval(models: Path, out: Path) -> Result:
    return inputs.lm_eval(recipe(models), (TASK,), output_path=out)


def by_session(models: Path, out: Path) -> Result:
    from click.testing import CliRunner

    try:
        MergeSession.open(recipe(models)).close()
    except Exception as error:
        return Result(CliRunner(), b"", b"", b"", None, 1, error)
    return Result(CliRunner(), b"", b"", b"", None, 0, None)


def by_mergekit_yaml(models: Path, out: Path) -> Result:
    return inputs.mergekit_yaml(recipe(models), out)


TASK = "finance_bench_fpb"
COMMANDS = {
    "check": by_check,
    "check recipe": by_check_recipe,
    "check study": by_check_study,
    "run": by_run,
    "study plan": by_plan,
    "study plan --no-sample": by_plan_without_sample,
    "study": by_study,
    "lm_eval": by_lm_eval,
    "MergeSession": by_session,
    "mergekit-yaml": by_mergekit_yaml,
}
# Where several things are wrong, `check` lists them all, and other commands end at one of them: row -> its id, commands.
CONTRADICTIONS = (
    "fewer layers in the config",
    "more layers in the config",
    "another hidden size in the config",
)
EARLIER = {
    "layer missing": ("model.tensor-missing", "MergeSession", "mergekit-yaml"),
    **dict.fromkeys(CONTRADICTIONS, ("model.architecture", *list(COMMANDS)[3:])),
}


def recipe(models: Path) -> Path:
    return inputs.write_recipe(models.parent / "recipe.yml", inputs.merge_recipe(models, out_dtype="float32"))


def study_file(models: Path) -> Path:
    return study.write(models.parent / "study.yml", models, tasks=[TASK], source="sample")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_models(tmp_path_factory.mktemp("rows") / "models")
    for name in ("base", "finance", "math"):
        write_tokenizer(folder / name, WORDS)
        path = folder / name / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **SETTINGS}))
    shutil.rmtree(folder / "japanese")
    return folder


@pytest.fixture
def models(intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "study.single.Executor",
        "study.run.StudyRun.evaluate_stages",
        "study.cost._timed",
        "evaluation.mergekit_lm._merge",
    ):
        monkeypatch.setattr(f"mergekit_finance.{name}", stop)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(intact, tmp_path / "models"))


def lines_of(result: Result, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> str:
    """Return all that a command printed, logged or raised."""
    error = result.exception
    raised = [f"Error: {error}"] if error and not isinstance(error, SystemExit) else []
    if raised:
        assert isinstance(error, MergekitFinanceError), repr(error)
    captured = capsys.readouterr()
    return "\n".join([result.output, captured.out, captured.err, caplog.text, *raised])


def ids_of(command: str, text: str) -> list[str]:
    pattern = re.compile(r"^  \[([a-z.-]+)\]", re.MULTILINE) if command.startswith("check") else LINE
    return pattern.findall(re.sub(r"^.*?(?=(?:warning|note): )", "", text, flags=re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("row", ERRORS)
def test_a_broken_model_ends_every_command_in_one_line(
    row: str,
    command: str,
    models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    id, change = ERRORS[row]
    change(models)
    before = inputs.snapshot(models)
    result = COMMANDS[command](models, tmp_path / "out")
    text = lines_of(result, caplog, capsys)
    assert result.exit_code == 1, text
    assert "Traceback" not in text
    earlier, *commands = EARLIER.get(row, (id,))
    assert (earlier if command in commands else id) in ids_of(command, text), text[-1500:]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "pwned").exists()
    assert inputs.snapshot(models) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("row", WARNINGS)
def test_a_doubtful_model_is_reported_once_by_every_command(
    row: str,
    command: str,
    models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    id, change = WARNINGS[row]
    change(models)
    with caplog.at_level(logging.WARNING):
        result = COMMANDS[command](models, tmp_path / "out")
    text = lines_of(result, caplog, capsys)
    assert ids_of(command, text).count(id) == 1, text[-1500:]
    assert result.exit_code == 0 or WORK in text, text[-1500:]


@pytest.mark.parametrize(
    "command", [("check",), ("study", "plan"), ("study", "plan", "--no-sample"), ("study",)]
)
def test_licenses_that_only_study_yml_names_are_compared_by_every_command(
    command: tuple[str, ...], models: Path, tmp_path: Path
) -> None:
    experts = {
        "finance": {"model": f"{models}/finance", "license": "cc-by-sa-4.0"},
        "math": {"model": f"{models}/math", "license": "house rules"},
    }
    file = study.write(
        tmp_path / "s.yml", models, tasks=[TASK], source="sample", base_license="llama3", experts=experts
    )
    options = ("-o", tmp_path / "out", "--quiet") if command == ("study",) else ()
    result = inputs.mkf(*command, file, *options)
    notes = [line for line in result.output.splitlines() if "[model.license]" in line]
    assert len(notes) == 2
    assert "house rules" in notes[0]
    assert "contradict each other" in notes[1]
