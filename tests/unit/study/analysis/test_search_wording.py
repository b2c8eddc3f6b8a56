"""What a search did not ask, in the verdict, the report's tables and the card."""

import pytest
from helpers.synthetic import noisy, noisy_summary

from mergekit_finance.report.tables import tables
from mergekit_finance.study.analysis import search_wording
from mergekit_finance.study.schema import Dropped, RaceResult, RaceRound


def dropped(value, difference, error):
    name = f"stage1-finance-ta-lambda{value}"
    return Dropped(
        point=name,
        operator="task_arithmetic",
        values={"lambda": value},
        difference=difference,
        standard_error=error,
    )


RACES = {
    "finance": RaceResult(
        settings=4,
        points=4,
        items=100,
        winner="stage1-finance-ta-lambda0.5",
        rounds=[
            RaceRound(
                items=10, settings=4, points=4, dropped=[dropped(0.1, -0.2, None), dropped(1.0, -0.1, None)]
            ),
            RaceRound(items=20, settings=2, points=2, dropped=[dropped(0.2, -0.034, 0.016)]),
        ],
        answers=140,
        grid_answers=400,
    ),
    "math": RaceResult(settings=1, points=1, items=100, winner="p", answers=100, grid_answers=100),
}


@pytest.fixture
def summary(tmp_path):
    return noisy_summary(tmp_path).model_copy(update={"races": RACES})


def test_the_verdict_says_what_was_asked_and_what_was_dropped(summary):
    texts = [text for about, text in search_wording.search_sentences(summary) if about == "search"]
    assert "asked for 48.0 % (240 of 500) of the answers" in texts[0]
    assert "3 of 5 settings were dropped" in texts[0]
    assert texts[1] == (
        "finance: 4 settings answered 10 of 100 items, the best 2 of them 20, the winner all: 35.0 % of the "
        "answers."
    )
    assert texts[2] == "math: 1 setting, no race, 100 items."
    assert "48.0 % (240 of 500)" in search_wording.search_note(summary)


def test_rounds_without_new_items_are_said_to_be_so_with_the_reason(summary):
    reason = "Some rounds asked for no new items, because a round has at least one cluster of every task."
    assert reason not in str(list(search_wording.search_sentences(summary)))
    race = RACES["finance"]
    first, second = race.rounds
    same = race.model_copy(update={"rounds": [first, second.model_copy(update={"items": first.items})]})
    few = summary.model_copy(update={"races": {"finance": same}})
    assert reason in str(list(search_wording.search_sentences(few)))


def test_a_full_grid_has_nothing_to_say(summary):
    full = summary.model_copy(update={"races": None})
    assert list(search_wording.search_sentences(full)) == [] and search_wording.search_note(full) == ""


def test_the_report_lists_every_dropped_setting_with_its_round(summary, tmp_path):
    results = noisy(tmp_path)
    vars(results)["summary"] = summary
    (table,) = [table for table in tables(results) if table.name == "dropped"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["base + finance", "TA λ 0.1", "1", "2", "10", "100", "-20.0", ""],
        ["base + finance", "TA λ 1", "1", "2", "10", "100", "-10.0", ""],
        ["base + finance", "TA λ 0.2", "2", "2", "20", "100", "-3.4", "1.6"],
    ]
    vars(results)["summary"] = summary.model_copy(update={"races": None})
    assert "dropped" not in [table.name for table in tables(results)]
