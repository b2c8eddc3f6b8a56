"""Spearman's rho against scipy, its permutation p against all permutations; power by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mergekit_finance.statistics import power
from mergekit_finance.statistics.correlation import critical, spearman, standardized_ranks

numbers = st.lists(st.integers(0, 6), min_size=3, max_size=6)


@given(numbers, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_rho_and_p_are_those_of_scipy_over_all_orders(x, random):
    y = random.sample(x, len(x))
    correlation = spearman(x, y)
    if len(set(x)) == 1:
        assert np.isnan(correlation.rho) and np.isnan(correlation.p)
        return
    assert correlation.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    every = [
        abs(float(np.corrcoef(standardized_ranks(x), standardized_ranks(o))[0, 1])) for o in permutations(y)
    ]
    assert correlation.exact and correlation.orders == len(every)
    assert correlation.p == pytest.approx(np.mean(np.array(every) >= abs(correlation.rho) - 1e-9))


def test_exact_p_is_scipys_permutation_test():
    x, y = [1, 2, 3, 4, 5, 6, 7], [2, 1, 4, 3, 7, 5, 6]

    def rho(x):
        return stats.spearmanr(x, y).statistic

    by_scipy = stats.permutation_test((x,), rho, permutation_type="pairings", n_resamples=np.inf)
    assert spearman(x, y).p == pytest.approx(by_scipy.pvalue)


def test_p_by_hand():
    """n = 4 in perfect order: 2 of 24 orders reach |rho| = 1."""
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == (
        pytest.approx(1.0),
        pytest.approx(2 / 24),
        4,
        24,
        True,
    )


def test_many_values_are_seeded_random_orders_near_scipy():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(25)
    y = x + 2 * rng.standard_normal(25)
    correlation, scipys = spearman(x, y), stats.spearmanr(x, y)
    assert (correlation.rho, correlation.orders, correlation.exact) == (
        pytest.approx(scipys.statistic),
        99_999,
        False,
    )
    assert correlation.p == pytest.approx(scipys.pvalue, rel=0.1)
    assert correlation == spearman(x, y) != spearman(x, y, seed=1)
    assert spearman(range(25), range(25), draws=999).p == 1 / 1000


def test_critical_values_are_those_of_the_tables():
    """Two-sided 5 % (Zar 1972, JASA 67:578): none below n = 5."""
    table = {5: 1.0, 6: 0.886, 7: 0.786, 8: 0.738, 9: 0.700, 10: 0.648}
    assert {n: round(critical(n), 3) for n in table} == pytest.approx(table, abs=0.006)
    assert round(critical(7), 3) == 0.786 and critical(9) == pytest.approx(0.7)
    assert np.isnan(critical(4))


def test_too_few_or_constant_values_have_no_correlation():
    assert np.isnan(spearman([1, 2], [1, 2]).rho) and np.isnan(spearman([], []).rho)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]).p)


def test_power_by_hand():
    assert power.minimum_detectable_effect(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert power.enough(100) and not power.enough(99)
    assert power.expected_half_width(0.02, 200, 100) == pytest.approx(stats.t.ppf(0.975, 99) * 0.02 * 2**0.5)
    assert power.expected_half_width(0.02, 200, 1) == float("inf")
    assert power.planning_error(300, discordant=0.3) == pytest.approx(0.0316, abs=1e-4)
