"""Gain and Outperform Gap, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergekit_finance.statistics import outperform
from mergekit_finance.statistics.bootstrap import Replicates
from mergekit_finance.statistics.contrasts import score

scores = st.lists(st.floats(0, 1), min_size=1, max_size=5)


def test_gain_is_against_the_mean_and_og_against_the_best():
    assert outperform.point_gain(0.6, [0.2, 0.5]) == pytest.approx(0.25)
    assert outperform.point_gap(0.6, [0.2, 0.5]) == pytest.approx(0.1)
    assert outperform.point_gap(0.4, [0.2, 0.5]) == pytest.approx(-0.1)


def test_macros_worked_out_by_hand():
    observed = {"a": {"m": 0.5, "x": 0.25, "y": 0.75}, "b": {"m": 0.9, "x": 0.5, "y": 0.7}}
    draws = {
        task: {model: np.full(200, value) for model, value in row.items()} for task, row in observed.items()
    }
    replicates = Replicates(observed, draws, dict.fromkeys(observed, 100), {task: task for task in observed})

    def values(tasks):
        gain = outperform.gain(replicates, tasks, "m", ["x", "y"])
        return gain.value, outperform.outperform_gap(replicates, tasks, "m", ["x", "y"]).value

    assert values(["a"]) == pytest.approx((0.0, -0.25))
    assert values(["b"]) == pytest.approx((0.3, 0.2))
    assert values(["a", "b"]) == pytest.approx((0.15, -0.025))
    for model, macro in (("m", 0.7), ("x", 0.375), ("y", 0.725)):
        assert score(replicates, ["a", "b"], model).value == pytest.approx(macro)


@given(st.floats(0, 1), scores)
def test_og_is_never_above_gain(merged, constituents):
    assert outperform.point_gap(merged, constituents) <= outperform.point_gain(merged, constituents) + 1e-12


@given(st.floats(0, 1))
def test_a_merge_of_copies_gains_nothing(score):
    assert (
        outperform.point_gain(score, [score, score]) == pytest.approx(0)
        and outperform.point_gap(score, [score, score]) == 0
    )
