"""Scores of single items as lm-eval's samples have them, of any metric."""

import numpy as np
import pytest

from mergekit_finance.evaluation.item_scores import item_scores


def columns(*scores, **values):
    samples = [
        {"doc_id": n, "doc": {}, "doc_hash": str(n), "arguments": [], "score": score}
        for n, score in enumerate(scores)
    ]
    return item_scores({"t": samples}, values)["t"]


def test_f1_has_pairs_of_classes_and_an_item_is_right_if_they_are_equal():
    """lm-eval's F1 and Matthews correlation give (gold, choice), the choice as numpy's int64."""
    rows = columns((1, np.int64(1)), (0, np.int64(1)), (0, np.int64(0)))
    assert rows.score == [[1, 1], [0, 1], [0, 0]] and rows.correct == [1.0, 0.0, 1.0]


def test_numbers_of_numpy_are_scores():
    assert columns((1, np.array([0.25, 0.75]))).score == [[1, [0.25, 0.75]]]
    rows = columns(np.int64(1), np.float32(0.5), np.bool_(True))
    assert rows.score == [1, 0.5, True] and rows.correct == [1.0, 0.0, 1.0]


def test_log_likelihoods_and_texts_are_not_right_answers():
    assert columns((-2.0, 5), ("a", "a")).correct == [0.0, 0.0]
    assert columns(("a", "a"), t=0.5).score == [None]


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="a score has a set"):
        columns({1})


def test_a_value_is_written_only_where_items_do_not_give_it():
    assert "value" not in columns(1.0, 0.0).as_json()
    assert columns(1.0, 0.0, t=0.25).as_json()["value"] == 0.25
