"""The finished part of an unfinished study: what is read, and damaged files."""

import json
import shutil

import pytest
from helpers.report import damage, page_of, report, study

from mergekit_finance.study.unfinished import FILE, load_available_results


@pytest.fixture
def unfinished(tmp_path):
    """A study of seven merges that was stopped before its last merge and its analysis."""
    out = study(
        tmp_path / "out", combinations={1: [("finance",), ("math",)], 2: [("finance", "math")]}, items=40
    )
    content = json.loads((out / "study.json").read_text())
    content |= {name: json.loads((out / f"{name}.json").read_text()) for name in ("tasks", "index")}
    for name in ("study", "tasks", "index", "summary", "similarity"):
        (out / f"{name}.json").unlink()
    (out / FILE).write_text(json.dumps(content))
    remove(out, "stage2-finance-math-ties-density0.6")
    return out


def remove(out, name):
    for place in (out / "points").glob(f"{name}-*"):
        shutil.rmtree(place)


def test_the_evaluated_part_is_answered_and_the_page_is_marked(unfinished):
    results = load_available_results(unfinished)
    assert len(results.points) == 11 and results.missing_merges == 1
    assert results.summary.combinations.keys() == {"finance", "math", "finance+math"}
    page = page_of(unfinished)
    assert "Partial: 11 of 12 merges are evaluated" in page and "effects of merging (partial)" in page
    assert "`mergekit-finance study` command" not in page  # no Markdown in HTML
    assert '<div class="ship yes">' not in page  # a part is no reason to ship


def test_of_a_search_the_winners_are_shown_and_counted(unfinished):
    """Of the four settings of each combination one is evaluated in full; here only those of stage 1 are."""
    damage(unfinished, FILE, lambda plan: plan["study"].update(search={"method": "successive_rejects"}))
    for place in (unfinished / "points").glob("stage*"):
        if not place.name.startswith(("stage1-finance-ta-lambda0.4", "stage1-math-ties-density0.2")):
            shutil.rmtree(place)
    results = load_available_results(unfinished)
    assert len(results.points) == 2 and results.missing_merges == 1
    assert results.summary.operators.operators == {} and results.summary.selection.optimism is None
    assert "Partial: 2 of 3 merges are evaluated" in page_of(unfinished)


def test_merges_of_a_model_that_is_not_evaluated_are_left_out(unfinished):
    remove(unfinished, "m2")  # math
    results = load_available_results(unfinished)
    assert results.summary.combinations.keys() == {"finance"} and "math" not in results.models


@pytest.mark.parametrize("name", ["m0", "stage"], ids=["base", "merges"])
def test_without_base_or_merges_there_is_one_line(unfinished, name):
    remove(unfinished, f"{name}*")
    done = report(unfinished)
    assert done.exit_code == 1 and "no merge of this unfinished study has been evaluated yet" in done.output
    assert len(done.output.strip().splitlines()) == 1 and not (unfinished / "report.html").exists()


FAULTS = {
    "not an object": lambda plan: plan.clear(),
    "a folder elsewhere": lambda plan: plan["index"]["models"]["base"].update(folder="../../secret"),
    "an unknown constituent": lambda plan: plan["index"]["points"][0].update(constituents=["elsewhere"]),
    "a task without facts": lambda plan: plan["tasks"].update(finance_bench_fpb={}),
    "no base": lambda plan: plan["index"]["models"].pop("base"),
    "another task": lambda plan: plan["tasks"].update(more=plan["tasks"]["finance_bench_fpb"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_plan_is_one_line(unfinished, fault):
    damage(unfinished, FILE, FAULTS[fault])
    done = report(unfinished)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert len(done.output.strip().splitlines()) == 1 and not (unfinished / "report.html").exists()


def test_a_finished_study_is_read_as_before(tmp_path):
    out = study(tmp_path / "out")
    (out / FILE).write_text("{")
    assert load_available_results(out).partial_summary is None
