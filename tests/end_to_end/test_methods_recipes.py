"""Every bundled recipe is complete and runs; tiny local models of the same name stand in for the Hub's."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import commands
from helpers.merging import EXPERTS, WORDS, random_models, run, stored, write_tokenizer

from mergekit_finance.files import bundled
from mergekit_finance.merging.compare import OPERATORS
from mergekit_finance.study.export import export_recipes

RECIPES = bundled("recipes")
FAMILIES = {
    "lab": {name: f"./lab/{name}" for name in ("base", *EXPERTS)},
    "llama3-8b": {
        "base": "meta-llama/Meta-Llama-3-8B",
        "finance": "instruction-pretrain/finance-Llama3-8B",
        "math": "MathGenie/MathCoder2-Llama-3-8B",
        "japanese": "tokyotech-llm/Llama-3-Swallow-8B-v0.1",
    },
    "llama2-7b": {
        "base": "meta-llama/Llama-2-7b-hf",
        "finance": "./finance-cpt-of-Llama-2-7b",  # a folder for recipes of the user
        "math": "gair-prox/Llama-2-7B-ProXMath",
        "japanese": "elyza/ELYZA-japanese-Llama-2-7b",
    },
}
SHORT = {"ta": "cpt_task_arithmetic", "ties": "cpt_ties", "dare-ties": "cpt_dare_ties"}
NAMES = [
    f"{family}/stage{stage}-{'-'.join(experts)}-{operator}.yml"
    for family in FAMILIES
    for stage in (1, 2, 3)
    for experts in combinations(EXPERTS, stage)
    for operator in SHORT
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_models(tmp_path_factory.mktemp("models") / "random", dtypes={"base": torch.bfloat16})
    for name in ("base", *EXPERTS):
        write_tokenizer(folder / name, WORDS)
        for family in FAMILIES.values():
            place = folder.parent / family[name]
            place.parent.mkdir(exist_ok=True)
            if not place.exists():
                place.symlink_to(folder / name)
    return folder.parent


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((RECIPES / name).read_text(encoding="utf-8"))


def test_there_is_one_recipe_a_stage_and_operator_and_no_other_in_these_families() -> None:
    files = {str(f.relative_to(RECIPES)) for family in FAMILIES for f in (RECIPES / family).glob("*.yml")}
    assert files == {*NAMES, *(f"{family}/study.yml" for family in FAMILIES)} and len(NAMES) == 63


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_models_method_and_stage_of_its_file_name(name: str) -> None:
    settings, models = load(name), FAMILIES[name.split("/")[0]]
    stage, *middle = Path(name).stem.split("-")
    experts = [part for part in middle if part in EXPERTS]
    assert settings["merge_method"] == SHORT["-".join(part for part in middle if part not in EXPERTS)]
    assert settings["base_model"] == models["base"]
    assert [m["model"] for m in settings["models"]] == [models[e] for e in experts]
    assert [m["parameters"]["mask_id"] for m in settings["models"]] == experts
    assert (settings["dtype"], settings["out_dtype"]) == ("float32", "bfloat16")
    assert set(settings["finance"]) == {"stage", "constituents", "tasks", "citation"}
    constituents = ["base", *experts] if stage == "stage1" else experts
    assert settings["finance"]["stage"] == int(stage[-1]) == len(experts)
    assert settings["finance"]["constituents"] == [models[m] for m in constituents]


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("llama")])
def test_the_files_say_that_the_experts_are_our_choice(name: str) -> None:
    assert "The experts are our choice" in (RECIPES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("llama2") and "finance" in n])
def test_the_llama2_files_say_that_the_finance_expert_must_be_replaced(name: str) -> None:
    assert "Replace the finance expert" in (RECIPES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recipes_of_a_family_are_what_its_study_exports(family: str) -> None:
    """`mergekit-finance recipes export recipes/FAMILY/study.yml --start --force` writes them again."""
    exported = {
        f"{family}/{r.name}": r.text for r in export_recipes(RECIPES / family / "study.yml", start=True)
    }
    assert exported == {n: (RECIPES / n).read_text("utf-8") for n in NAMES if n.startswith(f"{family}/")}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_that_plugins_see_names_the_same_models(family: str) -> None:
    from mergekit_finance.recipe.families import builtin_families

    registered = next(f for f in builtin_families() if f.name == family)
    assert {"base": registered.base} | {s: e.model for s, e in registered.experts.items()} == FAMILIES[family]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs(checkpoints: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoints)
    merged = run(load(name), tmp_path / "out")
    base = stored(checkpoints / "random" / "base")
    assert merged.keys() == base.keys()
    assert all(tensor.dtype == torch.bfloat16 and bool(tensor.isfinite().all()) for tensor in merged.values())
    assert any(not torch.equal(merged[n], base[n]) for n in base)


@pytest.mark.parametrize("operator", SHORT)
def test_the_plain_command_runs_a_recipe_of_the_lab(checkpoints: Path, operator: str, tmp_path: Path) -> None:
    file = RECIPES / "lab" / f"stage2-finance-math-{operator}.yml"
    done = commands.run("mergekit-yaml", file, tmp_path / "out", cwd=checkpoints)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "README.md", "tokenizer.json"} <= written


def test_the_readme_names_every_recipe_and_method() -> None:
    readme = (RECIPES / "README.md").read_text(encoding="utf-8")
    stems = {
        Path(name).stem.removesuffix(f"-{op}")
        for name in NAMES
        for op in SHORT
        if name.endswith(f"-{op}.yml")
    }
    assert all(stem in readme for stem in stems if not stem.endswith("-dare"))
    assert all(method in readme for pair in OPERATORS.items() for method in (pair[0], pair[1][0]))
