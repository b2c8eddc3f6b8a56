"""Aggregates of scores, against scikit-learn."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import aggregate

pairs = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=40)
opinions = st.lists(st.tuples(st.sampled_from([0, 1, -1]), st.integers(0, 1)), min_size=1, max_size=40)
headlines = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60
)


def sklearn_f1(items, **options):
    metrics = pytest.importorskip("sklearn.metrics")
    return metrics.f1_score(
        [gold for gold, _ in items], [pred for _, pred in items], zero_division=0, **options
    )


@given(pairs)
@settings(deadline=None)
def test_weighted_f1_equals_sklearn(items):
    assert aggregate.weighted_f1(items) == pytest.approx(sklearn_f1(items, average="weighted"))


@given(opinions)
@settings(deadline=None)
def test_macro_f1_equals_three_classes_times_one_and_a_half(items):
    three = sklearn_f1(items, average="macro", labels=[0, 1, -1])
    assert aggregate.macro_f1_two_class(items) == pytest.approx(three * 1.5)


@given(headlines)
@settings(deadline=None)
def test_headline_mean_equals_sklearn_per_question(items):
    questions = sorted({class_id for class_id, _, _ in items})
    expected = [
        sklearn_f1([item[1:] for item in items if item[0] == q], average="weighted") for q in questions
    ]
    assert aggregate.headline_mean_f1(items) == pytest.approx(sum(expected) / len(expected))
    assert aggregate.headline_f1_by_question(items) == pytest.approx(
        dict(zip(questions, expected, strict=True))
    )


def test_neutral_golds_count_as_errors():
    right = [(0, 0), (1, 1)]
    assert aggregate.macro_f1_two_class(right) == 1.0
    assert aggregate.macro_f1_two_class([*right, (-1, 0)]) == pytest.approx((2 / 3 + 1) / 2)


def test_headline_weighs_questions_not_items():
    items = [(0, 1, 1)] * 9 + [(5, 1, 0)]
    assert aggregate.headline_mean_f1(items) == 0.5


def test_corpus_entity_f1_is_micro():
    assert aggregate.corpus_entity_f1([(1, 1, 1), (0, 3, 1)]) == pytest.approx(2 / 6)
    assert aggregate.corpus_entity_f1([(0, 0, 0)]) == 0.0


@pytest.mark.parametrize(
    "function", ["weighted_f1", "macro_f1_two_class", "headline_mean_f1", "corpus_entity_f1"]
)
def test_no_items_give_zero(function):
    assert getattr(aggregate, function)([]) == 0.0
    assert aggregate.headline_f1_by_question([]) == {}


def test_lists_from_json_are_accepted_like_tuples():
    assert (
        aggregate.weighted_f1([[0, 0], [1, 0]])
        == aggregate.weighted_f1([(0, 0), (1, 0)])
        == pytest.approx(1 / 3)
    )


def test_fallback_share_counts_answers_without_a_marker():
    assert aggregate.fallback_share(["marker", "fallback", "none", "marker"]) == 0.25
    assert aggregate.fallback_share([]) == 0.0
