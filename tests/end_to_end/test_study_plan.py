"""`study plan` and `--budget`: the cost of a study before it runs."""

import json

import pytest
from helpers import study as helpers

from mergekit_finance.errors import RecipeError
from mergekit_finance.study import config
from mergekit_finance.study import cost as planning
from mergekit_finance.study.run import StudyRun


def test_a_plan_counts_before_anything_runs(command, tmp_path):
    done = command("plan", "--no-sample", "-o", str(tmp_path / "out"), workers=2)
    assert done.exit_code == 0, done.output
    assert "points      3 (stage 1: 2, stage 2: 1), and 3 unmerged models; 0 already scored" in done.output
    assert "items       8 per model, 2 tasks, the first 4 of each" in done.output
    assert "workers     2" in done.output and "time " not in done.output and "hours" not in done.output
    rows = [line.split() for line in done.output.splitlines()]
    assert ["unmerged", "3", "36", "12", "0"] in rows  # of 4 items: 12 options, 4 answers
    assert ["stage", "1", "2", "24", "8", "0"] in rows and ["stage", "2", "1", "12", "4", "0"] in rows
    (tokens,) = (row for row in rows if row[:1] == ["tokens"])
    assert tokens[-2:] == ["16", "generated"]  # 4 answers of 4 tokens
    assert not (tmp_path / "out").exists()


def test_a_plan_counts_what_races_ask_for(command):
    """4 settings, 8 items a task: the answers of all selection items are never asked for."""
    grid = {"task_arithmetic": {"lambda": [0.2, 0.4, 0.6, 0.8]}}
    race = {"search": {"method": "successive_rejects"}, "operators": grid, "limit": 8}
    asked = []
    for changes in ({}, race):
        done = command("plan", "--no-sample", "--json", **({"operators": grid, "limit": 8} | changes))
        assert done.exit_code == 0, done.output
        plan = json.loads(done.output[done.output.index("{") :])
        asked.append((plan["left"]["stage 1"]["generate"], plan["shares"]))
    assert asked[0] == (2 * 4 * 8, {})
    assert asked[1][0] == round(asked[0][0] * asked[1][1]["1"]) < asked[0][0]


def test_a_budget_without_a_sample_is_refused_in_one_line(command):
    done = command("plan", "--no-sample", "--budget", "1")
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert (
        "Error: --budget with --no-sample: how many items fit so many hours is known from a timed"
        in done.output
    )


@pytest.mark.parametrize("options", [("--no-sample",), ()])
@pytest.mark.parametrize("base", [None, "nobody/base"])
def test_a_plan_needs_no_models_and_fetches_none(command, tiny, monkeypatch, options, base):
    """Models of the Hub that are not on this machine: all of them, or the experts alone."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("fetched"))
    models = {"base": base or f"{tiny}/base", "experts": {"finance": {"model": "nobody/finance"}}}
    done = command("plan", *options, stages=[1], **models)
    assert done.exit_code == 0, done.output
    assert "points      1 (stage 1: 1), and 2 unmerged models" in done.output
    assert f"not here    {'nobody/base, ' if base else ''}nobody/finance: hours" in done.output
    assert "nobody/finance is not on this machine" in done.output and "time  " not in done.output


def test_a_budget_for_models_that_are_not_here_is_reported_in_one_line(command):
    done = command("plan", "--budget", "1", base="nobody/base")
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert (
        "Error: --budget: hours need a timed sample, and nobody/base is not on this machine." in done.output
    )


def test_a_plan_times_no_sample_if_every_answer_is_stored(command, finished_study):
    done = command("plan", "-o", str(finished_study))
    assert done.exit_code == 0, done.output
    assert "6 already scored" in done.output and "timing a sample" not in done.output
    assert "time        nothing is left to ask" in done.output


def test_a_plan_shows_seconds_by_stage_and_kind_and_stores_nothing(command, finished_study):
    """The table, the total and the JSON have the same numbers; they fit 80 columns."""
    before = {p: p.stat().st_mtime_ns for p in finished_study.rglob("*")}
    done = command(
        "plan", "-o", str(finished_study), "--json", operators={"task_arithmetic": {"lambda": [0.3, 0.4]}}
    )
    assert done.exit_code == 0, done.output
    plan = json.loads(done.output[done.output.index("{") :])
    assert before == {p: p.stat().st_mtime_ns for p in finished_study.rglob("*")}
    assert plan["left"]["stage 1"] == {"merging": 4, "choices": 48, "generate": 16}
    assert "unmerged" not in plan["seconds"] or not any(map(any, plan["seconds"]["unmerged"].values()))
    for row in ("stage 1", "stage 2"):
        for column in ("merging", "choices", "generate", "other"):
            low, high = plan["seconds"][row][column]
            assert 0 < low <= high
    total = [sum(cell[end] for row in plan["seconds"].values() for cell in row.values()) for end in (0, 1)]
    assert plan["elapsed_seconds"] == pytest.approx(total)  # one worker on the CPU


def test_a_sample_asks_what_is_missing_with_the_engine_of_the_study(command, finished_study, monkeypatch):
    from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM

    asked = []
    for kind in ("loglikelihood", "generate_until"):
        original = getattr(CompiledLM, kind)

        def answers(self, requests, *arguments, kind=kind, answer=original, **named):
            asked.append((kind, self.plain_reason))
            return answer(self, requests, *arguments, **named)

        monkeypatch.setattr(CompiledLM, kind, answers)
    done = command(
        "plan", "-o", str(finished_study), evaluation={"batch_size": 32, "max_gen_toks": 5, "engine": "auto"}
    )
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.output.splitlines())
    missing = [one for one in asked if one[0] == "generate_until"]
    assert missing and {reason for _, reason in asked} == {""}
    assert "choices  generate" in done.output and " to ask: 24 (new tasks, items or settings)" in done.output


def answers_line(models, out, **changes):
    """What a plan says about stored answers."""
    study = config.parse_study(helpers.content(models, **changes), "study.yml")
    run = StudyRun(study, out, "cpu", study.limit, quiet=True)
    text = planning.plan_text(planning.plan_study(run, sample=False)).replace("\n" + 12 * " ", " ")
    return text.split("\n")[1]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "96 of 96 stored"),
        ({"evaluation": {"batch_size": 1, "max_gen_toks": 4}, "resamples": 300}, "96 of 96 stored"),
        ({"limit": 6}, "96 of 144 stored; to ask: 48 (new tasks, items or settings)"),
        ({"evaluation": {"max_gen_toks": 5}}, "72 of 96 stored; to ask: 24 (new tasks, items or settings)"),
        (
            {"evaluation": {"max_gen_toks": 4, "dtype": "float32"}},
            "0 of 96 stored; to ask: 96 (stored in dtype auto)",
        ),
        (
            {"operators": {"task_arithmetic": {"lambda": [0.5, 0.25]}}},
            "96 of 144 stored; to ask: 48 (new models)",
        ),
        ({"chain": "best"}, "80 of 96 stored; to ask: 16 (new models)"),
    ],
)
def test_a_plan_says_which_answers_exist_and_why_the_others_do_not(tiny, finished_study, changes, line):
    assert answers_line(tiny, finished_study, **changes) == f"answers     {line}"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("answer_code", "other code of this package"),
        ("installed_version", "with other versions of libraries"),
    ],
)
def test_a_plan_names_code_and_versions_that_changed(tiny, finished_study, monkeypatch, function, words):
    monkeypatch.setattr(f"mergekit_finance.evaluation.keys.{function}", lambda argument: "other")
    assert f"to ask: 96 (stored {words})".replace("stored other", "stored by other") in answers_line(
        tiny, finished_study
    )


def test_a_plan_of_a_damaged_or_foreign_folder_of_answers_counts_what_can_be_read(tiny, study_copy):
    (folder,) = (study_copy / "answers").glob("math-*")
    (folder / "key.json").write_text("[1]")
    part = min(folder.glob("*.gz"))
    lost = int(part.name.split("-")[0])
    part.write_bytes(b"x")
    assert answers_line(tiny, study_copy) == (
        f"answers     {96 - lost} of 96 stored; to ask: {lost} (new tasks, items or settings)"
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
    study = config.parse_study(helpers.content(tiny), "study.yml")
    planning.plan_study(StudyRun(study, tmp_path, quiet=True, say=lambda text: None), budget)
    assert loads == [helpers.TASKS]


def test_a_plan_counts_the_checkpoints_of_a_chain(tiny, tmp_path):
    plans = []
    for chain in ("experts", "best"):
        study = config.parse_study(helpers.content(tiny, chain=chain), "study.yml")
        plans.append(planning.plan_study(StudyRun(study, tmp_path, quiet=True), sample=False))
    size = (tiny / "base" / "model.safetensors").stat().st_size
    assert plans[1].disk - plans[0].disk == pytest.approx(2 * size, rel=0.05)


@pytest.fixture
def timed(monkeypatch):
    """A machine on which an item takes ten seconds and nothing else takes time."""
    from dataclasses import replace

    from mergekit_finance.study.cost_estimate import Range, Rates

    calls = []

    def time_it(run, counted, start_up):
        calls.append(run.limit)
        of_requests = {"loglikelihood": Range(1, 10 / 3), "generate_until": Range(1, 10)}  # 3 options an item
        return replace(counted, rates=Rates(of_requests))

    monkeypatch.setattr(planning, "_timed", time_it)
    return calls


def budgeted(models, out, hours, **changes):
    study = config.parse_study(helpers.content(models, **changes), "study.yml")
    run = StudyRun(study, out, "cpu", study.limit, quiet=True, say=lambda text: None)
    planning.fit(run, hours)
    return planning._counted(run), run


def test_a_budget_is_the_largest_limit_that_fits(tiny, tmp_path, timed):
    """6 models x 2 tasks x 10 s an item: 120 s an item of the limit."""
    fitted, run = budgeted(tiny, tmp_path, 20 * 120 / 3600, limit=None)
    assert run.limit == 20 and fitted.items == dict.fromkeys(sorted(helpers.TASKS), 20)
    assert run.worker.limit == 20


def test_stored_answers_reduce_the_cost_of_a_budget_at_every_limit(tiny, study_copy, timed):
    """6 models x 2 tasks x 10 s an item; 4 items are stored, so that 8 cost 480 s, not 960."""
    _, run = budgeted(tiny, study_copy, 0.001, limit=4)
    assert run.limit == 4
    with pytest.raises(RecipeError, match="6 models need 0.13 hours even with 8 items"):
        budgeted(tiny, study_copy, 0.001, limit=20)


def test_a_budget_that_fits_everything_changes_nothing(tiny, tmp_path, timed):
    assert budgeted(tiny, tmp_path, 100, limit=4)[1].limit == 4


def test_a_budget_line_shows_how_much_wider_intervals_become(tiny, tmp_path, timed):
    study = config.parse_study(helpers.content(tiny, limit=None), "study.yml")
    run = StudyRun(study, tmp_path, "cpu", None, quiet=True)
    text = " ".join(planning.plan_text(planning.plan_study(run, 20 * 120 / 3600)).split())
    assert "20 of " in text and "a paired difference has an expected half width of" in text


def test_a_budget_too_small_is_reported_in_one_line_and_leaves_nothing(tiny, tmp_path, timed):
    with pytest.raises(
        RecipeError, match="--budget 0.01: 6 models need 0.27 hours even with 8 items"
    ) as caught:
        budgeted(tiny, tmp_path / "out", 0.01, limit=None)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_resumed_budget_keeps_its_limit(tiny, tmp_path, timed, monkeypatch):
    """Also if the machine is slower now or has other workers: another limit would discard stored results."""
    _, first = budgeted(tiny, tmp_path, 1, limit=None)
    _, again = budgeted(tiny, tmp_path, 1, limit=None, workers=2)
    assert again.limit == first.limit and len(timed) == 1
    _, other = budgeted(tiny, tmp_path, 0.5, limit=None)
    assert other.limit < first.limit and len(timed) == 2


def test_a_budget_runs(command, tmp_path):
    done = command("-o", str(tmp_path / "out"), "--budget", "5", "--limit", "4")
    assert done.exit_code == 0, done.output
    assert helpers.summary_of(tmp_path / "out")["limit"] == 4
