"""The items, requests and seconds that a plan of a study counts, and its file."""

from dataclasses import replace

import pytest

from mergekit_finance.study.cost_estimate import Amounts, Range, Rates, elapsed, seconds, total
from mergekit_finance.study.cost_plan import Plan
from mergekit_finance.study.cost_text import plan_text
from mergekit_finance.study.schema.stored import PlanFile
from mergekit_finance.study.stored_answers import Part, StoredAnswers

UNMERGED, TIES = Part(0), Part(2, "ties")
RATES = Rates(
    requests={"loglikelihood": Range(1, 2), "generate_until": Range(3, 4)},
    loading=Range(5, 5),
    opening={"ties": Range(6, 8)},
    merging={"ties": Range(1, 1)},
    stage=1,
    scoring=Range(0.5, 0.5),
    capture=Range(10, 20),
    start_up=7.0,
    similarity=Range(2, 2),
)
LEFT = Amounts(
    models={UNMERGED: 2, TIES: 4},
    opened={UNMERGED: 0, TIES: 2},
    requests={(UNMERGED, "loglikelihood"): 6, (TIES, "loglikelihood"): 12, (TIES, "generate_until"): 4},
    items=3,
    experts=2,
)


def test_a_limit_bounds_the_items_of_every_task_separately():
    plan = Plan({1: 2}, 3, 0, {"a": 10, "b": 4}, {"a": 10, "b": 4}, None, 0)
    assert [plan.items_at(limit) for limit in (1, 5, 20)] == [2, 9, 14]


def test_a_stored_plan_reads_back_as_written():
    content = {"study": {"base": "b"}, "budget": 2.5, "asked_limit": None, "limit": 7}
    assert PlanFile.model_validate(content).as_json() == content


def test_seconds_are_rates_times_what_is_left():
    table = seconds(RATES, LEFT, workers=2)
    assert table["unmerged"] == {"merging": Range(10, 10), "choices": Range(6, 12), "other": Range(3, 3)}
    assert table["stage 2"]["merging"] == Range((12 + 4) * 1.5, (16 + 4) * 1.5)  # of 3 models, not 2
    assert table["stage 2"]["choices"] == Range(12, 24) and table["stage 2"]["generate"] == Range(12, 16)
    assert table["once"] == {"capture": Range(20, 40), "other": Range(2 * 7 + 2 * 2, 2 * 7 + 2 * 2)}
    assert total(table, ["choices"]) == Range(18, 36)


def test_statistics_are_counted_once_whatever_the_number_of_workers():
    table = seconds(replace(RATES, statistics=Range(3, 9)), LEFT, workers=2)
    assert table["once"]["other"] == Range(18 + 3, 18 + 9)


def test_graphs_that_serve_one_sweep_only_are_captured_for_every_combination():
    large = Rates(capture=Range(10, 20), is_kept=False)
    table = seconds(large, LEFT, workers=2)
    assert table["unmerged"]["capture"] == Range(20, 40) and table["stage 2"]["capture"] == Range(20, 40)
    assert table["once"]["capture"] == Range()


def test_workers_divide_the_time_on_the_cpu_and_share_a_gpu():
    once = Range(10 + 7 + 4, 20 + 7 + 4)
    work = total(seconds(RATES, LEFT, 1), rows=["unmerged", "stage 2"])
    answering = Range(6 + 12 + 12, 12 + 24 + 16)
    assert elapsed(RATES, LEFT, ["cpu"]) == work + once
    assert elapsed(RATES, LEFT, ["cpu"] * 2) == Range(work.low / 2, work.high / 1.8) + once
    assert elapsed(RATES, LEFT, ["cuda:0"]) == work + once
    assert elapsed(RATES, LEFT, ["cuda:0"] * 4) == Range(answering.low, work.high) + once
    assert elapsed(RATES, LEFT, ["cuda:0", "cuda:1"] * 2) == Range(work.low / 4, work.high / 2) + once
    assert elapsed(RATES, LEFT, ["cpu"] * 50).low == pytest.approx((work + once).low - work.low * 5 / 6)


def test_a_plan_fits_80_columns_and_says_that_workers_share_a_gpu():
    answers = StoredAnswers(
        10_000_000,
        {"new models": 9_000_000},
        {TIES: [0] * 4000},
        {(TIES, "generate_until", 0): 3_000_000},
        frozenset(),
    )
    plan = Plan(
        {1: 90, 2: 90, 3: 30}, 214, 3, {"a": 10_000}, {"a": 10_000}, None, 10**12, ("cuda:0",) * 4, {2: 60}, 3, RATES,
        answers=answers, captures="cuda: decoding steps are captured as CUDA graphs",
    )  # fmt: skip
    lines = plan_text(plan).splitlines()
    assert max(map(len, lines)) <= 80
    assert "Workers on one GPU share it" in plan_text(plan) and "on 4 workers" in plan_text(plan)
    header = next(line.split() for line in lines if "choices" in line and "merging" in line)
    assert header[1:] == ["merging", "choices", "generate", "rolling", "capture", "other", "all"]


def test_requests_are_counted_by_part_and_kind_up_to_a_limit():
    counts = {
        (TIES, "loglikelihood", 0): 6,
        (TIES, "loglikelihood", 5): 3,
        (UNMERGED, "generate_until", 9): 1,
    }
    answers = StoredAnswers(20, {}, {TIES: [0, 5], UNMERGED: [9]}, counts, frozenset())
    assert answers.requests_to_ask(5) == {(TIES, "loglikelihood"): 6}
    assert answers.requests_to_ask(10) == {(TIES, "loglikelihood"): 9, (UNMERGED, "generate_until"): 1}
    assert [answers.all_models_to_ask(limit) for limit in (1, 6, 10)] == [1, 2, 3]
