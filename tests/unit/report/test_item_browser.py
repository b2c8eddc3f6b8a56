"""The item browser: which texts are in the page, and how answers are found in lm-eval's samples."""

import json
import random

import pytest
from helpers.report import damage, data_of, default_tasks, page_of, report, study

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
def test_damaged_samples_remove_only_their_texts_and_are_named(tmp_path, line, caplog):
    out = study(tmp_path / "out")
    for path in out.glob(f"points/*/samples_{FPB}.jsonl"):
        path.write_text(line + "\n")
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert shown["fpb"]["texts"] == [] and shown["docmath_cs"]["texts"]
    (message,) = caplog.messages
    assert message.startswith(str(next(out.glob(f"points/m0-*/samples_{FPB}.jsonl"))))
    assert message.endswith(" The page has no texts of fpb. To repair it, run the study again.")


@pytest.mark.parametrize(("damage", "readable"), [("truncated", 5), ("lost", 0)])
def test_a_damaged_samples_file_removes_only_its_texts_and_is_named(tmp_path, damage, readable, caplog):
    out = study(tmp_path / "out")
    path = next(out.glob("points/m1-*/samples_finance_bench_fpb.jsonl"))
    path.unlink() if damage == "lost" else path.write_text(path.read_text()[:-40])
    assert report(out).exit_code == 0
    shown = {task["label"]: task for task in data_of((out / "report.html").read_text())["tasks"]}
    assert shown["fpb"]["texts"] == [] and shown["docmath_cs"]["texts"]
    assert f"{path}: {readable} of 6 answers can be read. The page has no texts of fpb." in caplog.text


def test_a_lost_line_of_every_model_gives_no_item_the_text_of_another(tmp_path, caplog):
    out = study(tmp_path / "out")
    for path in out.glob(f"points/*/samples_{FPB}.jsonl"):
        path.write_text("".join(path.read_text().splitlines(True)[1:]))
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert shown["fpb"]["texts"] == [] and "5 of 6 items can be read" in caplog.text


@pytest.mark.parametrize("with_text", [False, True])
def test_samples_that_were_not_stored_are_mentioned_where_all_text_was_asked_for(tmp_path, caplog, with_text):
    out = study(tmp_path / "out")
    for path in out.glob("points/*/samples_*.jsonl"):
        path.unlink()
    assert all(task["texts"] == [] for task in data_of(page_of(out, with_text=with_text))["tasks"])
    assert ("no samples are stored, so the page has no text" in caplog.text) == with_text


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
