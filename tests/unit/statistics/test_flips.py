"""Flips: hand-counted cases, and their relation to the difference of accuracies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergekit_finance.statistics.flips import Flips, flips
from mergekit_finance.statistics.scores import task_scores
from mergekit_finance.statistics.totals import named_aggregation


def task(name, **answers):
    items = len(next(iter(answers.values())))
    return task_scores(
        name,
        [f"c{n}" for n in range(items)],
        {model: [float(right) for right in rights] for model, rights in answers.items()},
        named_aggregation("mean"),
        {model: [float(right) for right in rights] for model, rights in answers.items()},
    )


def test_gains_and_losses_are_counted_separately():
    one = task("one", merge=[1, 1, 0, 0], base=[0, 1, 1, 1])
    other = task("other", merge=[1, 0], base=[0, 0])
    assert flips([one], "merge", "base") == Flips(gained=1, lost=2)
    assert flips([one, other], "merge", "base") == Flips(gained=2, lost=2)
    assert flips([one], "base", "merge") == Flips(gained=2, lost=1)


def test_a_task_without_right_answers_has_no_flips():
    scored = task("one", merge=[1, 0], base=[0, 0])
    unknown = task_scores(
        "two", ["a", "b"], {"merge": [0.5, 0.5], "base": [0.1, 0.2]}, named_aggregation("mean"), {}
    )
    assert flips([scored, unknown], "merge", "base") is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_gained_minus_lost_is_the_difference_of_right_answers(pairs):
    merge, base = (np.array(side) for side in zip(*pairs, strict=True))
    counted = flips([task("t", merge=merge, base=base)], "merge", "base")
    assert counted.gained - counted.lost == merge.sum() - base.sum()
    assert counted.gained + counted.lost == pytest.approx((merge != base).sum())
