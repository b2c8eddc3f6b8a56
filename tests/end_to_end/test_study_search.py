"""`search: {method: successive_rejects}`: the same choice however the race is run, and what is not asked."""

import json
import shutil

import pytest
from helpers import study as helpers

from mergekit_finance.report.tables import dropped_settings
from mergekit_finance.report.writing import report_files
from mergekit_finance.study import worker
from mergekit_finance.study.analysis.search_wording import search_sentences
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.unfinished import load_available_results

SETTINGS = {
    "experts": ("finance",),
    "stages": [1],
    "limit": 12,
    "selection": {"share": 0.5},
    "operators": {"task_arithmetic": {"lambda": [0.2, 1.0, 5.0, 10.0]}},
    "search": {"method": "successive_rejects", "budget": 0.6},
}


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("searched") / "out"
    summary, printed = helpers.go(tiny, out, **SETTINGS)
    return out, summary, printed


def test_only_the_winner_of_each_combination_is_evaluated_in_full(searched):
    out, summary, _ = searched
    assert set(summary["races"]) == {"finance"} == set(summary["combinations"])
    for name, race in summary["races"].items():
        assert race["winner"] == summary["combinations"][name]["selected"]
        assert (race["settings"], race["items"], race["grid_answers"]) == (4, 12, 48)
        assert race["answers"] <= 0.6 * 48
        dropped = [one["point"] for of_round in race["rounds"] for one in of_round["dropped"]]
        assert len(set(dropped)) == 3 and race["winner"] not in dropped
    assert sorted(summary["points"]) == sorted(race["winner"] for race in summary["races"].values())
    assert summary["operators"] == {"operators": {}, "differences": {}}
    assert "optimism" not in summary["selection"]
    assert not helpers.leftovers(out)


def test_no_report_item_is_asked_before_the_winner_is_chosen(searched):
    """Each dropped setting has answers to at most the items of its last round, all of them selection items."""
    out, summary, _ = searched
    results = load_results(out)
    selecting = {
        (task, item)
        for task in results.macro
        for item, side in zip(results.items(task), results.is_selection_item(task), strict=True)
        if side
    }
    assert len(selecting) == 12
    asked = set()
    for place in (out / "points").iterdir():
        if "ta-lambda" in place.name and place.name not in {p["folder"] for p in summary["points"].values()}:
            rows = json.loads((place / "scores.json").read_text())
            asked |= {(task, item) for task, columns in rows.items() for item in columns["items"]}
    assert asked and asked <= selecting


def test_a_race_that_was_interrupted_ends_the_same(searched, tiny, tmp_path, monkeypatch):
    """It is interrupted in the middle of each round, and before the winner is stored."""
    whole, _, _ = searched
    out, stored = tmp_path / "out", []
    store = worker.Worker._store

    def interrupt(self, place, *rest):
        stored.append(place.name)
        if len(stored) in (3, 8, 11):
            raise KeyboardInterrupt
        store(self, place, *rest)

    monkeypatch.setattr(worker.Worker, "_store", interrupt)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            helpers.go(tiny, out, **SETTINGS)
    helpers.go(tiny, out, **SETTINGS)
    assert len(stored) == 2 + 4 + 2 + 1 + 3  # models, two rounds, the winner, and what was interrupted
    assert helpers.normal(out) == helpers.normal(whole)


def test_a_search_that_was_interrupted_has_a_partial_page(searched, tiny, tmp_path, monkeypatch):
    whole, summary, _ = searched
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "summary.json").unlink()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyRun, "_results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        helpers.go(tiny, out, **SETTINGS)
    part = load_available_results(out)
    assert part.points.keys() == summary["points"].keys() and part.missing_merges == 0
    assert part.summary.as_json()["combinations"] == summary["combinations"]
    assert b"interrupted before its last analysis" in report_files(part)["report.html"]


def test_a_finished_search_is_read_and_nothing_is_asked(searched, tiny, tmp_path, asked):
    whole, summary, _ = searched
    out = shutil.copytree(whole, tmp_path / "out")
    again, printed = helpers.go(tiny, out, **SETTINGS)
    assert again == summary and asked == [] and printed[0].endswith(" 0 to do")


def test_settings_race_by_the_objective_and_the_bound_is_decided_at_the_end(tiny, tmp_path):
    """One run of a study with `search` and `select`; the base is needed before the first round can end."""
    settings = {**SETTINGS, "tasks": helpers.TASKS[:1], "retention": helpers.TASKS[1:2]}
    select = {"maximize": {helpers.TASKS[0]: 1}, "subject_to": {"retention": -90.0}}
    summary, _ = helpers.go(tiny, tmp_path / "out", **settings, select=select)
    (race,) = summary["races"].values()
    assert race["items"] == 12 and race["answers"] <= 0.6 * 48  # half of 12 items of each of two tasks
    assert summary["objective"]["models"][race["winner"]]["keeps"] in ("surely", "perhaps")
    results = load_results(tmp_path / "out")
    said = " ".join(text for _, text in search_sentences(results.summary))
    assert (
        "no task besides those of the objective and its bounds" in said and "Whether the winners keep" in said
    )
    assert "Differences are of the objective" in dropped_settings(results).note
