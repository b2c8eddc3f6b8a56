"""Statistics whose unit is the expert, on cases computed by hand and against scipy."""

from itertools import permutations, product

import numpy as np
import pytest
from helpers.smollm2_study import experts
from scipy.stats import spearmanr

FINANCE, MATH = [f"finance_{k}" for k in "abc"], [f"math_{k}" for k in "abc"]
PAIRS = list(product(FINANCE, MATH))


def test_the_domain_combination_is_a_fixed_effect():
    values = {("finance_a",): 1.0, ("finance_b",): 3.0, ("math_a",): 10.0, ("finance_a", "math_a"): 7.0}
    assert experts.centered(values) == {
        ("finance_a",): -1,
        ("finance_b",): 1,
        ("math_a",): 0,
        ("finance_a", "math_a"): 0,
    }


def test_rho_is_spearmans_over_the_centered_values():
    rng = np.random.default_rng(0)
    members = [*PAIRS, *product(FINANCE, [f"japanese_{k}" for k in "abc"])]
    x, y = ({m: float(v) for m, v in zip(members, rng.normal(size=18), strict=True)} for _ in range(2))
    y = {m: v + (100 if "math" in m[1] else 0) for m, v in y.items()}  # a difference of kinds changes nothing
    first, second = experts.centered(x), experts.centered(y)
    expected = spearmanr([first[m] for m in members], [second[m] for m in members]).statistic
    assert experts.rank_correlation(x, y) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(experts.rank_correlation(dict.fromkeys(members, 1.0), y))


def test_three_experts_of_three_domains_can_be_exchanged_in_216_ways():
    triples = list(product(FINANCE, MATH, [f"japanese_{k}" for k in "abc"]))
    names = experts.relabelings(triples)
    assert len(names) == 216 == len({tuple(sorted(one.items())) for one in names})
    assert all(a.split("_")[0] == b.split("_")[0] for one in names for a, b in one.items())


def test_p_of_three_experts_in_one_domain_is_at_least_a_third():
    x = {(name,): float(k) for k, name in enumerate(FINANCE)}
    assert experts.permutation_p(x, x) == (
        pytest.approx(1.0),
        pytest.approx(2 / 6),
        6,
    )  # the order itself and its reverse
    bent = {("finance_a",): 0.0, ("finance_b",): 2.0, ("finance_c",): 1.0}
    assert experts.permutation_p(x, bent) == (pytest.approx(0.5), 1.0, 6)  # no order has |rho| below 0.5


def test_p_exchanges_whole_experts_not_single_merges():
    rng = np.random.default_rng(3)
    x, y = ({m: float(v) for m, v in zip(PAIRS, rng.normal(size=9), strict=True)} for _ in range(2))
    rho, p, orders = experts.permutation_p(x, y)
    grid = np.array([[x[f, m] for m in MATH] for f in FINANCE])
    outcome = np.array([[y[f, m] for m in MATH] for f in FINANCE])
    values = [
        spearmanr(grid[list(rows)][:, list(columns)].ravel(), outcome.ravel()).statistic
        for rows in permutations(range(3))
        for columns in permutations(range(3))
    ]
    assert orders == 36 and rho == pytest.approx(values[0])
    assert p == pytest.approx(np.mean(np.abs(values) >= abs(rho) - 1e-9))


def test_members_are_drawn_as_often_as_the_product_of_their_experts():
    weights = experts.member_weights(PAIRS, 500, 0)
    assert weights.shape == (500, 9) and (weights.sum(1) == 9).all()
    table = weights.reshape(500, 3, 3)
    by_expert = table.sum(2) / 3
    np.testing.assert_allclose(table, by_expert[:, :, None] * (table.sum(1) / 3)[:, None])
    assert np.abs(by_expert.mean(0) - 1).max() < 0.15 and set(np.unique(by_expert)) == {0, 1, 2, 3}
    alone = experts.member_weights([(name,) for name in FINANCE], 500, 0)
    np.testing.assert_array_equal(alone, by_expert)  # the same draws whatever they are merged with


def test_the_interval_covers_other_experts():
    observed = {(name,): float(k) for k, name in enumerate(FINANCE)}  # 0, 1, 2 and no noise of items
    draws = {member: np.full(4000, value) for member, value in observed.items()}
    assert tuple(experts.mean_over_experts(observed, draws)) == (
        1.0,
        0.0,
        2.0,
    )  # P(three times the same) = 1/27
    same = {member: 5.0 for member in observed}
    constant = {member: np.full(4000, 5.0) for member in observed}
    assert tuple(experts.mean_over_experts(same, constant)) == (5.0, 5.0, 5.0)


def test_the_mean_without_one_expert():
    assert experts.leave_one_out({(name,): float(k) for k, name in enumerate(FINANCE)}) == (0.5, 1.5)
    pairs = {(f, m): float(FINANCE.index(f) * 10 + MATH.index(m)) for f, m in PAIRS}
    assert experts.leave_one_out(pairs) == (6.0, 16.0)  # without finance_c: 5 + 1; without finance_a: 15 + 1
    assert np.isnan(experts.leave_one_out({("finance_a", "math_a"): 1.0})).all()


def test_rho_without_one_expert():
    x = {(f, m): float(FINANCE.index(f)) for f, m in PAIRS}
    y = {(f, m): float({"finance_a": 0, "finance_b": 1, "finance_c": -1}[f]) for f, m in PAIRS}
    low, high = experts.leave_one_out_rho(x, y)
    assert (low, high) == (pytest.approx(-1.0), pytest.approx(1.0))
