"""`mergekit-finance study`, whole: real merges, real lm-eval, and nothing evaluated twice."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from helpers import study as helpers

from mergekit_finance.errors import DataError, MergekitFinanceError, ModelError, RecipeError
from mergekit_finance.evaluation import keys as result_keys
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.study import config
from mergekit_finance.study import cost as planning
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import StudyRun, run_study

MODELS = ["base", "finance", "math"]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished study of three models and three points, to look at or copy."""
    out = tmp_path_factory.mktemp("study") / "out"
    helpers.go(tiny, out)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def evaluated(monkeypatch):
    """Names of what is evaluated in this process, as it happens."""
    names, measure = [], Evaluator.measure

    def counted(self, lm, name, limit=None):
        names.append(name.rsplit("/", 1)[-1])
        return measure(self, lm, name, limit)

    monkeypatch.setattr(Evaluator, "measure", counted)
    return names


@pytest.fixture
def own(tiny, tmp_path):
    """Models that a test may change."""
    shutil.copytree(tiny, tmp_path / "own")
    return tmp_path / "own"


# ---- what is there in the end


def test_a_study_leaves_one_whole_folder_a_model(finished):
    index = json.loads((finished / "index.json").read_text())
    assert list(index["models"]) == MODELS and len(index["points"]) == 3
    folders = {m["folder"] for m in index["models"].values()} | {p["folder"] for p in index["points"]}
    assert {p.name for p in (finished / "points").iterdir()} == folders
    for folder in folders:
        files = {p.name for p in (finished / "points" / folder).iterdir()}
        wanted = {"results.json", "scores.json", "key.json", "timings.json", "files.json"}
        wanted |= {f"samples_{task}.jsonl" for task in helpers.TASKS}
        assert files == wanted | ({"recipe.yml"} if folder.startswith("stage") else set())
    assert not helpers.leftovers(finished)


def test_results_have_no_times_and_timings_have(finished):
    for place in (finished / "points").iterdir():
        results = json.loads((place / "results.json").read_text())
        assert not {"date", "start_time", "total_evaluation_time_seconds"} & set(results)
        assert json.loads((place / "timings.json").read_text())["evaluate"] > 0


def test_the_summary_has_every_answer(finished):
    found = helpers.summary_of(finished)
    assert set(found["models"]) == set(MODELS) and len(found["points"]) == 3
    assert set(found["combinations"]) == {"finance", "math", "finance+math"}
    assert found["verdict"] and found["ship"]["model"]
    assert "workers" not in found["study"] and "executor" not in found["study"]
    text = (finished / "summary.json").read_text()
    assert "NaN" not in text and "Infinity" not in text


def test_generation_is_cut_at_max_gen_toks(finished):
    results = json.loads(next((finished / "points").glob("base-*/results.json")).read_text())
    assert results["configs"]["finance_bench_docmath_ss"]["generation_kwargs"]["max_gen_toks"] == 4


def test_run_study_gives_what_load_results_reads(tiny, copy, evaluated):
    """From a file or a checked study; what is stored is not evaluated again."""
    path = helpers.write(copy.parent / "study.yml", tiny)
    results = run_study(path, copy, device="cpu", quiet=True)
    again = run_study(config.load(path), str(copy), device="cpu", workers=1, quiet=True)
    assert evaluated == [] and results.summary == again.summary == load_results(copy).summary
    assert list(results.models) == MODELS


# ---- nothing twice, nothing stale


def test_a_second_run_evaluates_nothing(tiny, copy, evaluated):
    before, stamps = helpers.normal(copy), helpers.stamps(copy)
    _, said = helpers.go(tiny, copy)
    assert evaluated == [] and said == ["6 of 6 models are stored, 0 to do"]
    assert helpers.normal(copy) == before and helpers.stamps(copy) == stamps


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
def test_damaged_results_are_made_again(tiny, copy, evaluated, name, text):
    before = helpers.normal(copy)
    (place,) = (copy / "points").glob("math-*")
    (place / name).unlink() if text is None else (place / name).write_text(text)
    _, said = helpers.go(tiny, copy)
    assert evaluated == ["math"] and helpers.normal(copy) == before
    assert said[0].startswith(f"{place.name} is damaged (") and said[0].endswith("evaluated again")


@pytest.mark.parametrize(
    "name", ["scores.json", "results.json", "recipe.yml", "samples_finance_bench_fpb.jsonl"]
)
def test_results_that_were_altered_into_valid_ones_are_made_again(tiny, copy, evaluated, name):
    """Nothing in them is wrong but that they are not what was measured."""
    before = helpers.normal(copy)
    (place,) = (copy / "points").glob("stage1-math-*")
    text = (place / name).read_text()
    (place / name).write_text(text.replace("0.0", "1.0") if "0.0" in text else text + "\n")
    helpers.go(tiny, copy)
    assert evaluated == ["stage1-math-ta-lambda0.5"] and helpers.normal(copy) == before


def test_a_merge_without_its_recipe_is_none_whatever_its_sums_say(tiny, copy, evaluated):
    (place,) = (copy / "points").glob("stage1-math-*")
    noted = json.loads((place / "files.json").read_text())
    del noted["recipe.yml"]
    (place / "files.json").write_text(json.dumps(noted))
    (place / "recipe.yml").unlink()
    helpers.go(tiny, copy)
    assert evaluated == ["stage1-math-ta-lambda0.5"]


def test_a_lost_recipe_is_written_again_and_a_stray_file_is_nothing(tiny, copy, evaluated):
    before = helpers.normal(copy)
    (place,) = (copy / "points").glob("stage1-math-*")
    (place / "notes.txt").write_text("mine")
    helpers.go(tiny, copy)
    assert evaluated == []
    (place / "notes.txt").unlink()
    (place / "recipe.yml").unlink()
    helpers.go(tiny, copy)
    assert evaluated == ["stage1-math-ta-lambda0.5"] and helpers.normal(copy) == before


@pytest.mark.parametrize("text", ['{"evaluate": 1.0}', '{"evaluate": "long"}'])
def test_times_may_be_edited(tiny, copy, evaluated, text):
    for path in (copy / "points").glob("*/timings.json"):
        path.write_text(text)
    helpers.go(tiny, copy)
    assert evaluated == []


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("total"), lambda s: s["total"]["pairs"][0].update(l2=9.0)]
)
def test_similarity_that_was_altered_is_measured_again(tiny, copy, change):
    before = helpers.normal(copy)
    found = json.loads((copy / "similarity.json").read_text())
    change(found)
    (copy / "similarity.json").write_text(json.dumps(found))
    helpers.go(tiny, copy)
    assert helpers.normal(copy) == before


def test_another_process_at_work_on_a_place_is_not_disturbed(tiny, copy):
    """Its folder may look damaged in the moment that it is renamed away."""
    store = StudyRun(config.parse(helpers.content(tiny), "x"), copy).store
    (place,) = (copy / "points").glob("math-*")
    (place / "scores.json").write_text("{}")
    with store.claim(place), subprocess_sees(store, place) as fault:
        assert fault == "" and place.is_dir()


@contextmanager
def subprocess_sees(store, place):
    """What another process would say: file locks are per process."""
    code = (
        "import sys; from pathlib import Path; from mergekit_finance.study.store import Store;"
        "print(Store(Path(sys.argv[1])).discard_damaged(Path(sys.argv[2]), True))"
    )
    done = subprocess.run([sys.executable, "-c", code, store.folder, place], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tiny, tmp_path, monkeypatch):
    from mergekit_finance.study import store

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_write_host_files", full)
    with pytest.raises(DataError, match="cannot be written .No space left on device.; finished work is kept"):
        helpers.go(tiny, tmp_path / "out")
    assert not helpers.leftovers(tmp_path / "out")


def test_samples_that_lm_eval_could_not_write_are_noticed(tmp_path, monkeypatch):
    """Its tracker logs the failure, and goes on."""
    from mergekit_finance.hosts import lm_eval

    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "samples_t.jsonl").write_text("{}\n{}\n")
    lm_eval._check_written(tmp_path, {"t": 2})
    with pytest.raises(RuntimeError, match="did not write all"):
        lm_eval._check_written(tmp_path, {"t": 3})
    monkeypatch.setattr(lm_eval, "FULL_DISK", 1 << 62)
    with pytest.raises(OSError) as caught:
        lm_eval._check_written(tmp_path, {"t": 2, "lost": 1})
    assert caught.value.errno == errno.ENOSPC


def test_rows_that_cannot_be_fetched_are_one_line(tiny, tmp_path, monkeypatch):
    """As datasets says it, offline, of a task of lm-eval's own."""
    from lm_eval.tasks import TaskManager

    def unreachable(self, names):
        raise ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(TaskManager, "load", unreachable)
    refused(
        tiny, tmp_path / "out", DataError, "cannot be fetched .Couldn't reach 'allenai/ai2_arc' on the Hub"
    )


def test_a_file_in_a_results_place_is_no_result(tiny, copy, evaluated):
    before = helpers.normal(copy)
    (place,) = (copy / "points").glob("math-*")
    shutil.rmtree(place)
    place.touch()
    helpers.go(tiny, copy)
    assert evaluated == ["math"] and helpers.normal(copy) == before


def test_a_folder_in_the_way_of_a_file_is_one_line(tiny, tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(RecipeError, match="summary.json is a directory. Choose another output directory"):
        helpers.go(tiny, tmp_path)


@pytest.mark.parametrize("name", ["points", ".locks"])
def test_a_file_in_the_way_of_a_folder_is_one_line(tiny, tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(
        RecipeError, match=f"{name} exists and is not a directory. Choose another output directory"
    ):
        helpers.go(tiny, tmp_path)


def test_another_study_at_the_same_time_in_the_same_folder(tiny, copy, monkeypatch):
    """Each answers for itself, and what is in the folder is of one of them."""
    alone = helpers.summary_of(copy)
    stages = StudyRun.evaluate_stages
    other = {"tasks": ["finance_bench_fpb"], "limit": 8, "name": "other"}

    def meanwhile(run):
        monkeypatch.setattr(StudyRun, "evaluate_stages", stages)
        helpers.go(tiny, copy, **other)
        assert load_results(copy).study.name == "other" and set(load_results(copy).tasks) == {
            other["tasks"][0]
        }
        return stages(run)

    monkeypatch.setattr(StudyRun, "evaluate_stages", meanwhile)
    found, _ = helpers.go(tiny, copy)
    assert found == alone == helpers.summary_of(copy)
    assert load_results(copy).study.name == "tiny" and load_results(copy).limit == 4


def test_an_edited_study_that_is_interrupted_leaves_the_last_answer_whole(tiny, copy, monkeypatch):
    before = helpers.normal(copy)

    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyRun, "evaluate_stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        helpers.go(tiny, copy, tasks=["finance_bench_fpb"])
    assert helpers.normal(copy) == before and set(load_results(copy).tasks) == set(helpers.TASKS)


def test_two_names_for_the_same_bytes_are_refused(own, tmp_path):
    shutil.copytree(own / "math", own / "twin")
    with pytest.raises(RecipeError, match="math and .*twin are the same model, byte by byte"):
        helpers.go(own, tmp_path / "out", experts={n: {"model": f"{own}/{n}"} for n in ("math", "twin")})


def test_an_edited_grid_evaluates_only_new_points(tiny, copy, evaluated):
    grid = {"task_arithmetic": {"lambda": [0.25, 0.5]}}
    found, _ = helpers.go(tiny, copy, operators=grid)
    assert sorted(evaluated) == [f"stage{s}-lambda0.25".replace("-", f"-{c}-ta-") for s, c in [(1, "finance"), (1, "math"), (2, "finance-math")]]  # fmt: skip
    assert len(found["points"]) == 6
    del evaluated[:]
    found, _ = helpers.go(tiny, copy)
    assert evaluated == [] and len(found["points"]) == 3  # those of another grid stay, unread


def test_an_order_of_experts_is_no_reason_to_evaluate_them_again(tiny, copy, evaluated):
    helpers.go(tiny, copy, experts=("math", "finance"), stages=[1])
    assert evaluated == []


def test_a_changed_model_is_evaluated_again_and_so_is_what_it_is_merged_into(own, tmp_path, evaluated):
    import torch
    from safetensors.torch import load_file, save_file

    out = tmp_path / "out"
    helpers.go(own, out)
    del evaluated[:]
    weights = own / "math" / "model.safetensors"
    tensors = {k: v + torch.ones_like(v) for k, v in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    helpers.go(own, out)
    assert sorted(evaluated) == ["math", "stage1-math-ta-lambda0.5", "stage2-finance-math-ta-lambda0.5"]


CHANGES = {
    "limit": {"limit": 5},
    "batch size": {"evaluation": {"batch_size": 16, "max_gen_toks": 4}},
    "length of answers": {"evaluation": {"batch_size": 32, "max_gen_toks": 5}},
    "dtype": {"evaluation": {"batch_size": 32, "max_gen_toks": 4, "dtype": "float32"}},
    "threads": {"evaluation": {"batch_size": 32, "max_gen_toks": 4, "threads": 2}},
    "rows": {"source": "sample"},
    "tasks": {"tasks": ["finance_bench_fpb"]},
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_a_score_changes_every_key(tiny, finished, what):
    assert not keys(tiny, finished, **CHANGES[what]) & set(helpers.stamps(finished))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"semantics": "mergekit"}, 3),
        ({"out_dtype": "float32"}, 3),
        ({"workers": 2}, 6),
        ({"resamples": 300}, 6),
        ({"executor": "ray"}, 6),
    ],
)
def test_a_merge_has_its_recipe_in_its_key(tiny, finished, changes, same):
    assert len(keys(tiny, finished, **changes) & set(helpers.stamps(finished))) == same


def test_a_changed_task_file_changes_every_key(tiny, finished, monkeypatch):
    assert keys(tiny, finished) == set(helpers.stamps(finished))
    monkeypatch.setattr(result_keys, "definition_hash", lambda path, tree: "another")
    assert not keys(tiny, finished) & set(helpers.stamps(finished))


def keys(models, out, **changes):
    """The folders that a study would take its results from."""
    from mergekit_finance.study import points

    study = config.parse(helpers.content(models, **changes), "study.yml")
    run = StudyRun(study, out, "cpu", study.limit, quiet=True)
    plans = [p for stage in study.stages for p in points.points(study, stage)]
    places = [run.worker.model_place(r) for r in run.references] + list(map(run.worker.point_place, plans))
    return {place.name for place in places}


def test_a_worker_without_its_stamp_names_no_folder(tiny, tmp_path):
    from mergekit_finance.study.worker import Worker

    with pytest.raises(RuntimeError, match="without a stamp"):
        Worker(Evaluator(helpers.TASKS), tmp_path, {"./base": "x"}).model_place("./base")


# ---- the same by any number of processes


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(tiny, finished, tmp_path):
    helpers.go(tiny, tmp_path / "out", workers=2)
    assert helpers.normal(tmp_path / "out") == helpers.normal(finished)
    assert not helpers.leftovers(tmp_path / "out")


@pytest.mark.slow
def test_two_processes_on_one_folder_share_the_work(tiny, finished, tmp_path):
    path = helpers.write(tmp_path / "study.yml", tiny)
    command = [helpers.COMMAND, "study", str(path), "-o", str(tmp_path / "out")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=200)[1] for process in both]
    assert [p.returncode for p in both] == [0, 0], errors
    assert helpers.normal(tmp_path / "out") == helpers.normal(finished)


def test_a_point_that_another_is_at_work_on_is_waited_for(tiny, copy, evaluated):
    """The other one holds the lock, stores the point and lets go: this run takes what it stored."""
    import fcntl
    from threading import Timer

    place = next((copy / "points").glob("stage2-*"))
    stored = place.rename(copy / "aside")
    lock = (copy / ".locks" / f"{place.name}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish():
        stored.rename(place)
        lock.close()

    Timer(1.0, finish).start()
    helpers.go(tiny, copy)
    assert evaluated == [] and place.is_dir()


# ---- numbers


@pytest.mark.slow
def test_a_point_scores_what_mergekit_yaml_and_lm_eval_give(tiny, finished, tmp_path):
    import sys
    from pathlib import Path

    place = next((finished / "points").glob("stage2-*"))
    tools = Path(sys.executable).parent
    subprocess.run(
        [tools / "mergekit-yaml", place / "recipe.yml", tmp_path / "merged"], check=True, capture_output=True
    )
    command = [
        tools / "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={tmp_path / 'merged'},dtype=bfloat16",
        "--tasks", ",".join(helpers.TASKS), "--limit", "4", "--batch_size", "32", "--device", "cpu",
        "--gen_kwargs", "max_gen_toks=4", "--metadata", '{"source": "lab"}', "--output_path", tmp_path / "host",
        "--log_samples",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
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


# ---- chain: best


@pytest.fixture(scope="module")
def chained(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("chained") / "out"
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    helpers.go(tiny, out, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid)
    return out


@pytest.mark.parametrize("how", ["altered", "lost", "folder lost", "a file"])
def test_a_selected_merge_that_changed_is_written_again(tiny, chained, tmp_path, how, capfd):
    """`folder lost` is also what a kill between noting its fingerprint and renaming it leaves."""
    out = shutil.copytree(chained, tmp_path / "out")
    first, second = sorted((out / "selected").glob("stage1-*/model.safetensors"))[:2]
    if how in ("folder lost", "a file"):
        shutil.rmtree(second.parent)
        (second.parent.touch if how == "a file" else tuple)()
    else:
        second.write_bytes(first.read_bytes()) if how == "altered" else second.unlink()
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    _, said = helpers.go(tiny, out, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid)
    assert sum(text.startswith("write ") for text in said) == 1
    assert "merge:" not in capfd.readouterr().err  # quiet: no bar of mergekit's either
    assert second.read_bytes() == (chained / second.relative_to(out)).read_bytes()


def test_chain_best_merges_the_selected_models_of_the_stage_before(chained):
    found = helpers.summary_of(chained)
    selected = {c: row["selected"] for c, row in found["combinations"].items()}
    pair = found["points"][selected["finance+math"]]
    assert pair["constituents"] == [selected["finance"], selected["math"]]
    triple = found["points"][selected["finance+math+japanese"]]
    assert triple["constituents"] == [
        selected["finance+math"],
        selected["finance+japanese"],
        selected["math+japanese"],
    ]
    raw = found["selected"][selected["finance+math+japanese"]]["base_and_experts"]
    assert raw == ["base", "finance", "math", "japanese"]
    assert len(list((chained / "selected").glob("*/config.json"))) == 6
    assert not helpers.leftovers(chained)


def test_a_chained_point_is_a_recipe_that_runs(chained, tmp_path):
    """Its constituents are checkpoints in OUT/selected, and mergekit-yaml merges them."""
    from mergekit_finance.recipe import load as recipe

    place = next((chained / "points").glob("stage3-*"))
    checked = recipe.load(place / "recipe.yml")
    assert all(str(chained / "selected") in expert for expert in checked.experts)


def test_a_selected_checkpoint_has_the_points_own_bytes(chained, tiny, tmp_path):
    from safetensors.torch import load_file

    from mergekit_finance.merging.session import MergeSession

    folder = next((chained / "selected").glob("stage2-*/config.json")).parent
    text = yaml.safe_load((chained / "points" / folder.name / "recipe.yml").read_text())
    with MergeSession.open(text) as session:
        merged = dict(session.model.named_parameters())
        stored = load_file(folder / "model.safetensors")
        assert set(stored) <= set(merged) and all(
            tensor.equal(merged[name]) for name, tensor in stored.items()
        )


def test_a_resumed_chain_evaluates_and_writes_nothing(chained, tiny, tmp_path, evaluated):
    before = {p: p.stat().st_mtime_ns for p in (chained / "selected").rglob("*")}
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    helpers.go(tiny, chained, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid)
    assert evaluated == [] and {p: p.stat().st_mtime_ns for p in (chained / "selected").rglob("*")} == before


# ---- refusals: one line, before anything is evaluated, and nothing left


def refused(models, out, kind, message, device="cpu", **changes):
    study = config.parse(helpers.content(models, **changes), "study.yml")
    with pytest.raises(kind, match=message) as caught:
        StudyRun(study, out, device, study.limit, quiet=True, say=lambda text: None).run()
    assert isinstance(caught.value, MergekitFinanceError) and "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "message", "changes"),
    [
        (ModelError, "no-such", {"base": "./no-such/model"}),
        (DataError, "unknown source 'nowhere'. Known: hub, lab, sample", {"source": "nowhere"}),
        (RecipeError, "named.finance: no task 'finance_bench_fpd' in this study; did you mean 'finance_bench_fpb'", {"named": {"finance": "finance_bench_fpd"}}),
        (RecipeError, "experts.math.skills: no task needs 'maths'; did you mean 'math'", {"experts": {"math": {"model": "./tiny/math", "skills": ["maths"]}}, "stages": [1]}),
        (DataError, "uplicate task .*finance_bench_fpb.*name a task or its group, not both", {"tasks": ["finance_bench_fpb", "finance_bench_f"]}),
        (RecipeError, "1 items in 1 clusters, 1 of them to report on .an interval needs two.. Raise `limit`", {"limit": 1}),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tiny, tmp_path, kind, message, changes):
    for expert in changes.get("experts", {}).values():
        expert["model"] = expert["model"].replace("./tiny", str(tiny))
    refused(tiny, tmp_path / "out", kind, message, **changes)


@pytest.mark.parametrize("name", ["fin+math", "out@1"])
def test_chain_best_refuses_a_folder_that_mergekit_would_read_otherwise(tiny, tmp_path, name):
    refused(
        tiny, tmp_path / name, RecipeError, "with `chain: best` the path must not contain [@+]", chain="best"
    )


def test_chain_best_runs_below_a_folder_of_any_name(tiny, tmp_path, monkeypatch):
    (tmp_path / "we@x +1").mkdir()
    monkeypatch.chdir(tmp_path / "we@x +1")
    found, _ = helpers.go(tiny, Path("out"), chain="best")
    assert "finance+math" in found["combinations"]


def test_tensors_of_other_shapes_or_of_whole_numbers_are_refused(tiny, own, tmp_path):
    from safetensors.torch import load_file, save_file

    path = own / "math" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "q_proj" in name)
    save_file(tensors | {name: tensors[name][:-1].clone()}, path)
    refused(own, tmp_path / "out", ModelError, f"has {name} of shape .* they cannot be merged")
    save_file({n: t.char() for n, t in tensors.items()}, path)
    refused(own, tmp_path / "out", ModelError, "as I8, not as floats .is it quantized")


def test_a_config_that_contradicts_itself_is_one_line(tiny, own, tmp_path):
    path = own / "math" / "config.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"hidden_size": found["hidden_size"] + 1}))
    refused(own, tmp_path / "out", ModelError, "math")


def test_models_that_hardly_mean_the_same_are_warned_about(tiny, own, tmp_path):
    config_, tokens = own / "math" / "config.json", own / "finance" / "tokenizer.json"
    found = json.loads(config_.read_text())
    rope = found.get("rope_parameters") or {}
    config_.write_text(
        json.dumps(found | {"rope_parameters": rope | {"rope_type": "default", "rope_theta": 5e5}})
    )
    table = json.loads(tokens.read_text())
    vocab = table["model"]["vocab"]
    one, two = list(vocab)[-2:]
    vocab[one], vocab[two] = vocab[two], vocab[one]
    tokens.write_text(json.dumps(table))
    _, said = helpers.go(own, tmp_path / "out", tasks=["finance_bench_fpb"])
    warned = [text for text in said if text.startswith("warning: ")]
    assert len(warned) == 2
    assert "finance gives 2 tokens other ids than" in warned[0] and "math has rope" in warned[1]


def test_twins_and_truncated_files_are_refused(tiny, own, tmp_path):
    experts = {"finance": {"model": f"{tiny}/math/../finance"}, "again": {"model": f"{tiny}/finance"}}
    refused(tiny, tmp_path / "out", RecipeError, "are the same model", experts=experts)
    weights = own / "math" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(own, tmp_path / "out", ModelError, "truncated or broken")


def test_a_task_without_a_score_is_refused(tiny, tmp_path, monkeypatch):
    """lm-eval's own tasks report acc: Gain needs `score`."""

    class Foreign:
        VERSION, config, eval_docs = 1, type("Config", (), {"dataset_kwargs": None}), []

        def aggregation(self):
            return {"acc": sum}

    monkeypatch.setattr(Evaluator, "tasks", {"sciq": Foreign()})
    refused(tiny, tmp_path / "out", DataError, "task 'sciq' reports no `score`, so Gain is not defined")


def test_an_output_that_is_a_file_is_refused(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    study = config.parse(helpers.content(tiny), "study.yml")
    with pytest.raises(RecipeError, match="is not a directory. Choose another output directory"):
        StudyRun(study, tmp_path / "file" / "out", quiet=True).run()


def test_there_is_no_summary_where_no_study_is(tmp_path):
    with pytest.raises(DataError, match="no finished study here. Run `mergekit-finance study"):
        load_results(tmp_path)


# ---- the command


@pytest.fixture
def command(tiny, tmp_path):
    """The command in this process, as click's own runner gives it."""
    from click.testing import CliRunner

    from mergekit_finance.cli import main

    def call(*args, **changes):
        path = helpers.write(tmp_path / "study.yml", tiny, **changes)
        where = [] if "--help" in args else [str(path)]
        return CliRunner().invoke(main, ["study", *args[:1], *where, *args[1:]] if args[:1] == ("plan",) else ["study", *where, *args])  # fmt: skip

    return call


def test_the_command_prints_a_table_and_a_verdict(command, finished, tmp_path, copy):
    done = command("-o", str(copy))
    assert done.exit_code == 0, done.output
    assert (
        "Macro-Gain" in done.output
        and "Ship" in done.output
        and f"Written to {copy}/summary.json" in done.output
    )


@pytest.mark.parametrize("device", ["banana", "cuda:99", "meta"])
def test_a_device_that_is_none_is_one_line(command, tmp_path, device):
    done = command("-o", str(tmp_path / "out"), "--device", device)
    assert done.exit_code == 1 and done.output.startswith("Error: --device ") and done.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_device_of_the_file_is_checked_too(command, tmp_path):
    done = command("-o", str(tmp_path / "out"), evaluation={"device": "banana"})
    assert done.exit_code == 1 and done.output.count("\n") == 1 and "banana" in done.output


def test_a_missing_study_is_one_line(tmp_path):
    from click.testing import CliRunner

    from mergekit_finance.cli import main

    done = CliRunner().invoke(main, ["study", str(tmp_path / "no.yml"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 1 and "no such study" in done.output and done.output.count("\n") == 1


# ---- plan and budget


def test_plan_counts_before_anything_runs(command, tmp_path):
    done = command("plan", "--no-sample", "-o", str(tmp_path / "out"), workers=2)
    assert done.exit_code == 0, done.output
    assert "points      3 (stage 1: 2, stage 2: 1), and 3 models as they are; 0 stored" in done.output
    assert "items       8 a model, 2 tasks, the first 4 of each" in done.output
    assert "workers     2" in done.output and "time " not in done.output
    assert not (tmp_path / "out").exists()


def test_plan_knows_what_is_stored_and_times_a_sample(command, finished):
    done = command("plan", "-o", str(finished))
    assert done.exit_code == 0, done.output
    assert (
        "6 stored already" in done.output
        and "s of evaluation and" in done.output
        and "by a timed sample" in done.output
    )


@pytest.mark.parametrize("budget", [None, 5.0])
def test_a_plan_loads_every_task_once(tiny, tmp_path, monkeypatch, budget):
    """Its checks, its two timed samples and its budget share the tasks."""
    from lm_eval.tasks import TaskManager

    loads, load = [], TaskManager.load

    def counted(self, names):
        loads.append(names)
        return load(self, names)

    monkeypatch.setattr(TaskManager, "load", counted)
    study = config.parse(helpers.content(tiny), "study.yml")
    planning.plan(StudyRun(study, tmp_path, quiet=True, say=lambda text: None), budget)
    assert loads == [helpers.TASKS]


def test_a_study_in_one_process_loads_every_task_once(tiny, tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    loads, load = [], TaskManager.load
    monkeypatch.setattr(TaskManager, "load", lambda self, names: (loads.append(names), load(self, names))[1])
    helpers.go(tiny, tmp_path / "out", stages=[1])
    assert loads == [helpers.TASKS]


def test_plan_counts_the_checkpoints_of_a_chain(tiny, tmp_path):
    plans = []
    for chain in ("experts", "best"):
        study = config.parse(helpers.content(tiny, chain=chain), "study.yml")
        plans.append(planning.plan(StudyRun(study, tmp_path, quiet=True), sample=False))
    size = (tiny / "base" / "model.safetensors").stat().st_size
    assert plans[1].disk - plans[0].disk == pytest.approx(2 * size, rel=0.05)


@pytest.fixture
def timed(monkeypatch):
    """A machine on which an item takes ten seconds and nothing else takes time."""
    from dataclasses import replace

    calls = []

    def time_it(run, found):
        calls.append(run.limit)
        return replace(found, per_item=10.0, per_model=0.0, merge=0.0)

    monkeypatch.setattr(planning, "_timed", time_it)
    return calls


def budgeted(models, out, hours, **changes):
    study = config.parse(helpers.content(models, **changes), "study.yml")
    run = StudyRun(study, out, "cpu", study.limit, quiet=True, say=lambda text: None)
    return planning.fit(run, hours), run


def test_a_budget_is_the_largest_limit_that_fits(tiny, tmp_path, timed):
    """6 models x 2 tasks x 10 s an item: 120 s an item of the limit."""
    found, run = budgeted(tiny, tmp_path, 20 * 120 / 3600, limit=None)
    assert run.limit == 20 and found.items == dict.fromkeys(sorted(helpers.TASKS), 20)
    assert run.worker.limit == 20


def test_what_is_stored_counts_for_a_budget_at_its_own_limit_only(tiny, copy, timed):
    """6 models x 2 tasks x 10 s an item; all are stored at 4 items, which costs nothing; no other limit does."""
    _, run = budgeted(tiny, copy, 0.001, limit=4)
    assert run.limit == 4
    with pytest.raises(RecipeError, match="6 models need"):
        budgeted(tiny, copy, 0.001, limit=20)


def test_a_budget_that_fits_everything_changes_nothing(tiny, tmp_path, timed):
    assert budgeted(tiny, tmp_path, 100, limit=4)[1].limit == 4


def test_a_budget_says_what_it_costs(tiny, tmp_path, timed):
    study = config.parse(helpers.content(tiny, limit=None), "study.yml")
    run = StudyRun(study, tmp_path, "cpu", None, quiet=True)
    text = planning.text(planning.plan(run, 20 * 120 / 3600))
    assert "20 of " in text and "half width of a paired difference" in text


def test_a_budget_too_small_is_one_line_and_leaves_nothing(tiny, tmp_path, timed):
    with pytest.raises(
        RecipeError, match="--budget 0.01: 6 models need 0.27 hours even at 8 items"
    ) as caught:
        budgeted(tiny, tmp_path / "out", 0.01, limit=None)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_resumed_budget_keeps_its_limit(tiny, tmp_path, timed, monkeypatch):
    """Even on a machine that is slower by now, and with other workers: else stored results would be lost."""
    _, first = budgeted(tiny, tmp_path, 1, limit=None)
    _, again = budgeted(tiny, tmp_path, 1, limit=None, workers=2)
    assert again.limit == first.limit and len(timed) == 1
    _, other = budgeted(tiny, tmp_path, 0.5, limit=None)
    assert other.limit < first.limit and len(timed) == 2


def test_a_budget_runs(command, tmp_path):
    done = command("-o", str(tmp_path / "out"), "--budget", "5", "--limit", "4")
    assert done.exit_code == 0, done.output
    assert helpers.summary_of(tmp_path / "out")["limit"] == 4


# ---- Ctrl-C


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [True, False], ids=["terminal", "main process alone"])
def test_ctrl_c_ends_everything_and_keeps_what_is_finished(tiny, tmp_path, everyone):
    """A terminal sends it to all processes of the group; `kill -INT` to one."""
    import os

    out = tmp_path / "out"
    grid = {"task_arithmetic": {"lambda": [k / 20 for k in range(1, 21)]}}
    path = helpers.write(tmp_path / "study.yml", tiny, workers=2, operators=grid, limit=60)
    process = subprocess.Popen(
        [helpers.COMMAND, "study", str(path), "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    _wait_for(lambda: len(helpers.stamps(out)) >= 1, process)
    family = helpers.children(process.pid)
    assert len(family) >= 2
    (os.killpg if everyone else os.kill)(process.pid, signal.SIGINT)
    started = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - started < 15
    assert f"Interrupted. What is finished is kept in {out}; the same command goes on." in errors
    assert "Traceback" not in errors, errors
    assert not helpers.leftovers(out) and not (out / "summary.json").exists()
    _wait_for(lambda: not any(map(helpers.alive, family)))


def _wait_for(condition, process=None, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
