"""The driver: parts by priority, one setting per kind, a time limit, and results that are collected again and again."""

import json
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import smollm2_inputs
from helpers.smollm2_scores import study
from helpers.smollm2_study import corpora, data, evaluate, findings, plans, points, run
from safetensors.torch import load_file, save_file

import mergekit_finance

TASKS = {"tasks": ["finance_bench_fpb", "finance_bench_chabsa"], "probes": ["finance_bench_probe_j"]}
FULL = {
    "tasks": ["finance_bench_fpb", "finance_bench_chabsa"],
    "retention": ["finance_bench_retention_arc"],
    "probes": ["finance_bench_probe_j", *(f"smollm2_text_{name}" for name in corpora.TEXTS)],
}
KINDS = ("finance", "finance+math", "finance+math+japanese")
LONG = {"tasks": ["finance_bench_convfinqa"], "probes": ["finance_bench_probe_m"]}


def driver(tmp_path, **settings):
    return run.Run(
        tmp_path / "work", tmp_path / "x.gguf", tmp_path / "corpora", tmp_path / "mirror", **settings
    )


class Recorded(evaluate.Evaluation):
    """An evaluation that records the parts instead of evaluating models."""

    def _evaluate(self, run, references, points):
        done.append((run is self.long_run, len(references), [point.name for point in points]))


done = []


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    """A recorded evaluation of a base and nine experts."""
    done.clear()
    monkeypatch.setattr(evaluate.StudyRun, "prepare", lambda self: self.out.mkdir(exist_ok=True))
    monkeypatch.setattr(evaluate.StudyRun, "fingerprints", {})
    experts = {name: f"./{name}" for name in plans.expert_plans()}
    return Recorded(tmp_path / "study", "./base", experts, "lab")


def test_parts_are_evaluated_by_priority(evaluation, monkeypatch):
    chosen = dict.fromkeys(points.KINDS, points.FIRST[0])
    monkeypatch.setattr(evaluation, "settings", lambda: chosen)
    evaluation.run()
    sizes = [(is_long, references, len(names)) for is_long, references, names in done]
    assert sizes == [(False, 10, 49), (False, 0, 63), (True, 10, 63), (False, 0, 62)]
    representatives = ["stage1-finance_a", "stage1-math_a", "stage1-japanese_a", "stage2-finance_a-math_a"]
    long = [name.rsplit("-ta", 1)[0] for name in done[2][2]]
    assert set(representatives) < set(long[:7]) and long[0] == representatives[-1]
    assert long[1] == "stage3-finance_a-math_a-japanese_a"
    kinds = [points.kind_of(name.split("-")[1:]) for name in long[7:]]
    assert kinds[:8] == ["finance+math"] * 8 and kinds[8:34] == ["finance+math+japanese"] * 26
    assert len({name for _, _, names in done for name in names}) <= 49 + 63 + 56 + 6
    assert done[-1][2][56] == "stage2-finance_a-math_a-ta-lambda0.4_0.8"


def test_some_parts_can_be_left_out(evaluation, monkeypatch):
    monkeypatch.setattr(evaluation, "settings", dict)
    evaluation.parts = ("models", "more")
    evaluation.run()
    assert [(references, len(names)) for _, references, names in done] == [(10, 0), (0, 56)]


def test_settings_are_chosen_once_and_only_when_the_first_grid_is_complete(evaluation, monkeypatch):
    stored = study(items=6)
    grid = {point.name for point in evaluation.family.grid(points.FIRST)}
    found = {"missing": 1}

    def add(scores, run, models, plans):
        names = sorted(grid)[found["missing"] :]
        for name in names:
            scores.add(stored.models[name], {task: columns[name] for task, columns in stored.columns.items()})
        scores.tasks |= stored.tasks

    monkeypatch.setattr(evaluation, "_add", add)
    (evaluation.out).mkdir()
    evaluation.settings()
    assert not (evaluation.out / evaluate.CHOSEN).exists()
    found["missing"] = 0
    chosen = evaluation.settings()
    assert list(chosen) == list(points.KINDS) and all(one in points.FIRST for one in chosen.values())
    monkeypatch.setattr(evaluation, "_add", None)
    assert evaluation.settings() == chosen


def test_the_time_limit_stops_a_step_and_results_are_collected(tmp_path, monkeypatch, capsys):
    calls = []
    one = driver(tmp_path, deadline=time.monotonic() + 0.2)
    one.work.mkdir()
    monkeypatch.setattr(run.Run, "train", lambda self: calls.append("train"))
    monkeypatch.setattr(run.Run, "evaluate", lambda self: time.sleep(30))
    monkeypatch.setattr(run.Run, "collect", lambda self: calls.append("collect"))
    run.do(one, ("train", "evaluate", "collect"))
    assert calls == ["train", "collect"] and "evaluate: time is up" in capsys.readouterr().err
    run.do(one, ("train", "collect"))  # no time is left
    assert calls == ["train", "collect", "collect"]
    rows = json.loads((one.work / "steps.json").read_text())
    assert [row["step"] for row in rows] == ["train", "evaluate", "collect", "collect"]
    assert 0.1 < rows[1]["seconds"] < 10 and all(row["gib"] > 0 and row["devices"] for row in rows)


def test_a_step_ends_at_the_time_limit_also_if_the_first_signal_is_lost(tmp_path, monkeypatch, capsys):
    """As in a destructor, or in a callback of the garbage collector, whose errors Python ignores."""
    monkeypatch.setattr(run, "RING_AGAIN", 0.1)
    one = driver(tmp_path, deadline=time.monotonic() + 0.2)
    one.work.mkdir()

    def evaluate(self):
        with suppress(run.TimeUpError):
            time.sleep(30)
        time.sleep(30)

    monkeypatch.setattr(run.Run, "evaluate", evaluate)
    run.do(one, ("evaluate",))
    assert "evaluate: time is up" in capsys.readouterr().err


def test_a_step_that_fails_ends_the_run_and_what_is_finished_is_collected(tmp_path, monkeypatch, capsys):
    def fail(arguments):
        raise SystemExit("Error: not trained: math_a.")

    one = driver(tmp_path)
    one.work.mkdir()
    monkeypatch.setattr(run.train, "main", fail)
    run.do(one, ("train", "evaluate", "collect"))
    assert "train: Error: not trained: math_a." in capsys.readouterr().err
    assert sorted(path.name for path in (one.work / "results").iterdir()) == ["steps.json", "training.json"]


def test_training_gets_the_time_that_is_left(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(run.train, "main", calls.append)
    driver(tmp_path, deadline=time.monotonic() + 90, budget=5, compiled=True).train()
    assert calls[0][0] == "--all" and "--compile" in calls[0] and "--budget=5" in calls[0]
    assert calls[0][-1] in ("--minutes=1.50", "--minutes=1.49")


def lab_experts(folder, letters):
    """Write experts: the lab's, the second of a domain with a little noise."""
    weights = Path(mergekit_finance.__file__).parent / "lab" / "weights"
    for domain in corpora.DOMAINS:
        for seed, letter in enumerate(letters):
            tensors = load_file(weights / domain / "model.safetensors")
            generator = torch.Generator().manual_seed(seed)
            for name, tensor in tensors.items():
                noise = torch.randn(tensor.shape, generator=generator) * 3e-4 * seed
                tensors[name] = (tensor.float() + noise).to(tensor.dtype)
            place = folder / f"{domain}_{letter}"
            shutil.copytree(weights / domain, place)
            save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
            record = {"name": place.name, "plan": {"rate": 1, "seed": seed}, "tokens": 1, "passes": 1.0}
            record |= dict.fromkeys(("tokens_per_second", "seconds", "peak_memory"), 0)
            record |= {"held_out_before": {}, "held_out_after": {}, "device": "CPU", "sha256": "0" * 64}
            (place / "training.json").write_text(json.dumps(record))
    return weights / "base"


def evaluated(tmp_path, monkeypatch, letters, **settings):
    """Do the steps evaluate and collect with the lab's models; return the results."""
    monkeypatch.setenv("SMOLLM2_TOKENS", "")  # the driver sets it; restored after the test
    one = driver(tmp_path, settings={"limit": 4, "max_tokens": 24, "workers": 1, **settings})
    base = lab_experts(one.work / "experts", letters)
    shutil.copytree(base, one.work / "base")
    (one.work / "tokens").mkdir()
    for text in corpora.TEXTS:
        lines = [json.dumps({"text": f"{text} text number {k} of the held-out documents"}) for k in range(5)]
        (one.work / "tokens" / f"{text}.held_out.jsonl").write_text("\n".join(lines) + "\n")
    one.mirror = "lab"
    run.do(one, ("evaluate", "collect"))
    return one, findings.load(one.work / "results")


@pytest.mark.slow
def test_models_and_merges_are_evaluated_and_collected(tmp_path, monkeypatch):
    settings = {
        "short": TASKS,
        "parts": ("models", "first", "merges"),
        "first": points.FIRST[1:2],
        "long": {},
    }
    one, results = evaluated(tmp_path, monkeypatch, "a", kinds=("japanese", "finance+japanese"), **settings)
    scores = results.scores
    assert sorted(scores.models) == [
        "base", "finance_a", "japanese_a", "math_a", "stage1-japanese_a-ta-lambda0.4",
        "stage2-finance_a-japanese_a-ta-lambda0.4",
    ]  # fmt: skip
    assert scores.settings == {kind: ["task_arithmetic", [["lambda", 0.4]]] for kind in one.settings["kinds"]}
    assert all(len(of) == 6 for of in scores.columns.values()) and len(scores.columns) == 3
    assert results.similarity.base == "base" and results.similarity.models[0] == "finance_a"
    assert [row["step"] for row in results.steps] == ["evaluate"]
    first = (one.work / "results" / data.SCORES).read_bytes()
    run.do(
        one, ("evaluate", "collect")
    )  # everything is stored: nothing is evaluated, the results are the same
    assert (one.work / "results" / data.SCORES).read_bytes() == first
    alone = replace(one, settings={**one.settings, "parts": ("merges",)})
    run.do(alone, ("evaluate",))  # a command of its own, which evaluates no model besides merges
    assert set(alone.evaluation.scores().models) == set(scores.models)


@pytest.mark.simulation
def test_the_whole_study_of_six_experts_ends_in_the_tables_of_the_page(tmp_path, monkeypatch):
    settings = {
        "short": FULL,
        "long": LONG,
        "first": points.FIRST[1:2],
        "more": points.MORE[:1],
        "kinds": KINDS,
    }
    one, results = evaluated(tmp_path, monkeypatch, "ab", **settings)
    tables = findings.all_tables(results)
    assert all(len(table.splitlines()) >= 2 for table in tables.values())
    assert len(tables["effects"].splitlines()) == 2 + 2 + 3 + 4
    assert len(tables["scales"].splitlines()) == 2 + 2 and "japanese" in tables["bits"]
    assert smollm2_inputs.TEST_SENTENCE not in str(tables)
