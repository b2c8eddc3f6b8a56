"""Paths above 255 bytes and names of 250: results are stored under short names.

lm-eval makes one folder name of a model's whole path and only logs that the file system refuses it.
"""

import json
import shutil
from pathlib import Path

import pytest
from helpers import commands
from helpers import study as helpers

from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.files import file_name
from mergekit_finance.hosts.lm_eval_output import folder_name
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.report.writing import build
from mergekit_finance.study.single import SingleRun

TASK = "finance_bench_fpb"


@pytest.fixture(scope="module")
def long_models(tiny, tmp_path_factory) -> Path:
    """The tiny models in a folder of 300 bytes, the finance expert under a name of 240."""
    folder = tmp_path_factory.mktemp("long") / ("a" * 150) / ("é" * 75)
    shutil.copytree(tiny, folder)
    (folder / "finance").rename(folder / ("f" * 240))
    return folder


def long_recipe(models: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"merge_method: cpt_task_arithmetic\nbase_model: {models}/base\nmodels:\n"
        f"  - model: {models}/{'f' * 240}\nparameters: {{lambda: 0.5}}\ndtype: float32\nout_dtype: bfloat16\n",
        encoding="utf-8",
    )
    return path


def test_a_run_stores_models_and_a_recipe_with_long_names(long_models, tmp_path):
    recipe = load_recipe(long_recipe(long_models, tmp_path / f"{'r' * 250}.yml"))
    evaluator = Evaluator((TASK,), metadata={"source": "sample"})
    result = SingleRun(recipe, evaluator, tmp_path / "out", 2, quiet=True, say=lambda text: None).run()
    assert len(result.results) == 3
    for folder in result.results.values():
        assert (
            len(folder) < 170 and (tmp_path / "out" / "points" / folder / f"samples_{TASK}.jsonl").is_file()
        )


def test_a_study_of_models_with_long_names_is_finished_and_reported(long_models, tmp_path):
    models = {"finance": {"model": f"{long_models}/{'f' * 240}", "skills": ["finance"]}}
    summary, _ = helpers.go(long_models, tmp_path / "out", experts=models, stages=[1])
    assert len(summary["models"]) == 2
    assert any(path.name == "report.html" for path in build(tmp_path / "out"))


@pytest.mark.slow
def test_lm_eval_stores_results_of_a_recipe_with_a_long_path(long_models, tmp_path):
    recipe = long_recipe(long_models, tmp_path / ("b" * 150) / ("c" * 150) / "r.yml")
    done = commands.run(
        "lm_eval", "--model", "mergekit", "--model_args", f"recipe={recipe}", "--tasks", TASK, "--limit", "2",
        "--metadata", '{"source": "sample"}', "--device", "cpu", "--output_path", tmp_path / "results",
        "--log_samples",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results, samples = sorted((tmp_path / "results").rglob("*.json*"))
    assert json.loads(results.read_text(encoding="utf-8"))["config"]["merge"]["parameters"] == {"lambda": 0.5}
    assert len(samples.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize("text", ["x" * 151, "é" * 200, "日" * 100, "x" * 5000, "\udcff" * 200])
def test_a_long_name_keeps_its_start_and_gets_a_hash(text):
    short = file_name(text)
    assert len(short.encode()) <= 150 and short[:30] == text[:30] or "\udcff" in text
    assert short != file_name(text + "x") and file_name("x" * 150) == "x" * 150


def test_a_models_name_in_results_is_shortened_only_if_lm_eval_could_not_make_a_folder_of_it():
    assert folder_name("a/" * 80) == "a/" * 80  # lm-eval writes `__` for a slash
    assert len(folder_name("a/" * 90)) == 100
