"""Gain and Outperform Gap, against cases worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergekit_finance.errors import DataError
from mergekit_finance.statistics import gain

scores = st.lists(st.floats(0, 1), min_size=1, max_size=5)


def test_gain_is_against_the_mean_and_og_against_the_best():
    assert gain.gain(0.6, [0.2, 0.5]) == pytest.approx(0.25)
    assert gain.outperform_gap(0.6, [0.2, 0.5]) == pytest.approx(0.1)
    assert gain.outperform_gap(0.4, [0.2, 0.5]) == pytest.approx(-0.1)


def test_a_table_worked_out_by_hand():
    merged = {"a": 0.5, "b": 0.9}
    found = gain.table(merged, {"x": {"a": 0.25, "b": 0.5}, "y": {"a": 0.75, "b": 0.7}})
    assert found["tasks"]["a"] == {
        "merged": 0.5,
        "gain": 0.0,
        "og": -0.25,
        "constituents": {"x": 0.25, "y": 0.75},
    }
    assert found["tasks"]["b"]["gain"] == pytest.approx(0.3)
    assert found["macro"]["gain"] == pytest.approx(0.15)
    assert found["macro"]["og"] == pytest.approx(-0.025)
    assert found["macro"]["merged"] == pytest.approx(0.7)
    assert found["macro"]["constituents"] == {"x": pytest.approx(0.375), "y": pytest.approx(0.725)}


@given(st.floats(0, 1), scores)
def test_og_is_never_above_gain(merged, constituents):
    assert gain.outperform_gap(merged, constituents) <= gain.gain(merged, constituents) + 1e-12


@given(st.floats(0, 1))
def test_a_merge_of_copies_gains_nothing(score):
    assert (
        gain.gain(score, [score, score]) == pytest.approx(0)
        and gain.outperform_gap(score, [score, score]) == 0
    )


def test_scores_are_the_leaf_tasks_primary_metrics():
    results = {
        "results": {"t": {"score,none": 0.5, "acc,none": 0.1}, "group": {"score,none": 0.9}},
        "configs": {"t": {}},
    }
    assert gain.scores(results) == {"t": 0.5}


def test_a_task_without_a_score_is_named():
    with pytest.raises(DataError, match="task 't' reports no `score`"):
        gain.scores({"results": {"t": {"acc,none": 0.1}}, "configs": {"t": {}}})
