"""Gain and OG by hand, and what their intervals must satisfy; coverage is simulated in test_intervals_coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.statistics import contrasts, outperform
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.scores import task_scores

CONSTITUENTS = ["p", "q", "r"]


def replicates(observed, noise=0.0, draws=500, clusters=100_000, seed=0):
    """Made-up replicates: normal noise around the observed scores, every task its own stratum."""
    rng = np.random.default_rng(seed)
    scores = {
        t: {m: s + noise * rng.standard_normal(draws) for m, s in row.items()} for t, row in observed.items()
    }
    return Replicates(observed, scores, dict.fromkeys(observed, clusters), {t: t for t in observed})


def random_tasks(seed, tasks=3, clusters=40):
    rng = np.random.default_rng(seed)
    return [
        task_scores(
            f"t{t}",
            [f"{t}/{k // 2}" for k in range(2 * clusters)],
            {m: rng.integers(2, size=2 * clusters) for m in ["m", *CONSTITUENTS]},
            "mean",
        )
        for t in range(tasks)
    ]


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_values_are_those_without_intervals(seed, tasks, constituents):
    simulated, chosen = random_tasks(seed, tasks), CONSTITUENTS[:constituents]
    resampled = bootstrap(simulated, draws=20)
    gains, gaps = [], []
    for task in simulated:
        others = [task.score(p) for p in chosen]
        gains.append(outperform.point_gain(task.score("m"), others))
        gaps.append(outperform.point_gap(task.score("m"), others))
        gain = outperform.gain(resampled, [task.task], "m", chosen)
        assert gain.value == pytest.approx(gains[-1], abs=1e-12)
        gap = outperform.outperform_gap(resampled, [task.task], "m", chosen)
        assert gap.value == pytest.approx(gaps[-1], abs=1e-12)
    assert outperform.gain(resampled, resampled.tasks, "m", chosen).value == pytest.approx(np.mean(gains))
    macro = outperform.outperform_gap(resampled, resampled.tasks, "m", chosen)
    assert macro.value == pytest.approx(np.mean(gaps), abs=1e-12)
    assert macro.low <= macro.value <= macro.high


def test_og_of_one_task_by_hand():
    """Bounds of m - p at 0, 1, ..., 100 hundredths and of m - q twice as far out: Bonferroni at two constituents."""
    steps = np.arange(1, 1000) / 1000
    observed = {"t": {"m": 0.5, "p": 0.2, "q": 0.1}}
    draws = {"m": np.zeros(999), "p": -steps, "q": 0.3 - 2 * steps}
    resampled = Replicates(observed, {"t": draws}, {"t": 10**9}, {"t": "t"})
    og = outperform.outperform_gap(resampled, ["t"], "m", ["p", "q"])
    assert og.value == pytest.approx(0.3)
    assert og.low == pytest.approx(min(0.025, -0.3 + 2 * 0.025))
    assert og.high == pytest.approx(min(0.9875, -0.3 + 2 * 0.9875))


def test_with_one_constituent_og_is_the_difference_from_it():
    resampled = bootstrap(random_tasks(4), draws=400)
    for names in (["t0"], ["t0", "t1", "t2"]):
        og = outperform.outperform_gap(resampled, names, "m", ["p"])
        assert tuple(og) == pytest.approx(tuple(contrasts.difference(resampled, names, "m", "p")), abs=1e-12)
        assert tuple(og) == pytest.approx(tuple(outperform.gain(resampled, names, "m", ["p"])), abs=1e-12)


def test_constituents_far_behind_do_not_change_macro_og():
    """N_t is one constituent then, and the interval that of the contrast with it."""
    resampled = replicates({t: {"m": 0.6, "p": 0.5, "q": 0.1} for t in "abcd"}, noise=0.02)
    both, one = (outperform.outperform_gap(resampled, list("abcd"), "m", k) for k in (["p", "q"], ["p"]))
    assert tuple(both) == pytest.approx(tuple(one), abs=1e-12)


def test_tied_constituents_raise_the_upper_end_only_as_far_as_the_bias():
    """With equal scores the observed minimum is low by E max(z1, z2) = 0.56 of a constituent's error."""
    tasks = [f"t{k}" for k in range(16)]
    resampled = replicates({t: {"m": 0.6, "p": 0.5, "q": 0.5} for t in tasks}, noise=0.02, draws=20_000)
    both, one = (outperform.outperform_gap(resampled, tasks, "m", k) for k in (["p", "q"], ["p"]))
    assert both.low == pytest.approx(one.low, abs=1e-3)
    assert both.high - one.high == pytest.approx(0.56 * 0.02, rel=0.25)


def test_the_order_of_constituents_and_tasks_does_not_matter():
    resampled = bootstrap(random_tasks(9), draws=200)
    forth = outperform.outperform_gap(resampled, ["t0", "t1", "t2"], "m", CONSTITUENTS)
    back = outperform.outperform_gap(resampled, ["t2", "t0", "t1"], "m", CONSTITUENTS[::-1])
    assert tuple(back) == pytest.approx(tuple(forth))


def test_a_narrower_level_is_a_narrower_interval():
    resampled = bootstrap(random_tasks(9), draws=400)
    for names in (["t0"], ["t0", "t1", "t2"]):
        for measure in (outperform.gain, outperform.outperform_gap):
            wide, narrow = (measure(resampled, names, "m", CONSTITUENTS, level) for level in (0.95, 0.8))
            assert wide.low < narrow.low < narrow.high < wide.high


def test_the_difference_from_the_best_constituent_is_the_og_of_the_macro():
    """p is best in a, q in b: Macro-OG compares with both, "over best" with q, the best of the two means."""
    resampled = replicates({"a": {"m": 0.6, "p": 0.5, "q": 0.4}, "b": {"m": 0.6, "p": 0.5, "q": 0.7}})
    assert outperform.over_best(resampled, ["a", "b"], "m", ["p", "q"]).value == pytest.approx(0.05)
    assert outperform.outperform_gap(resampled, ["a", "b"], "m", ["p", "q"]).value == pytest.approx(0.0)
    one = replicates({"a": {"m": 0.6, "p": 0.5, "q": 0.4}}, noise=0.05, clusters=90)
    og = outperform.outperform_gap(one, ["a"], "m", ["p", "q"])
    assert tuple(outperform.over_best(one, ["a"], "m", ["p", "q"])) == pytest.approx(tuple(og))


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_the_difference_from_the_best_constituent_is_never_below_macro_og(seed, tasks, constituents):
    simulated = random_tasks(seed, tasks)
    resampled = bootstrap(simulated, draws=20)
    best = outperform.over_best(resampled, resampled.tasks, "m", CONSTITUENTS[:constituents])
    assert (
        best.value
        >= outperform.outperform_gap(resampled, resampled.tasks, "m", CONSTITUENTS[:constituents]).value
        - 1e-12
    )
    assert best.low <= best.value <= best.high
