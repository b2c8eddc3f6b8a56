"""McNemar's test, plain and clustered, and the p value of OG that it gives."""

import numpy as np
import pytest
from helpers.sign_flips import all_signs, answers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mergekit_finance.statistics import mcnemar
from mergekit_finance.statistics.scores import task_scores

whole = st.lists(st.integers(-4, 4), min_size=1, max_size=10)


@given(whole)
@settings(deadline=None)
def test_clustered_mcnemar_is_all_sign_patterns(d):
    assert mcnemar.clustered_mcnemar(np.array(d)) == pytest.approx(all_signs(d), abs=1e-12)


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=60))
@settings(deadline=None)
def test_clustered_mcnemar_of_single_items_is_the_exact_test(d):
    d = np.array(d)
    assert mcnemar.clustered_mcnemar(d) == pytest.approx(mcnemar.exact_mcnemar(d), abs=1e-12)


def test_exact_mcnemar_by_hand():
    """Nine better, one worse: (C(10, 9) + C(10, 10)) / 2^10."""
    assert mcnemar.exact_mcnemar(np.array([1] * 9 + [-1] + [0] * 30)) == pytest.approx(11 / 1024)
    assert mcnemar.exact_mcnemar(np.zeros(5)) == mcnemar.clustered_mcnemar(np.zeros(5, int)) == 1.0


def test_clustered_mcnemar_is_close_to_yangs_statistic():
    d = np.random.default_rng(0).integers(-3, 4, size=400)
    d[:20] = 1
    p = stats.norm.sf(d.sum() / np.sqrt((d**2).sum()))  # Yang, Sun and Hardin (2010)
    assert mcnemar.clustered_mcnemar(d) == pytest.approx(p, abs=0.01)
    assert 0.001 < p < 0.3


def test_p_of_og_is_the_largest_over_constituents():
    right = {"m": [1] * 9 + [0], "p": [0] * 9 + [1], "q": [1] * 9 + [0]}
    single = task_scores("t", range(10), right, "mean", right)
    assert mcnemar.p_outperform(single, "m", ["p"]) == pytest.approx(11 / 1024)
    assert mcnemar.p_outperform(single, "m", ["p", "q"]) == 1.0
    uneven = task_scores("t", [0, 0, 0, 0, 1, 1, 2, 2, 3, 4], right, "mean", right)
    assert mcnemar.p_outperform(uneven, "m", ["p"]) == pytest.approx(3 / 32)  # wins 4, 2, 2, 1, -1


def sizes_of_p_outperform(right, constituents, copied, sims=1500, item_level=False):
    rng = np.random.default_rng(11)
    clusters = np.repeat(np.arange(100), 4)
    names = ["m", "p", "q"][: len(right)]
    rejected = 0
    for _ in range(sims):
        right_answers = dict(zip(names, answers(rng, right, clusters, copied), strict=True))
        ids = range(400) if item_level else clusters
        task = task_scores("t", ids, {}, "mean", right_answers)
        rejected += mcnemar.p_outperform(task, "m", constituents) <= 0.05
    return rejected / sims


def test_p_of_og_keeps_its_level_with_correlated_clusters():
    """Monte-Carlo error 0.6 points. The level is reached only if one constituent is as good and the other far worse."""
    icc = np.sqrt(0.3)
    assert sizes_of_p_outperform([0.6, 0.6, 0.6], ["p", "q"], icc) <= 0.062
    assert 0.03 <= sizes_of_p_outperform([0.6, 0.6, 0.2], ["p", "q"], icc) <= 0.062


def test_p_of_og_would_be_too_small_without_clusters():
    assert sizes_of_p_outperform([0.6, 0.6], ["p"], np.sqrt(0.3), sims=500, item_level=True) > 0.08


def test_p_of_og_finds_a_better_model():
    assert sizes_of_p_outperform([0.75, 0.6, 0.55], ["p", "q"], np.sqrt(0.3), sims=200) > 0.7
