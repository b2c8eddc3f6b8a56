"""Contributions of clusters, and the standard error that they give."""

import numpy as np
import pytest
from scipy import stats

from mergekit_finance.statistics import influence
from mergekit_finance.statistics.scores import task_scores


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
