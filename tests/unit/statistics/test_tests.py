"""p-values: sign flips, McNemar plain and clustered, adjustment for many; contributions of clusters."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mergekit_finance.statistics import contrasts, influence, mcnemar, multiplicity, signflip
from mergekit_finance.statistics.scores import task_scores

whole = st.lists(st.integers(-4, 4), min_size=1, max_size=10)


def all_signs(d):
    """P(sum g d >= sum d) over every sign pattern, the slow way."""
    sums = np.array(list(product([-1, 1], repeat=len(d)))) @ np.array(d)
    return (sums >= sum(d)).mean()


def answers(rng, right, clusters, copied):
    """(models, items) right or wrong; with chance `copied` an item repeats its cluster's draw: ICC copied^2."""

    def draw(size):
        shared, noise = rng.standard_normal((1, size)), rng.standard_normal((len(right), size))
        return (shared + noise) / np.sqrt(2) < stats.norm.ppf(right)[:, None]

    independent, common = draw(len(clusters)), draw(clusters.max() + 1)[:, clusters]
    return np.where(rng.random(len(clusters)) < copied, common, independent)


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
    """Monte-Carlo error 0.6 points. Level is spent only where one constituent is as good and the other far behind."""
    icc = np.sqrt(0.3)
    assert sizes_of_p_outperform([0.6, 0.6, 0.6], ["p", "q"], icc) <= 0.062
    assert 0.03 <= sizes_of_p_outperform([0.6, 0.6, 0.2], ["p", "q"], icc) <= 0.062


def test_p_of_og_would_be_too_small_without_clusters():
    assert sizes_of_p_outperform([0.6, 0.6], ["p"], np.sqrt(0.3), sims=500, item_level=True) > 0.08


def test_p_of_og_finds_a_better_model():
    assert sizes_of_p_outperform([0.75, 0.6, 0.55], ["p", "q"], np.sqrt(0.3), sims=200) > 0.7


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


def test_contributions_add_up_and_their_error_is_the_clustered_one():
    rng = np.random.default_rng(3)
    right = {m: rng.integers(2, size=300).astype(float) for m in "mp"}
    task = task_scores("t", np.arange(300) // 3, right, "mean")
    (parts,) = influence.contributions([task], {"m": 1, "p": -1})
    direct = (right["m"] - right["p"]).reshape(100, 3).sum(1) / 300
    assert np.sort(parts) == pytest.approx(np.sort(direct))  # clusters go by name: 10 before 2
    assert influence.standard_error([parts]) == pytest.approx(stats.sem(100 * direct))
    twin = task_scores("twin", np.arange(300) // 3, {m: 1 - row for m, row in right.items()}, "mean")
    both = influence.contributions([task, twin], {"m": 1, "p": -1})
    assert len(both) == 1 and np.abs(both[0]).max() < 1e-12  # what one gains, its twin loses
    other = task_scores("other", 1000 + np.arange(300) // 3, right, "mean")
    assert [len(p) for p in influence.contributions([task, twin, other], {"m": 1})] == [100, 100]
    assert influence.standard_error(
        influence.contributions([task, other], {"m": 1, "p": -1})
    ) == pytest.approx(influence.standard_error([parts]) / np.sqrt(2))


def test_jackknife_error_of_f1_is_that_of_the_bootstrap():
    from mergekit_finance.statistics.bootstrap import bootstrap

    rng = np.random.default_rng(3)
    pairs = rng.choice(3, p=[0.6, 0.3, 0.1], size=(400, 2)).tolist()
    task = task_scores("t", np.arange(400) // 2, {"m": pairs}, "weighted_f1")
    error = influence.standard_error(influence.contributions([task], {"m": 1}))
    assert error == pytest.approx(bootstrap([task], draws=8000).scores["t"]["m"].std(), rel=0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_adjusted_p_values(p):
    by_name = {("point", k): value for k, value in enumerate(p)}
    adjusted = multiplicity.benjamini_hochberg(by_name)
    assert list(adjusted) == list(by_name)
    assert list(adjusted.values()) == pytest.approx(stats.false_discovery_control(p).tolist())
    held, order = multiplicity.holm(by_name), np.argsort(p, kind="stable")
    worst = 0.0
    for rank, k in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[k]))
        assert held["point", k] == pytest.approx(worst)


def test_adjusted_p_values_by_hand_and_of_no_tests():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert multiplicity.holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert multiplicity.benjamini_hochberg(p) == pytest.approx({"a": 0.02, "b": 0.04, "c": 0.04, "d": 0.02})
    assert multiplicity.holm({}) == multiplicity.benjamini_hochberg({}) == {}
