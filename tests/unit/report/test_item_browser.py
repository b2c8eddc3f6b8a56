"""The item browser: which texts are in the page, and how answers are found in lm-eval's samples."""

import json
import random

import pytest
from helpers.report import damage, data_of, default_tasks, page_of, study

from mergekit_finance.report import item_browser
from mergekit_finance.report.figures import draw_all
from mergekit_finance.report.page import page
from mergekit_finance.study.results import load_results


def test_text_appears_only_where_it_may_be_shared(tmp_path):
    tasks = default_tasks()
    tasks["finance_bench_fpb"]["text_may_be_shared"] = False
    out = study(tmp_path / "out", tasks=tasks, text="SECRET", reply="SAID")
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert (
        shown["fpb"]["texts"] == []
        and shown["fpb"]["may"] is False
        and shown["fpb"]["hashes"][0] == "abc" * 4
    )
    assert len(shown["docmath_cs"]["texts"]) == 6
    page = page_of(out, with_text=True)
    assert "contains dataset text: do not share" in page
    assert all(task["texts"] for task in data_of(page)["tasks"])


def test_text_is_hidden_unless_the_datasets_permission_is_true(tmp_path):
    tasks = default_tasks()
    tasks["finance_bench_fpb"]["text_may_be_shared"] = "yes"
    del tasks["finance_bench_docmath_cs"]["text_may_be_shared"]
    stored = load_results(study(tmp_path / "out", tasks=tasks))
    assert not stored.text_allowed("finance_bench_fpb")
    assert not stored.text_allowed("finance_bench_docmath_cs") and not stored.text_allowed("unheard of")


def test_text_is_shown_only_if_both_files_allow_it(tmp_path):
    out = study(tmp_path / "out")
    damage(out, "summary.json", lambda s: s["tasks"]["finance_bench_fpb"].update(text_may_be_shared=False))
    assert not load_results(out).text_allowed("finance_bench_fpb") and load_results(out).text_allowed(
        "finance_bench_docmath_cs"
    )


def test_a_page_of_long_texts_stays_under_5_mb(tmp_path):
    out = study(tmp_path / "out", items=240, text="問い" * 900, reply="答え" * 400)
    page = page_of(out)
    assert 3_000_000 < len(page.encode()) < 5_000_000
    counts = [len(task["texts"]) for task in data_of(page)["tasks"]]
    assert min(counts) > 20 and max(counts) - min(counts) <= 1


def test_a_page_of_210_merges_stays_under_5_mb(tmp_path):
    """Use as many points, tasks and items as the study of the lab, and draw the largest figure."""
    rng = random.Random(0)
    kinds = [["finance"], ["finance", "math"], ["finance", "japanese"], ["math"]]
    tasks = {
        f"finance_bench_task_{i}": {**default_tasks()["finance_bench_fpb"], "skills": kinds[i % 4]}
        for i in range(22)
    } | {"finance_bench_retention_arc": default_tasks()["finance_bench_retention_arc"]}
    pairs = [("finance", "math"), ("finance", "japanese"), ("math", "japanese")]
    combinations = {
        1: [("finance",), ("math",), ("japanese",)],
        2: pairs,
        3: [("finance", "math", "japanese")],
    }
    grid = [i / 10 for i in range(1, 11)]
    operators = {"task_arithmetic": grid, "ties": grid, "dare_ties": grid}
    out = study(tmp_path / "out", tasks, combinations, operators, items=64, text="問い" * 200)
    damage(
        out,
        "summary.json",
        lambda s: [_vary(rng, task) for x in s["selected"].values() for task in x["tasks"].values()],
    )
    results = load_results(out)
    assert len(results.points) == 210 and len(page(results).encode()) < 5_000_000
    (size,) = (len(drawn.png()) for drawn in draw_all(results, ["2-gain-and-og"]))
    assert size < 1_500_000


def _vary(rng, task):
    """Give every cell of the heatmaps another value: this makes the pictures large."""
    for key in ("gain", "og"):
        value = rng.gauss(0, 0.2)
        task[key] = [value, value - 0.1, value + 0.1]


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000

FPB = "finance_bench_fpb"


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        '{"doc_id": 1e999, "filtered_resps": ["a"]}',
        '{"doc_id": 0, "filtered_resps": ' + "[" * 100_000,
        '{"doc_id": 0, "arguments": 5, "filtered_resps": ["a"]}',
        '{"doc_id": 0, "arguments": [5], "filtered_resps": ["a"]}',
    ],
    ids=["deep", "infinite", "deep replies", "no arguments", "odd arguments"],
)
def test_damaged_samples_remove_only_their_texts(tmp_path, line):
    out = study(tmp_path / "out")
    for path in out.glob(f"points/*/samples_{FPB}.jsonl"):
        path.write_text(line + "\n")
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert shown["fpb"]["texts"] == [] and shown["docmath_cs"]["texts"]


def test_a_truncated_samples_file_removes_only_its_texts(tmp_path):
    out = study(tmp_path / "out")
    path = next(out.glob("points/m0-*/samples_finance_bench_fpb.jsonl"))
    path.write_text(path.read_text()[:-40])
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert shown["fpb"]["texts"] == [] and shown["docmath_cs"]["texts"]


def test_responses_are_found_in_misleading_lines():
    rows = [
        {"doc": {"x": '"filtered_resps": ["no"]'}, "doc_id": 1, "filtered_resps": ['say "filtered_resps": [1]'], "score": 1},
        {"doc_id": 0, "filtered_resps": [["-1.5", "True"], ["-0.5", "False"]]},
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    assert item_browser.responses_in(lines) == [row["filtered_resps"] for row in reversed(rows)]


def test_a_choice_is_shown_by_its_option():
    row = {
        "arguments": {"a": {"0": "Q", "1": " yes"}, "b": {"0": "Q", "1": " no"}},
        "doc": {"gold_index": 0},
        "target": "0",
    }
    assert item_browser.answer_text(row, [["-1.5", "True"], ["-0.5", "False"]]).strip() == "no"
    assert item_browser.target(row) == "yes"
    assert item_browser.answer_text(row, []) == ""


@pytest.mark.parametrize(
    ("arguments", "pairs"),
    [
        (
            [["Q", "yes"], ["Q", "no"]],
            [("Q", "yes"), ("Q", "no")],
        ),  # choices, as lm-eval's live samples have them
        (
            {"gen_args_0": {"arg_0": "Q", "arg_1": {"until": []}}},
            [("Q", {"until": []})],
        ),  # as its files have them
        ({}, [("", "")]),
    ],
)
def test_the_requests_of_a_sample_are_prompts_and_continuations(arguments, pairs):
    assert item_browser._requests({"arguments": arguments}) == pairs
