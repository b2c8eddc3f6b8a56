"""Adjustment of p values for several tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mergekit_finance.statistics import multiplicity


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_adjusted_p_values(p):
    by_name = {("point", k): value for k, value in enumerate(p)}
    adjusted = multiplicity.benjamini_hochberg(by_name)
    assert list(adjusted) == list(by_name)
    assert list(adjusted.values()) == pytest.approx(stats.false_discovery_control(p).tolist())
    by_holm, order = multiplicity.holm(by_name), np.argsort(p, kind="stable")
    worst = 0.0
    for rank, k in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[k]))
        assert by_holm["point", k] == pytest.approx(worst)


def test_adjusted_p_values_by_hand_and_of_no_tests():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert multiplicity.holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert multiplicity.benjamini_hochberg(p) == pytest.approx({"a": 0.02, "b": 0.04, "c": 0.04, "d": 0.02})
    assert multiplicity.holm({}) == multiplicity.benjamini_hochberg({}) == {}
