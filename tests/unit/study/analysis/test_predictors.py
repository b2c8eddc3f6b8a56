"""Predictors of a merge's success from similarity before it: headroom and correlations, by hand."""

import numpy as np
import pytest
from helpers.synthetic import MODELS, POINTS, SAME, build

from mergekit_finance.study.analysis import predictors
from mergekit_finance.study.schema import PredictorRow


def row(stage, l2, cosine, headroom, macro_gain, macro_og):
    return PredictorRow(
        combination="c", point="p", stage=stage, l2=l2, cosine=cosine, headroom=headroom,
        macro_gain=macro_gain, macro_og=macro_og,
    )  # fmt: skip


def test_headroom_by_hand(tmp_path):
    """Of 8 items finance has 4 right, math 2 more where finance is wrong: 2/8, less chance."""
    right = {name: np.zeros(8) for name in (*MODELS, *POINTS)}
    right["finance"][:4] = 1
    right["math"][3:6] = 1
    free = build(tmp_path / "written", {"t": right}, selection=SAME)
    assert predictors.headroom(free, ["finance", "math"]) == pytest.approx(2 / 8)
    four = build(tmp_path / "choice", {"t": right}, {"t": {"options": 4}}, selection=SAME)
    assert predictors.chance(four, "t") == 0.25
    assert predictors.headroom(four, ["finance", "math"]) == pytest.approx(2 / 8 - 0.25 * 4 / 8)
    by_guessing = 1 - 0.75**2
    assert predictors.headroom(four, ["finance", "math", "base"]) == pytest.approx(
        2 / 8 - by_guessing * 4 / 8
    )


def test_a_correlation_over_seven_combinations_has_the_smallest_significant_rho():
    rows = [row(2, k, -k, 0, k**3, -k) for k in range(7)]
    correlations = {(r.over, r.predictor, r.outcome): r for r in predictors.correlations(rows)}
    of_l2 = correlations["all", "l2", "macro_gain"]
    assert of_l2.rho == 1 and of_l2.n == 7 and of_l2.exact
    assert of_l2.needed == pytest.approx(0.786, abs=5e-4)
    assert of_l2.p == pytest.approx(2 / 5040, abs=1e-6)  # two-sided, over all permutations
    assert correlations["all", "headroom", "macro_gain"].rho is None  # a constant has no correlation


def test_pairs_are_correlated_alone_too():
    rows = [row(stage, k, k, k, k, k) for k, stage in enumerate((1, 2, 2, 2, 3))]
    assert {r.over: r.n for r in predictors.correlations(rows)} == {"all": 5, "pairs": 3}
