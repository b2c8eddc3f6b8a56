"""The rounds of a race, by hand, and that they keep what is best."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergekit_finance.statistics.successive_rejects import Round, answers, rounds, survivors


def test_rounds_halve_the_settings_and_ask_twice_as_much_of_the_rest():
    """A quarter of 8 * 100 answers is 200: 8 * 8 + 4 * 9 + 2 * 17, and 66 more of the winner."""
    assert rounds([1] * 8, 100, 1, 0.25) == [Round(8, 8, 4), Round(4, 17, 2), Round(2, 34, 1)]
    assert answers(rounds([1] * 8, 100, 1, 0.25), [1] * 8, 100) == 64 + 36 + 34 + 66


def test_an_odd_number_of_settings_keeps_the_larger_half():
    assert [(r.settings, r.kept) for r in rounds([1] * 5, 100, 1, 0.5)] == [(5, 3), (3, 2), (2, 1)]


def test_what_the_last_rounds_cannot_use_goes_to_the_first():
    """With 2 settings left, twice the share of 4 would be more than all items."""
    planned = rounds([1] * 4, 100, 1, 0.9)
    assert planned[1].items == 100 and planned[0].items == 80
    assert answers(planned, [1] * 4, 100) == 360


def test_a_budget_of_1_is_the_full_grid():
    planned = rounds([1, 2, 3], 50, 1, 1.0)
    assert {one.items for one in planned} == {50} and answers(planned, [1, 2, 3], 50) == 300


def test_settings_with_several_mask_seeds_cost_more():
    """The most expensive settings are counted in every round, whoever is left."""
    assert answers([Round(3, 10, 2), Round(2, 20, 1)], [1, 1, 5], 30) == 10 * 7 + 10 * 6 + 10


def test_every_round_has_the_fewest_items_even_if_the_budget_allows_less():
    planned = rounds([1] * 4, 100, 18, 0.05)
    assert planned == [Round(4, 18, 2), Round(2, 18, 1)]
    assert answers(planned, [1] * 4, 100) > 0.05 * 400


def test_one_setting_needs_no_race():
    assert rounds([3], 100, 1, 0.25) == [] and answers([], [3], 100) == 100


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=40), st.integers(1, 400), st.floats(0.01, 1), st.data()
)
def test_rounds_fit_the_budget_and_grow(costs, items, budget, data):
    least = data.draw(st.integers(1, items))
    planned = rounds(costs, items, least, budget)
    asked = answers(planned, costs, items)
    smallest = answers(rounds(costs, items, least, 1e-9), costs, items)
    assert asked <= max(smallest, budget * sum(costs) * items + 1e-6)
    assert [r.items for r in planned] == sorted(r.items for r in planned)
    assert all(least <= r.items <= items and r.kept < r.settings for r in planned)


@pytest.mark.parametrize(
    ("scores", "kept", "left"), [([1, 3, 2], 2, [1, 2]), ([1, 1, 1], 2, [0, 1]), ([0, 1, 0, 1], 3, [0, 1, 3])]
)
def test_the_best_are_kept_and_ties_go_to_the_first(scores, kept, left):
    assert survivors(scores, kept) == left


@given(st.integers(2, 30), st.integers(20, 200), st.floats(0.05, 1), st.integers(0, 2**32 - 1))
def test_a_setting_that_is_best_on_every_item_always_wins(settings, items, budget, seed):
    rng = np.random.default_rng(seed)
    right = rng.random((settings, items)) < 0.5
    winner = int(rng.integers(settings))
    right[winner] = True
    right[:winner, 0] = False  # of equal settings the first would be kept
    left = list(range(settings))
    for one in rounds([1] * settings, items, 1, budget):
        means = right[left, : one.items].mean(1)
        left = [left[k] for k in survivors(means.tolist(), one.kept)]
    assert left == [winner]
