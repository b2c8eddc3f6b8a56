"""Sums over items give the same score as the aggregations on the items themselves."""

import json
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.errors import DataError
from mergekit_finance.scoring import aggregate
from mergekit_finance.statistics import totals

ROOT = Path(__file__).resolve().parents[3]
labels = st.integers(-1, 3)
ITEMS = {
    "mean": st.sampled_from([0.0, 1.0, 0.25]),
    "weighted_f1": st.tuples(labels, labels),
    "macro_f1_two_class": st.tuples(st.integers(-1, 1), st.integers(0, 1)),
    "headline_mean_f1": st.tuples(st.integers(0, 8), st.integers(-1, 1), st.integers(0, 1)),
    "corpus_entity_f1": st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(
        lambda t: (min(t), t[1], t[2])
    ),
}


def by_hand(name, items):
    if name == "mean":
        return sum(items) / len(items) if items else 0.0
    return getattr(aggregate, name)(items)


@pytest.mark.parametrize("name", ITEMS)
@given(data=st.data())
@settings(deadline=None)
def test_sums_give_the_aggregation_of_any_resample(name, data):
    items = data.draw(st.lists(ITEMS[name], min_size=1, max_size=40))
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(items), max_size=len(items)))
    read_back = json.loads(json.dumps(items))
    statistics, total = totals.sufficient(name, read_back)
    resample = [item for item, k in zip(items, times, strict=True) for _ in range(k)]
    assert statistics.shape[0] == len(items)
    assert float(total(np.array(times) @ statistics)) == pytest.approx(by_hand(name, resample), abs=1e-12)
    assert float(total(statistics.sum(0))) == pytest.approx(by_hand(name, items), abs=1e-12)


@pytest.mark.parametrize("name", ITEMS)
def test_totals_work_over_leading_axes(name):
    rng = np.random.default_rng(1)
    items = {
        "mean": rng.integers(2, size=50).tolist(),
        "weighted_f1": rng.integers(3, size=(50, 2)).tolist(),
        "macro_f1_two_class": rng.integers(2, size=(50, 2)).tolist(),
        "headline_mean_f1": rng.integers(2, size=(50, 3)).tolist(),
        "corpus_entity_f1": np.sort(rng.integers(4, size=(50, 3))).tolist(),
    }[name]
    statistics, total = totals.sufficient(name, items)
    weights = rng.integers(3, size=(4, 5, 50))
    whole = total(weights @ statistics)
    assert whole.shape == (4, 5)
    assert whole[2, 3] == total(weights[2, 3] @ statistics)
    assert len(set(whole.ravel())) > 5


def test_known_values_by_hand():
    """Three of four right: classes a (F1 2/3, 2 gold) and b (F1 4/5, 2 gold)."""
    statistics, total = totals.sufficient("weighted_f1", [["a", "a"], ["a", "b"], ["b", "b"], ["b", "b"]])
    assert float(total(statistics.sum(0))) == pytest.approx((2 / 3 + 4 / 5) / 2)
    statistics, total = totals.sufficient("corpus_entity_f1", [[1, 2, 1], [0, 0, 1]])
    assert float(total(statistics.sum(0))) == pytest.approx(2 * 1 / (2 + 2))


def test_every_score_and_correct_in_our_yamls_is_known():
    pattern = re.compile(r"metric: (?:score|correct)\n\s+aggregation: (?:!function )?(\S+)")
    names = {
        name for path in (ROOT / "lm_eval_tasks").rglob("*yaml") for name in pattern.findall(path.read_text())
    }
    assert {"mean", f"{totals.OURS}.headline_mean_f1"} <= names
    assert all(totals.known_name(name) for name in names)


def test_functions_are_recognized_by_module_and_name():
    from lm_eval.api.metrics import mean

    def weighted_f1(items):
        return 0.125

    assert totals.known_name(mean) == "mean"
    assert totals.known_name(aggregate.corpus_entity_f1) == "corpus_entity_f1"
    assert totals.known_name(weighted_f1) == ""
    _, total = totals.sufficient(weighted_f1, [[0, 0]])
    assert float(total(np.ones(1))) == 0.125


def test_an_unknown_aggregation_is_called_on_the_items():
    items = [0.5, 2.0, 7.0, 7.0, 9.5]
    statistics, total = totals.sufficient(np.median, items)
    weights = np.random.default_rng(0).integers(3, size=(6, 5))
    expected = [np.median(np.repeat(items, row)) for row in weights]
    assert total(weights @ statistics).tolist() == expected
    assert float(total(np.zeros(statistics.shape[1]))) == 0.0


def test_names_of_the_host_registry_and_unknown_names():
    statistics, total = totals.sufficient("median", [1.0, 5.0, 6.0])
    assert float(total(statistics.sum(0))) == 5.0
    with pytest.raises(
        DataError, match="'no_such': mergekit-finance and lm-eval have none.*Pass the function itself"
    ):
        totals.sufficient("no_such", [1.0])


def test_any_other_aggregation_is_computed_from_how_often_each_value_occurs():
    values = [1.0, 3.0, 3.0, 8.0]
    rows, total = totals.by_item(statistics.median, values)
    assert total(rows.sum(axis=0)) == 3.0  # every item once
    draws = np.array([[[2, 1, 1, 0], [0, 0, 0, 4]], [[0, 1, 0, 3], [4, 0, 0, 0]]])  # (2, 2, items)
    assert total(draws @ rows).tolist() == [[2.0, 8.0], [8.0, 1.0]]
