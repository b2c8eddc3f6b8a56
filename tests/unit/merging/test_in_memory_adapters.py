"""LoRA adapters: `model+adapter` works where mergekit has a folder for it; elsewhere one line says what to do."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from helpers import commands, study
from helpers.architectures import write_family
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM

from mergekit_finance.errors import ModelError
from mergekit_finance.merging import in_memory
from mergekit_finance.merging.session import MergeSession

LINE = r"names a LoRA adapter\. Merge it first: mergekit-yaml with merge_method: passthrough, .*--lora-merge-cache"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models, and a real adapter of math with random weights."""
    folder = write_family(tmp_path_factory.mktemp("family"), "llama", tied=False)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    model = AutoModelForCausalLM.from_pretrained(folder / "math", dtype="auto")
    peft.get_peft_model(model, config).save_pretrained(folder / "adapter")
    return folder


def recipe(family: Path, model: str, method: str = "cpt_task_arithmetic") -> dict[str, Any]:
    base = {} if method == "passthrough" else {"base_model": str(family / "base")}
    return {"merge_method": method, **base, "models": [{"model": model}], "dtype": "float32"}


def reference(family: Path) -> str:
    return f"{family / 'math'}+{family / 'adapter'}"


def options(**changes: Any) -> MergeOptions:
    return MergeOptions(quiet=True, write_model_card=False, **changes)


def to_disk(settings: dict[str, Any], out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    run_merge(MergeConfiguration.model_validate(settings), str(out), options(**changes))
    return AutoModelForCausalLM.from_pretrained(out, dtype="auto").state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_with_a_merge_cache_an_adapter_is_merged_in_memory_as_on_disk(family, tmp_path):
    settings = recipe(family, reference(family))
    disk = to_disk(settings, tmp_path / "out", lora_merge_cache=str(tmp_path / "one"))
    configuration = MergeConfiguration.model_validate(settings)
    model, _ = in_memory.merge(configuration, options(lora_merge_cache=str(tmp_path / "two")))
    assert same(model.state_dict(), disk)
    plain, _ = in_memory.merge(
        MergeConfiguration.model_validate(recipe(family, str(family / "math"))), options()
    )
    assert not same(plain.state_dict(), disk)


def test_merged_adapters_that_do_not_fit_on_the_disk_are_reported(family, tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    written = []  # whether the adapter was merged when the disk was looked at

    def free_disk(folder):
        written.append(cache.exists())
        return 1

    monkeypatch.setattr("mergekit_finance.checks.resources.free_disk", free_disk)
    to_disk(recipe(family, reference(family)), tmp_path / "out", lora_merge_cache=str(cache))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith("[resources.disk]")]
    assert all(str(tmp_path / name) in line for name, line in zip(("cache", "out"), lines, strict=True))
    assert not written[0]  # before mergekit writes into the cache
    assert written[-1]


def test_an_adapter_can_be_merged_first_as_the_error_advises(family, tmp_path):
    cache = str(tmp_path / "cache")
    adapted = to_disk(
        recipe(family, reference(family), "passthrough"), tmp_path / "adapted", lora_merge_cache=cache
    )
    model = AutoModelForCausalLM.from_pretrained(family / "math", dtype="auto")
    expected = peft.PeftModel.from_pretrained(model, family / "adapter").merge_and_unload().state_dict()
    assert all(torch.equal(adapted[name], expected[name].float()) for name in expected)
    settings = recipe(family, str(tmp_path / "adapted"))
    live, _ = in_memory.merge(MergeConfiguration.model_validate(settings), options())
    with MergeSession.open(settings) as session:
        assert same(session.model.state_dict(), live.state_dict())


def test_without_a_merge_cache_every_function_gives_the_same_error(family, tmp_path):
    settings = recipe(family, reference(family))
    for way in (
        lambda: in_memory.merge(MergeConfiguration.model_validate(settings), options()),
        lambda: MergeSession.open(settings),
        lambda: to_disk(settings, tmp_path / "out"),
    ):
        with pytest.raises(ModelError, match=LINE) as caught:
            way()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "study plan", "study", "lm_eval", "mergekit-yaml"])
def test_without_a_merge_cache_every_command_gives_the_same_error(command, family, tmp_path):
    settings, out = tmp_path / "recipe.yml", tmp_path / "out"
    settings.write_text(json.dumps(recipe(family, reference(family))))
    experts = {"math": {"model": reference(family), "skills": ["math"]}}
    plan = study.write(tmp_path / "study.yml", family, experts=experts, stages=[1])
    fpb = ["--tasks", "finance_bench_fpb"]
    calls = {
        "run": ["mergekit-finance", "run", settings, "--out", out, *fpb, "--source", "sample"],
        "study plan": ["mergekit-finance", "study", "plan", plan],
        "study": ["mergekit-finance", "study", plan, "--out", out],
        "lm_eval": ["lm_eval", "--model", "mergekit", "--model_args", f"recipe={settings}", *fpb],
        "mergekit-yaml": ["mergekit-yaml", settings, out],
    }
    line = commands.error_line(commands.run(*map(str, calls[command]), cwd=tmp_path))
    assert "LoRA adapter. Merge it first: mergekit-yaml" in line and not out.exists()
