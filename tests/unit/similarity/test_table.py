"""The JSON file and the table."""

from itertools import combinations

import pytest

from mergekit_finance.similarity import table
from mergekit_finance.similarity.compute import compute_similarity


def test_nothing_is_written_if_a_number_is_nan(tmp_path):
    with pytest.raises(ValueError):
        table.write({"x": float("nan")}, tmp_path / "sim.json")
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_one_row_for_each_pair(family):
    folders, _ = family
    text = table.render(compute_similarity(folders["base"], [folders["a"], folders["b"]]))
    pairs = [" - ".join(p) for p in combinations(("base", "a", "b"), 2)]
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == pairs
