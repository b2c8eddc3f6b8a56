"""The training of the lab: the grid, the rule of choice, and the whole command at toy size on the CPU."""

import json
import os
import tarfile
import time
from dataclasses import replace
from multiprocessing import Queue

import pytest
import torch
from helpers.lab_training import criteria, packing, plans, profile, prompts, sweep, train

from mergekit_finance.lab import ROLES

GOOD = {
    "relative_norm": 0.1, "cosine": 0.995, "skill_gain": 0.3, "skill": 0.8, "retention_lost": 8.0,
    "lowest_other": 0.0,
}  # fmt: skip
SMALL = {"steps": 3, "documents": 60, "batch": 2}
ROWS_OF_TOY = 2


@pytest.fixture(autouse=True)
def one_thread():
    """A second thread slows down the training of a model this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fixed_scores(monkeypatch):
    """Replace the evaluation, which takes seconds per model: the expert of the highest rate has the highest skill."""
    calls = []

    def scores(folder, limit, roles, tasks, max_gen_toks, device):
        (name,) = roles
        calls.append((folder.name, name))
        share = 0.4 if name == "base" else 0.7 if "rate0.002" in name else 0.5
        lost = 0.0 if name == "base" else 0.08
        scores = {task: 0.4 - lost if task.startswith("retention") else share for task in tasks}
        return {
            task: {name: {"score": s, "above_chance": s, "low": s, "high": s}} for task, s in scores.items()
        }

    monkeypatch.setattr(profile, "profile", scores)
    return calls


def toy(out, **changes):
    settings = {
        "out": out,
        "seeds": (0, 1),
        "base": replace(plans.BASE, **SMALL),
        "expert": replace(plans.EXPERT, **SMALL),
        "grid": plans.Grid((2e-3, 1e-5), (3,), (0.5,)),
        "limit": ROWS_OF_TOY,
    }
    return sweep.Sweep(**{**settings, **changes})


def test_the_grid_has_every_combination_once_and_the_longest_first():
    every = plans.GRID.plans(plans.EXPERT)
    count = len(plans.GRID.rates) * len(plans.GRID.steps) * len(plans.GRID.general)
    assert len({plan.name for plan in every}) == len(every) == count
    assert every[0].steps == max(plans.GRID.steps) and every[-1].steps == min(plans.GRID.steps)
    assert all(0 < plan.general < 1 for plan in every)


@pytest.mark.parametrize("role", criteria.SKILL)
def test_the_shipped_experts_are_candidates_of_the_grid(role):
    assert plans.plan_for(role) in plans.GRID.plans(replace(plans.EXPERT, role=role))


def test_the_candidate_within_all_bounds_and_closest_to_the_middle_is_chosen():
    candidates = {
        "short": {**GOOD, "relative_norm": 0.06},
        "middle": {**GOOD, "relative_norm": 0.11},
        "closer but saturated": {**GOOD, "relative_norm": 0.1, "skill": 1.0},
    }
    assert sweep.choose(candidates) == "middle"


def test_without_one_within_all_bounds_the_smallest_total_miss_is_chosen():
    candidates = {
        "too far": {**GOOD, "relative_norm": 0.3},  # 1.5
        "no skill": {**GOOD, "skill_gain": 0.1},  # 0.5
        "two": {**GOOD, "skill_gain": 0.15, "retention_lost": 21.0},  # 0.25 + 0.5
    }
    assert sweep.choose(candidates) == "no skill"


def test_rows_of_the_base_are_a_share_of_all_rows():
    domain, general = packing.corpus("math", 400), packing.corpus("base", 400)
    mixed = packing.mixed(domain, general, 0.25)
    assert mixed.ids.shape == mixed.segment.shape == mixed.weight.shape
    assert len(mixed) - len(domain) == round(len(domain) / 3)
    assert (mixed.ids[len(domain) :] == general.ids[: len(mixed) - len(domain)]).all()
    few = packing.mixed(domain, general.rows(10), 0.5)
    assert len(few) == 20 and (few.ids[:10] == domain.ids[:10]).all()
    assert packing.mixed(domain, general, 0.0) is domain


def test_packed_rows_are_stored_and_read(tmp_path):
    rows = packing.corpus("math", 60)
    rows.save(tmp_path / "rows.npz")
    again = packing.Packed.load(tmp_path / "rows.npz")
    assert all((getattr(rows, a) == getattr(again, a)).all() for a in ("ids", "segment", "weight"))


def test_held_out_documents_are_in_no_part_of_a_corpus():
    assert packing.HELD_OUT_PART * packing.PART > plans.BASE.documents
    held_out = {row.tobytes() for row in packing.held_out("base").ids}
    assert len(held_out) >= plans.BASE.batch
    assert not held_out & {row.tobytes() for row in packing.pack_part("base", 3000, 0).ids}


def test_training_stops_at_a_deadline_and_goes_on_to_the_same_weights(tmp_path):
    rows, held_out = packing.corpus("base", 60), packing.corpus("base", 20)
    plan = replace(plans.BASE, **SMALL)
    whole = train.Trainer(plan, tmp_path / "whole", rows, held_out=held_out)
    assert whole.run() and [step for step, _ in whole.held_out_losses] == [3]
    cut = train.Trainer(plan, tmp_path / "cut", rows, held_out=held_out)
    assert not cut.run(deadline=time.monotonic()) and cut.step == 1
    resumed = train.Trainer(plan, tmp_path / "cut", rows, held_out=held_out)
    resumed.resume()
    assert resumed.step == 1 and resumed.run()
    assert resumed.held_out_losses == whole.held_out_losses
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_flatness_is_the_fall_of_the_loss_in_the_last_fifth():
    curve = [
        [1000 * n, loss] for n, loss in zip(range(1, 11), [9, 8, 7, 6, 5, 4, 3, 2.2, 2.1, 2.0], strict=True)
    ]
    assert sweep.flatness(curve) == pytest.approx(0.1)
    assert sweep.flatness([[3, 2.0]]) == 0.0


@pytest.mark.simulation
def test_the_whole_command_trains_chooses_and_collects_and_does_nothing_twice(tmp_path, fixed_scores, capsys):
    sweep.run(toy(tmp_path))
    chosen = json.loads((tmp_path / "choice.json").read_text())["chosen"]
    assert chosen == {role: f"grid/{role}-rate0.002-steps3-general0.5" for role in criteria.SKILL}
    assert len(fixed_scores) == 2 + 3 * 2 + 3  # two bases, six candidates, the experts of seed 1
    weights = {
        (seed, role): (tmp_path / f"seed{seed}" / role / "model.safetensors").read_bytes()
        for seed in (0, 1)
        for role in ROLES
    }
    assert len(set(weights.values())) == 8
    assert weights[0, "math"] == (tmp_path / "seed0" / chosen["math"] / "model.safetensors").read_bytes()
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"report.md", "results.json", "seed0.tar.gz", "seed1.tar.gz"}
    with tarfile.open(tmp_path / "results" / "seed1.tar.gz") as archive:
        members = set(archive.getnames())
    assert {"math/model.safetensors", "profile.json", "criteria.json"} <= members
    report = capsys.readouterr().out
    assert "## Candidates: math" in report and "math-rate0.002-steps3-general0.5 (chosen)" in report
    assert (
        "## Criteria: seed 1" in report and "own skill minus that of the base | at least 0.2 | 0.30" in report
    )
    card = (tmp_path / "seed0" / "math" / "README.md").read_text()
    assert "`python -m training.sweep --out DIR`" in card and "| rows of the base's corpus | 50% |" in card
    sweep.run(toy(tmp_path))
    assert len(fixed_scores) == 2 + 3 * 2 + 3


def test_a_run_that_is_stopped_for_time_goes_on_where_it_stopped(tmp_path, fixed_scores, monkeypatch):
    late = toy(tmp_path)
    do_base = sweep.STEPS["base"]
    monkeypatch.setitem(sweep.STEPS, "base", lambda s: do_base(replace(s, deadline=time.monotonic() - 1)))
    with pytest.raises(SystemExit, match="base: time is up, 2 of 2 models are not finished. Run the same"):
        sweep.run(late)
    assert (tmp_path / "seed0" / "checkpoints" / "base.pt").is_file() and not fixed_scores
    monkeypatch.setitem(sweep.STEPS, "base", do_base)
    sweep.train_base(late)
    assert fixed_scores == [("seed0", "base"), ("seed1", "base")]
    assert not (tmp_path / "seed0" / "checkpoints" / "base.pt").exists()


def test_without_time_nothing_is_trained_and_results_say_so(tmp_path, fixed_scores):
    with pytest.raises(SystemExit, match="corpora: time is up, no time left"):
        sweep.run(toy(tmp_path, deadline=time.monotonic() - 1))
    assert json.loads((tmp_path / "results" / "results.json").read_text())["choice"] is None


def test_a_folder_of_other_settings_is_refused(tmp_path, fixed_scores):
    with pytest.raises(SystemExit):
        sweep.run(toy(tmp_path, deadline=time.monotonic() - 1))
    with pytest.raises(
        SystemExit, match="settings.json has other settings. Delete .* or choose another --out"
    ):
        sweep.run(toy(tmp_path, limit=3))


def test_a_model_is_evaluated_on_the_tasks_that_are_asked_for(tmp_path):
    small = toy(tmp_path, tasks=("fpb", "retention_arc"))
    sweep.write_corpora(small)
    sweep.train_base(small)
    stored = json.loads((tmp_path / "seed0" / "base" / "profile.json").read_text())
    assert stored["limit"] == ROWS_OF_TOY and list(stored["tasks"]) == ["fpb", "retention_arc"]
    assert set(stored["tasks"]["fpb"]) == {"score", "above_chance", "low", "high"}


@pytest.mark.simulation
def test_jobs_run_side_by_side_in_processes_and_failures_are_named(tmp_path):
    small = toy(tmp_path, tasks=("fpb",), workers=2, seeds=(0, 1))
    sweep.write_corpora(small)
    base = sweep.Job("base", small.plan(small.base, 0, "base"))
    orphan = sweep.Job("math", small.plan(small.expert, 1, "math"))  # seed 1 has no base
    with pytest.raises(
        SystemExit, match=r"Error: not trained: seed 1 math \(SystemExit: Error: .*base is missing"
    ):
        sweep.do_jobs(small, [base, orphan])
    assert (tmp_path / "seed0" / "base" / "profile.json").is_file()


def test_processes_are_spread_over_gpus(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    gpus = Queue()
    for number in (1, 0):
        gpus.put(number)
    for _ in range(2):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        sweep.begin_worker(1, gpus)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["1", "0"]


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit):
        sweep.main(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("--minutes", "--scale", "--workers", "rule of choice"))
    assert set(prompts.PROMPTS) == set(sweep.Sweep(out=None).tasks)
