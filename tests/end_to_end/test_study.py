"""`mergekit-finance study`, with real merges and real lm-eval: the files that it writes, and several processes."""

import gc
import json
import tempfile
from threading import Timer

import pytest
from helpers import commands
from helpers import study as helpers

from mergekit_finance.study import config, local_pool
from mergekit_finance.study.claims import Claims
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import StudyRun, run_study

MODELS = ["base", "finance", "math"]


def test_every_model_has_a_complete_folder(finished_study):
    index = json.loads((finished_study / "index.json").read_text())
    assert list(index["models"]) == MODELS and len(index["points"]) == 3
    folders = {m["folder"] for m in index["models"].values()} | {p["folder"] for p in index["points"]}
    assert {p.name for p in (finished_study / "points").iterdir()} == folders
    for folder in folders:
        files = {p.name for p in (finished_study / "points" / folder).iterdir()}
        expected = {"results.json", "scores.json", "key.json", "timings.json", "files.json"}
        expected |= {f"samples_{task}.jsonl" for task in helpers.TASKS}
        assert files == expected | ({"recipe.yml"} if folder.startswith("stage") else set())
    assert not helpers.leftovers(finished_study)


def test_the_seconds_of_every_kind_of_work_are_stored(finished_study):
    from mergekit_finance.study.times import KINDS, study_times

    times = study_times(finished_study)
    assert times.processes == 1
    assert set(KINDS) - set(times.seconds) <= {"rolling", "waiting"}  # none in this study


def test_times_are_in_timings_json_and_not_in_results_json(finished_study):
    for place in (finished_study / "points").iterdir():
        results = json.loads((place / "results.json").read_text())
        assert not {"date", "start_time", "total_evaluation_time_seconds"} & set(results)
        assert json.loads((place / "timings.json").read_text())["evaluate"] > 0


def test_the_summary_has_models_points_combinations_and_a_verdict(finished_study):
    summary = helpers.summary_of(finished_study)
    assert set(summary["models"]) == set(MODELS) and len(summary["points"]) == 3
    assert set(summary["combinations"]) == {"finance", "math", "finance+math"}
    assert summary["verdict"] and summary["ship"]["model"]
    assert "workers" not in summary["study"] and "executor" not in summary["study"]
    text = (finished_study / "summary.json").read_text()
    assert "NaN" not in text and "Infinity" not in text


def test_max_gen_toks_limits_generated_answers(finished_study):
    results = json.loads(next((finished_study / "points").glob("base-*/results.json")).read_text())
    assert results["configs"]["finance_bench_docmath_ss"]["generation_kwargs"]["max_gen_toks"] == 4


def test_run_study_gives_what_load_results_reads(tiny, study_copy, evaluated):
    """From a file or a checked study; what is stored is not evaluated again."""
    path = helpers.write(study_copy.parent / "study.yml", tiny)
    results = run_study(path, study_copy, device="cpu", quiet=True)
    again = run_study(config.load_study(path), str(study_copy), device="cpu", workers=1, quiet=True)
    assert evaluated == [] and results.summary == again.summary == load_results(study_copy).summary
    assert list(results.models) == MODELS


@pytest.mark.slow
@pytest.mark.parametrize("forked", [True, False])
def test_two_workers_give_the_same_bytes(tiny, finished_study, tmp_path, monkeypatch, forked):
    if not forked:  # as on a GPU or a Mac
        monkeypatch.setattr(local_pool, "can_fork", lambda worker: False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    helpers.go(tiny, tmp_path / "out", workers=2)
    gc.collect()
    assert not list((tmp_path / "temporary").glob("mergekit-finance-*")), "a worker left a merge's folder"
    assert helpers.normal(tmp_path / "out") == helpers.normal(finished_study)
    assert not helpers.leftovers(tmp_path / "out")


@pytest.mark.slow
def test_two_processes_on_one_folder_share_the_work(tiny, finished_study, tmp_path):
    path = helpers.write(tmp_path / "study.yml", tiny)
    log = tmp_path / "log"
    both = [helpers.begin(path, tmp_path / "out", log) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0], log.read_text()
    assert helpers.normal(tmp_path / "out") == helpers.normal(finished_study)


def test_a_study_waits_for_a_point_that_another_process_is_writing(tiny, study_copy, evaluated):
    """The other process holds the claim, stores the point and releases it; this run uses the stored result."""
    place = next((study_copy / "points").glob("stage2-*"))
    stored = place.rename(study_copy / "aside")
    other = Claims(study_copy / ".locks")
    claim = other.acquire(place.name)

    def finish():
        stored.rename(place)
        other.release(claim)

    Timer(1.0, finish).start()
    helpers.go(tiny, study_copy)
    assert evaluated == [] and place.is_dir()


def test_two_studies_at_the_same_time_in_one_folder_each_get_their_own_summary(tiny, study_copy, monkeypatch):
    """Each returns its own summary, and all files in the folder are from one of them."""
    alone = helpers.summary_of(study_copy)
    stages = StudyRun.evaluate_stages
    other = {"tasks": ["finance_bench_fpb"], "limit": 8, "name": "other"}

    def meanwhile(run):
        monkeypatch.setattr(StudyRun, "evaluate_stages", stages)
        helpers.go(tiny, study_copy, **other)
        assert load_results(study_copy).study.name == "other" and set(load_results(study_copy).tasks) == {
            other["tasks"][0]
        }
        return stages(run)

    monkeypatch.setattr(StudyRun, "evaluate_stages", meanwhile)
    summary, _ = helpers.go(tiny, study_copy)
    assert summary == alone == helpers.summary_of(study_copy)
    assert load_results(study_copy).study.name == "tiny" and load_results(study_copy).limit == 4


def test_a_study_in_one_process_loads_every_task_once(tiny, tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    loads, load = [], TaskManager.load
    monkeypatch.setattr(TaskManager, "load", lambda self, names: (loads.append(names), load(self, names))[1])
    helpers.go(tiny, tmp_path / "out", stages=[1])
    assert loads == [helpers.TASKS]


@pytest.mark.slow
def test_a_point_scores_what_mergekit_yaml_and_lm_eval_give(tiny, finished_study, tmp_path):
    place = next((finished_study / "points").glob("stage2-*"))
    merged = commands.run("mergekit-yaml", place / "recipe.yml", tmp_path / "merged")
    assert merged.returncode == 0, merged.stderr
    done = commands.run(
        "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={tmp_path / 'merged'},dtype=bfloat16",
        "--tasks", ",".join(helpers.TASKS), "--limit", "4", "--batch_size", "32", "--device", "cpu",
        "--gen_kwargs", "max_gen_toks=4", "--metadata", '{"source": "lab"}', "--output_path", tmp_path / "host",
        "--log_samples",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(next((tmp_path / "host").rglob("results_*.json")).read_text())["results"]
    ours = json.loads((place / "results.json").read_text())["results"]
    for task in helpers.TASKS:
        scores = {k: v for k, v in theirs[task].items() if not k.endswith("_stderr,none")}
        assert scores == {k: ours[task][k] for k in scores}
        assert _answers(next((tmp_path / "host").rglob(f"samples_{task}_*"))) == _answers(place / f"samples_{task}.jsonl")  # fmt: skip


def _answers(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["doc_id"]: (row["resps"], row["score"]) for row in rows}
