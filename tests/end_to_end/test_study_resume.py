"""A study that is run again: stored results are used if nothing changed, and evaluated again if they do not fit."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from helpers import commands
from helpers import study as helpers

from mergekit_finance.cli import main
from mergekit_finance.errors import ModelError
from mergekit_finance.evaluation import keys as result_keys
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.study import analyzed, config, similarity_step
from mergekit_finance.study import run as study_run
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.unfinished import load_available_results


@pytest.mark.parametrize("old", [{"code": "0123", "model": "abc"}, {"format": 2, "answer_code": "0123"}])
def test_results_of_an_older_version_are_named_in_one_line(tiny, study_copy, old):
    """Their keys have another form, so none of the current keys matches."""
    folder = study_copy / "points" / "math-0123456789ab"
    folder.mkdir()
    (folder / "key.json").write_text(json.dumps(old))
    _, printed = helpers.go(tiny, study_copy)
    assert len(printed) == 2 and printed[0].endswith(
        "results of an older version are not used (1 model, such as points/math-0123456789ab). "
        "Their folders can be deleted."
    )


def test_a_second_run_evaluates_nothing(tiny, study_copy, evaluated):
    before, stamps = helpers.normal(study_copy), helpers.stamps(study_copy)
    _, printed = helpers.go(tiny, study_copy)
    assert evaluated == [] and printed == ["6 of 6 models are stored, 0 to do"]
    assert helpers.normal(study_copy) == before and helpers.stamps(study_copy) == stamps


DAMAGE = {
    "scores.json": [
        "",
        "{}",
        "[]",
        "null",
        '{"a": 1}',
        '{"other": {"score": [1], "items": ["a"]}}',
        '{"t": {"score": [NaN], "items": ["a"]}}',
        None,
    ],
    "key.json": ["{}", None],
    "timings.json": [None, "null"],
    "results.json": ["[", "null", None],
    "files.json": ["{}", "null", None],
    "samples_finance_bench_fpb.jsonl": [None],
}


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in DAMAGE.items() for t in texts])
def test_damaged_results_are_evaluated_again(tiny, study_copy, evaluated, name, text):
    before = helpers.normal(study_copy)
    (place,) = (study_copy / "points").glob("math-*")
    (place / name).unlink() if text is None else (place / name).write_text(text)
    _, printed = helpers.go(tiny, study_copy)
    assert evaluated == ["math"] and helpers.normal(study_copy) == before
    assert printed[0].startswith(f"{place.name} is damaged (") and printed[0].endswith("evaluated again")


@pytest.mark.parametrize(
    "name", ["scores.json", "results.json", "recipe.yml", "samples_finance_bench_fpb.jsonl"]
)
def test_results_that_were_altered_but_are_still_valid_are_evaluated_again(tiny, study_copy, evaluated, name):
    """The files are well-formed, but their values are not the measured ones."""
    before = helpers.normal(study_copy)
    (place,) = (study_copy / "points").glob("stage1-math-*")
    text = (place / name).read_text()
    (place / name).write_text(text.replace("0.0", "1.0") if "0.0" in text else text + "\n")
    helpers.go(tiny, study_copy)
    assert evaluated == ["stage1-math-ta-lambda0.5"] and helpers.normal(study_copy) == before


def test_a_merge_without_recipe_yml_is_evaluated_again_even_if_the_checksums_agree(
    tiny, study_copy, evaluated
):
    (place,) = (study_copy / "points").glob("stage1-math-*")
    checksums = json.loads((place / "files.json").read_text())
    del checksums["recipe.yml"]
    (place / "files.json").write_text(json.dumps(checksums))
    (place / "recipe.yml").unlink()
    helpers.go(tiny, study_copy)
    assert evaluated == ["stage1-math-ta-lambda0.5"]


def test_a_lost_recipe_yml_is_written_again_and_an_unknown_file_is_ignored(tiny, study_copy, evaluated):
    before = helpers.normal(study_copy)
    (place,) = (study_copy / "points").glob("stage1-math-*")
    (place / "notes.txt").write_text("mine")
    helpers.go(tiny, study_copy)
    assert evaluated == []
    (place / "notes.txt").unlink()
    (place / "recipe.yml").unlink()
    helpers.go(tiny, study_copy)
    assert evaluated == ["stage1-math-ta-lambda0.5"] and helpers.normal(study_copy) == before


@pytest.mark.parametrize("text", ['{"evaluate": 1.0}', '{"evaluate": "long"}'])
def test_edited_timings_change_nothing(tiny, study_copy, evaluated, text):
    for path in (study_copy / "points").glob("*/timings.json"):
        path.write_text(text)
    helpers.go(tiny, study_copy)
    assert evaluated == []


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("total"), lambda s: s["total"]["pairs"][0].update(l2=9.0)]
)
def test_similarity_that_was_altered_is_measured_again(tiny, study_copy, change):
    before = helpers.normal(study_copy)
    similarity = json.loads((study_copy / "similarity.json").read_text())
    change(similarity)
    (study_copy / "similarity.json").write_text(json.dumps(similarity))
    helpers.go(tiny, study_copy)
    assert helpers.normal(study_copy) == before


@pytest.mark.parametrize("error", [ModelError("tensor w is missing"), KeyError("w"), MemoryError()])
def test_similarity_that_cannot_be_measured_costs_nothing_else(tiny, study_copy, monkeypatch, error):
    """The summary is complete without it, and the next run measures again."""
    before, summary = helpers.normal(study_copy), helpers.summary_of(study_copy)
    (study_copy / "similarity.json").unlink()
    (study_copy / "summary.json").unlink()

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(similarity_step, "compute_similarity", fail)
        result, printed = helpers.go(tiny, study_copy)
    (line,) = [text for text in printed if "similarity was not measured" in text]
    assert "\n" not in line
    assert {**result, "similarity": 0, "verdict": 0} == {**summary, "similarity": 0, "verdict": 0}
    assert all(row.get("cosine") is None for row in result["similarity"]["combinations"])
    assert load_results(study_copy).similarity is None
    helpers.go(tiny, study_copy)
    assert helpers.normal(study_copy) == before


def test_a_folder_that_another_process_is_writing_is_not_removed(tiny, study_copy):
    """Its folder may look damaged in the moment that it is renamed away."""
    store = StudyRun(config.parse_study(helpers.content(tiny), "x"), study_copy).store
    (place,) = (study_copy / "points").glob("math-*")
    (place / "scores.json").write_text("{}")
    with store.claim(place), discarded_in_another_process(store, place) as fault:
        assert fault == "" and place.is_dir()


@contextmanager
def discarded_in_another_process(store, place):
    """Yield what `discard_damaged` returns in another process."""
    code = (
        "import sys; from pathlib import Path; from mergekit_finance.study.store import Store;"
        "print(Store(Path(sys.argv[1])).discard_damaged(Path(sys.argv[2]), True))"
    )
    done = commands.run("python", "-c", code, store.folder, place)
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()


def test_a_file_where_a_results_folder_belongs_is_replaced(tiny, study_copy, evaluated):
    before = helpers.normal(study_copy)
    (place,) = (study_copy / "points").glob("math-*")
    shutil.rmtree(place)
    place.touch()
    helpers.go(tiny, study_copy)
    assert evaluated == ["math"] and helpers.normal(study_copy) == before


def test_an_edited_study_that_is_interrupted_keeps_the_last_summary(tiny, study_copy, monkeypatch):
    before = helpers.normal(study_copy)

    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyRun, "evaluate_stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        helpers.go(tiny, study_copy, tasks=["finance_bench_fpb"])
    assert helpers.normal(study_copy) == before and set(load_results(study_copy).tasks) == set(helpers.TASKS)


def test_an_interrupted_study_has_a_partial_page_until_it_is_finished(tiny, study_copy, monkeypatch):
    (place,) = (study_copy / "points").glob("stage2-*")
    shutil.rmtree(place)
    (study_copy / "summary.json").unlink()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Evaluator, "measure", interrupted)
        helpers.go(tiny, study_copy)
    assert len(load_available_results(study_copy).points) == 2
    done = CliRunner().invoke(main, ["report", str(study_copy)])
    assert done.exit_code == 0 and "The page is partial" in done.output
    assert "Partial: 2 of 3 merges are evaluated" in (study_copy / "report.html").read_text("utf-8")
    helpers.go(tiny, study_copy)
    assert not (study_copy / "unfinished.json").exists()
    assert load_available_results(study_copy).partial_summary is None


def test_an_edited_grid_evaluates_only_new_points(tiny, study_copy, evaluated):
    grid = {"task_arithmetic": {"lambda": [0.25, 0.5]}}
    summary, _ = helpers.go(tiny, study_copy, operators=grid)
    assert sorted(evaluated) == [f"stage{s}-lambda0.25".replace("-", f"-{c}-ta-") for s, c in [(1, "finance"), (1, "math"), (2, "finance-math")]]  # fmt: skip
    assert len(summary["points"]) == 6
    del evaluated[:]
    summary, _ = helpers.go(tiny, study_copy)
    assert evaluated == [] and len(summary["points"]) == 3  # those of another grid stay, unread


def test_another_order_of_experts_evaluates_nothing(tiny, study_copy, evaluated):
    helpers.go(tiny, study_copy, experts=("math", "finance"), stages=[1])
    assert evaluated == []


def test_a_changed_model_is_evaluated_again_and_so_is_what_it_is_merged_into(
    models_copy, tmp_path, evaluated
):
    import torch
    from safetensors.torch import load_file, save_file

    out = tmp_path / "out"
    helpers.go(models_copy, out)
    del evaluated[:]
    weights = models_copy / "math" / "model.safetensors"
    tensors = {k: v + torch.ones_like(v) for k, v in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    helpers.go(models_copy, out)
    assert sorted(evaluated) == ["math", "stage1-math-ta-lambda0.5", "stage2-finance-math-ta-lambda0.5"]


CHANGES = {
    "limit": {"limit": 5},
    "length of answers": {"evaluation": {"batch_size": 32, "max_gen_toks": 5}},
    "dtype": {"evaluation": {"batch_size": 32, "max_gen_toks": 4, "dtype": "float32"}},
    "rows": {"source": "sample"},
    "tasks": {"tasks": ["finance_bench_fpb"]},
}


@pytest.mark.parametrize("what", CHANGES)
def test_settings_that_can_change_a_score_change_every_key(tiny, finished_study, what):
    assert not keys(tiny, finished_study, **CHANGES[what]) & set(helpers.stamps(finished_study))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"semantics": "mergekit"}, 3),
        ({"out_dtype": "float32"}, 3),
        ({"workers": 2}, 6),
        ({"resamples": 300}, 6),
        ({"executor": "ray"}, 6),
        ({"evaluation": {"batch_size": 16, "max_gen_toks": 4}}, 6),
        ({"evaluation": {"batch_size": 32, "max_gen_toks": 4, "threads": 2}}, 6),
    ],
)
def test_the_recipe_is_part_of_a_merges_key(tiny, finished_study, changes, same):
    assert len(keys(tiny, finished_study, **changes) & set(helpers.stamps(finished_study))) == same


def test_a_changed_task_file_changes_every_key(tiny, finished_study, monkeypatch):
    assert keys(tiny, finished_study) == set(helpers.stamps(finished_study))
    monkeypatch.setattr(result_keys, "definition_hash", lambda path, tree: "another")
    assert not keys(tiny, finished_study) & set(helpers.stamps(finished_study))


def keys(models, out, **changes):
    """The folders that a study would take its results from."""
    from mergekit_finance.study import points

    study = config.parse_study(helpers.content(models, **changes), "study.yml")
    run = StudyRun(study, out, "cpu", study.limit, quiet=True)
    plans = [p for stage in study.stages for p in points.points(study, stage)]
    places = [run.worker.model_place(r) for r in run.references] + list(map(run.worker.point_place, plans))
    return {place.name for place in places}


def test_a_worker_without_a_stamp_is_refused(tiny, tmp_path):
    from mergekit_finance.study.worker import Worker

    with pytest.raises(RuntimeError, match="without a stamp"):
        Worker(Evaluator(helpers.TASKS), tmp_path, {"./base": "x"}).model_place("./base")


@pytest.fixture
def analyses(monkeypatch):
    """The studies that were analyzed, one entry each time."""
    counted, answer = [], study_run.answer
    monkeypatch.setattr(study_run, "answer", lambda results, similarity: counted.append(1) or answer(results, similarity))  # fmt: skip
    return counted


def test_a_finished_study_is_not_analyzed_again(tiny, study_copy, analyses):
    before, summary = helpers.normal(study_copy), helpers.summary_of(study_copy)
    result, _ = helpers.go(tiny, study_copy, workers=2)
    assert analyses == [] and result == summary and helpers.normal(study_copy) == before


@pytest.mark.parametrize("name", ["summary.json", "tasks.json", "study.json", "analysis.json", "similarity.json"])  # fmt: skip
@pytest.mark.parametrize("damage", ["lost", "altered"])
def test_a_study_is_analyzed_again_if_one_of_its_files_is_lost_or_altered(
    tiny, study_copy, analyses, name, damage
):
    before = helpers.normal(study_copy)
    path = study_copy / name
    path.unlink()
    if damage == "altered":
        path.write_text("{}")
    helpers.go(tiny, study_copy)
    assert analyses == [1] and helpers.normal(study_copy) == before


def test_a_study_is_analyzed_again_with_other_statistics_or_other_code(
    tiny, study_copy, analyses, monkeypatch
):
    helpers.go(tiny, study_copy, resamples=300)
    assert analyses == [1]
    monkeypatch.setattr(analyzed, "LIBRARIES", ("numpy",))  # as another version of one would
    helpers.go(tiny, study_copy, resamples=300)
    assert analyses == [1, 1]


def test_of_several_processes_that_end_together_one_analyzes(tiny, study_copy, analyses):
    (study_copy / "summary.json").unlink()
    studies = [config.parse_study(helpers.content(tiny), "x") for _ in range(3)]
    runs = [StudyRun(one, study_copy, "cpu", one.limit, quiet=True, say=lambda text: None) for one in studies]
    for run in runs:
        _ = run.evaluator.tasks  # lm-eval's loading is not made for threads
    with ThreadPoolExecutor(3) as pool:
        summaries = [one.as_json() for one in pool.map(StudyRun.run, runs)]
    assert analyses == [1] and summaries[0] == summaries[1] == summaries[2] == helpers.summary_of(study_copy)
