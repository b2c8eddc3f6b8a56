"""Mistakes that a study reports in one line before anything is evaluated; and the command itself."""

import errno
import json
import shutil

import pytest
from helpers import study as helpers
from helpers.study import refused

from mergekit_finance.errors import DataError, ModelError, RecipeError
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.study import config
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import StudyRun


def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing_half_written(tiny, tmp_path, monkeypatch):
    from mergekit_finance.study import store

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_write_host_files", full)
    with pytest.raises(
        DataError, match="cannot be written .No space left on device.; finished work is kept.*not-writable"
    ):
        helpers.go(tiny, tmp_path / "out")
    assert not helpers.leftovers(tmp_path / "out")


def test_samples_that_lm_eval_could_not_write_are_noticed(tmp_path, monkeypatch):
    """lm-eval's tracker only logs that it could not write, and continues."""
    from mergekit_finance.hosts import lm_eval_output

    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "samples_t.jsonl").write_text("{}\n{}\n")
    lm_eval_output._check_written(tmp_path, {"t": 2})
    with pytest.raises(RuntimeError, match="did not write all"):
        lm_eval_output._check_written(tmp_path, {"t": 3})
    monkeypatch.setattr(lm_eval_output, "FULL_DISK", 1 << 62)
    with pytest.raises(OSError) as caught:
        lm_eval_output._check_written(tmp_path, {"t": 2, "lost": 1})
    assert caught.value.errno == errno.ENOSPC


def test_rows_that_cannot_be_fetched_are_reported_in_one_line(tiny, tmp_path, monkeypatch):
    """The message is that of `datasets` for one of lm-eval's own tasks, offline."""
    from lm_eval.tasks import TaskManager

    def unreachable(self, names):
        raise ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(TaskManager, "load", unreachable)
    refused(
        tiny, tmp_path / "out", DataError, "cannot be fetched .Couldn't reach 'allenai/ai2_arc' on the Hub"
    )


def test_a_directory_with_the_name_of_a_result_file_is_refused_in_one_line(tiny, tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(RecipeError, match="summary.json is a directory. Choose another output directory"):
        helpers.go(tiny, tmp_path)


@pytest.mark.parametrize("name", ["points", ".locks"])
def test_a_file_with_the_name_of_a_result_directory_is_refused_in_one_line(tiny, tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(
        RecipeError, match=f"{name} exists and is not a directory. Choose another output directory"
    ):
        helpers.go(tiny, tmp_path)


def test_copies_of_the_base_and_of_an_expert_are_reported_and_evaluated(models_copy, tmp_path):
    shutil.rmtree(models_copy / "finance")
    shutil.copytree(models_copy / "base", models_copy / "finance")
    shutil.copytree(models_copy / "math", models_copy / "twin")
    experts = {name: {"model": f"{models_copy}/{name}"} for name in ("finance", "math", "twin")}
    summary, printed = helpers.go(models_copy, tmp_path / "out", experts=experts, stages=[1, 2])
    ids = [line.split("[")[-1] for line in printed]
    assert (ids.count("model.equals-base]"), ids.count("model.equals-expert]")) == (1, 1)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert len(index["models"]) == 4
    assert len(index["points"]) == 6


@pytest.mark.parametrize(
    ("kind", "message", "changes"),
    [
        (ModelError, "no-such", {"base": "./no-such/model"}),
        (DataError, "unknown source 'nowhere'. Known: hub, lab, sample", {"source": "nowhere"}),
        (RecipeError, "named.finance: no task 'finance_bench_fpd' in this study. Did you mean 'finance_bench_fpb'", {"named": {"finance": "finance_bench_fpd"}}),
        (RecipeError, "experts.math.skills: no task needs 'maths'. Did you mean 'math'", {"experts": {"math": {"model": "./tiny/math", "skills": ["maths"]}}, "stages": [1]}),
        (DataError, "uplicate task .*finance_bench_fpb.*List a task or its group, not both", {"tasks": ["finance_bench_fpb", "finance_bench_f"]}),
        (RecipeError, "1 item in 1 cluster, 1 of them to report on .an interval needs two.. Raise `limit`", {"limit": 1}),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line(tiny, tmp_path, kind, message, changes):
    for expert in changes.get("experts", {}).values():
        expert["model"] = expert["model"].replace("./tiny", str(tiny))
    refused(tiny, tmp_path / "out", kind, message, **changes)


def test_tensors_of_other_shapes_or_of_integers_are_refused(tiny, models_copy, tmp_path):
    from safetensors.torch import load_file, save_file

    path = models_copy / "math" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "q_proj" in name)
    save_file(tensors | {name: tensors[name][:-1].clone()}, path)
    refused(models_copy, tmp_path / "out", ModelError, f"has {name} of shape .* they cannot be merged")
    save_file({n: t.char() for n, t in tensors.items()}, path)
    refused(models_copy, tmp_path / "out", ModelError, "as I8, not as floats .is it quantized")


def test_a_contradictory_config_is_refused_in_one_line(tiny, models_copy, tmp_path):
    path = models_copy / "math" / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"hidden_size": content["hidden_size"] + 1}))
    refused(models_copy, tmp_path / "out", ModelError, "math")


def test_models_with_other_rope_settings_or_token_ids_give_a_warning(tiny, models_copy, tmp_path):
    config_, tokens = models_copy / "math" / "config.json", models_copy / "finance" / "tokenizer.json"
    content = json.loads(config_.read_text())
    rope = content.get("rope_parameters") or {}
    config_.write_text(
        json.dumps(content | {"rope_parameters": rope | {"rope_type": "default", "rope_theta": 5e5}})
    )
    table = json.loads(tokens.read_text())
    vocab = table["model"]["vocab"]
    one, two = list(vocab)[-2:]
    vocab[one], vocab[two] = vocab[two], vocab[one]
    tokens.write_text(json.dumps(table))
    _, printed = helpers.go(models_copy, tmp_path / "out", tasks=["finance_bench_fpb"])
    warned = sorted(text for text in printed if text.startswith("warning: "))
    assert len(warned) == 2
    assert "math has rope" in warned[0] and "2 tokens of " in warned[1]
    assert "finance have other ids in" in warned[1]


def test_two_paths_of_one_model_and_truncated_files_are_refused(tiny, models_copy, tmp_path):
    experts = {"finance": {"model": f"{tiny}/math/../finance"}, "again": {"model": f"{tiny}/finance"}}
    refused(tiny, tmp_path / "out", RecipeError, "are the same model", experts=experts)
    weights = models_copy / "math" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(models_copy, tmp_path / "out", ModelError, "truncated or broken")


def test_a_task_without_a_score_is_refused(tiny, tmp_path, monkeypatch):
    """A task that computes no metric; of others the first metric is the score (tests/unit/study/test_task_info_own_tasks.py)."""

    class Foreign:
        VERSION, config, eval_docs = 1, type("Config", (), {"dataset_kwargs": None}), []
        _filters = ()

        def aggregation(self):
            return {}

        def higher_is_better(self):
            return {}

    monkeypatch.setattr(Evaluator, "tasks", {"sciq": Foreign()})
    refused(tiny, tmp_path / "out", DataError, "task 'sciq' computes no metric, so Gain is not defined")


def test_an_output_that_is_a_file_is_refused(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    study = config.parse_study(helpers.content(tiny), "study.yml")
    with pytest.raises(RecipeError, match="is not a directory. Choose another output directory"):
        StudyRun(study, tmp_path / "file" / "out", quiet=True).run()


def test_a_folder_without_a_finished_study_is_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match="no finished study here. Run `mergekit-finance study"):
        load_results(tmp_path)


def test_the_command_prints_a_table_and_a_verdict(command, finished_study, tmp_path, study_copy):
    done = command("-o", str(study_copy))
    assert done.exit_code == 0, done.output
    assert (
        "Macro-Gain" in done.output
        and "Ship" in done.output
        and f"Written to {study_copy}/summary.json" in done.output
    )


@pytest.mark.parametrize("device", ["banana", "cuda:99", "meta"])
def test_an_unknown_device_is_reported_in_one_line(command, tmp_path, device):
    done = command("-o", str(tmp_path / "out"), "--device", device)
    assert done.exit_code == 1 and done.output.startswith("Error: --device ") and done.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_device_of_the_file_is_checked_too(command, tmp_path):
    done = command("-o", str(tmp_path / "out"), evaluation={"device": "banana"})
    assert done.exit_code == 1 and done.output.count("\n") == 1 and "banana" in done.output


def test_a_device_that_is_not_here_is_said_to_be_that_of_the_file(command, tmp_path):
    done = command("-o", str(tmp_path / "out"), evaluation={"device": "cuda:99"})
    assert done.exit_code == 1 and done.output.count("\n") == 1
    assert "study.yml: evaluation.device cuda:99: " in done.output and "--device" not in done.output


def test_a_missing_study_is_reported_in_one_line(tmp_path):
    from click.testing import CliRunner

    from mergekit_finance.cli import main

    done = CliRunner().invoke(main, ["study", str(tmp_path / "no.yml"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 1 and "no such study" in done.output and done.output.count("\n") == 1


@pytest.mark.parametrize("model", ["base", "finance"])
def test_a_context_without_room_for_a_prompt_is_refused(models_copy, tmp_path, model):
    """lm-eval would stop with an AssertionError after the merge. A context of one token more is enough."""
    path = models_copy / model / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "max_position_embeddings": 4}))
    message = f"finance_bench_docmath_ss generates up to 4 tokens, and the context of .*{model} has 4. Set a"
    helpers.refused(models_copy, tmp_path / "out", DataError, message)
