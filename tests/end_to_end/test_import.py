"""`mergekit-finance import`: what `lm_eval` wrote, with its `hf` model and with vLLM, beside a study's models."""

import json
import os
from pathlib import Path

import pytest
from helpers import commands
from helpers import study as helpers

from mergekit_finance.lab.copy_models import copy_models
from mergekit_finance.study.imported import read_imported
from mergekit_finance.study.results import load_results

GROUP = "finance_bench_f"
LIMIT, NEW_TOKENS = 6, 16
VLLM = os.environ.get("VLLM_LM_EVAL", "")  # `lm_eval` of an environment with vLLM and this package


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    copy_models(folder)
    return folder


@pytest.fixture(scope="module")
def study(lab, tmp_path_factory):
    """A finished study of one expert on a group of tasks."""
    out = tmp_path_factory.mktemp("study") / "out"
    settings = {"batch_size": 8, "max_gen_toks": NEW_TOKENS, "dtype": "float32"}
    helpers.go(lab, out, experts=("finance",), stages=[1], tasks=[GROUP], limit=LIMIT, evaluation=settings)
    return out


def evaluate_expert(lm_eval, model, model_args, folder, **environment):
    """Evaluate the expert with the command `lm_eval`, and return the folder of results."""
    done = commands.run(
        lm_eval, "--model", model, "--model_args", model_args, "--tasks", GROUP, "--limit", LIMIT,
        "--gen_kwargs", f"max_gen_toks={NEW_TOKENS}", "--metadata", json.dumps({"source": "lab"}),
        "--log_samples", "--output_path", folder, cwd=folder.parent, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def import_into(study, theirs, name):
    """Import results under a name, and return the imported model and the study's expert."""
    done = commands.run("mergekit-finance", "import", f"{name}={theirs}", "--study", study)
    assert done.returncode == 0 and "Not imported" not in done.stderr, done.stderr
    results = load_results(study)
    return next(model for model in read_imported(results) if model.file.name == name), results.columns(
        "finance"
    )


def test_a_group_that_lm_eval_evaluated_has_the_scores_of_the_study(lab, study, tmp_path):
    theirs = evaluate_expert("lm_eval", "hf", f"pretrained={lab}/finance,dtype=float32", tmp_path / "theirs")
    imported, columns = import_into(study, theirs, "by_hf")
    assert (imported.file.backend, len(imported.file.tasks)) == ("hf", 4)
    assert imported.columns == columns


@pytest.mark.slow
@pytest.mark.skipif(not VLLM, reason="VLLM_LM_EVAL does not name an lm_eval with vLLM")
def test_results_of_vllm_are_imported(lab, study, tmp_path):
    """Scores may differ by one of six items: vLLM adds numbers in another order."""
    theirs = evaluate_expert(
        Path(VLLM), "vllm", f"pretrained={lab}/finance,dtype=float32,enforce_eager=True,max_model_len=1024",
        tmp_path / "theirs", PYTHONPATH="", HF_HUB_OFFLINE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_KVCACHE_SPACE="1",
    )  # fmt: skip
    imported, columns = import_into(study, theirs, "by_vllm")
    assert (imported.file.backend, len(imported.file.tasks)) == ("vllm", 4)
    for task, ours in columns.items():
        differ = [a != b for a, b in zip(ours.score, imported.columns[task].score, strict=True)]
        assert sum(differ) <= 1
