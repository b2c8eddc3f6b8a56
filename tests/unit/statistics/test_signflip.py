"""p values from random sign flips of clusters."""

import numpy as np
import pytest
from helpers.sign_flips import all_signs, answers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mergekit_finance.statistics import contrasts, influence, signflip
from mergekit_finance.statistics.scores import task_scores


@given(st.lists(st.integers(-24, 24).map(lambda k: k / 8), min_size=1, max_size=9))
@settings(deadline=None, max_examples=40)
def test_random_sign_flips_are_close_to_all_sign_patterns(values):
    exact = all_signs([v for v in values if v])
    assert signflip.p_greater(np.array(values), flips=4000) == pytest.approx(exact, abs=0.05)


def test_sign_flips_depend_on_the_seed_and_not_on_the_block_size(monkeypatch):
    values = np.random.default_rng(0).standard_normal(50) + 0.2
    first = signflip.p_greater(values, seed=1)
    assert (
        first == signflip.p_greater([values[:20], values[20:]], seed=1) != signflip.p_greater(values, seed=2)
    )
    assert first == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue, rel=0.2)
    assert signflip.p_two_sided(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.2)
    assert signflip.p_greater(values, flips=99) >= 0.01
    assert signflip.p_greater(np.zeros(4)) == signflip.p_two_sided(np.zeros(4)) == 1.0
    monkeypatch.setattr(signflip, "BLOCK", 1000)
    assert signflip.p_greater(values) == pytest.approx(first, abs=0.02)


@pytest.mark.parametrize("merged", [0.6, 0.7])
def test_p_of_gain_keeps_its_level_and_has_power(merged):
    """Unequal clusters, ICC 0.3, two tasks of which one is a twin; F1 of (gold, pred) on one of them."""
    rng, sims, rejected = np.random.default_rng(7), 600, 0
    clusters = np.repeat(np.arange(120), rng.integers(1, 5, size=120))
    for _ in range(sims):
        first, second = (answers(rng, [merged, 0.6, 0.6], clusters, np.sqrt(0.3)) for _ in range(2))
        gold = rng.integers(2, size=len(clusters))
        pairs = {
            m: [*zip(gold, np.where(row, gold, 1 - gold), strict=True)]
            for m, row in zip("mpq", first, strict=True)
        }
        tasks = [
            task_scores("f1", clusters, pairs, "weighted_f1"),
            task_scores("twin", clusters, dict(zip("mpq", second, strict=True)), "mean"),
        ]
        parts = influence.contributions(tasks, contrasts.gain_weights("m", ["p", "q"]))
        rejected += signflip.p_greater(parts, flips=399) <= 0.05
    assert rejected / sims > 0.85 if merged > 0.6 else 0.025 <= rejected / sims <= 0.075
