"""The JSON file and the table."""

import json
from itertools import combinations

import pytest
from helpers.similarity import NORM

from mergekit_finance.similarity import table
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.similarity.measured import Similarity


def test_nothing_is_written_if_a_number_is_nan(family, tmp_path):
    folders, _ = family
    similarity = compute_similarity(folders["base"], [folders["a"]])
    similarity.total.norms["base"] = float("nan")
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        table.write_similarity(similarity, tmp_path / "sim.json")
    assert not (tmp_path / "sim.json").exists()


def test_the_table_has_one_row_for_each_pair(family):
    folders, _ = family
    text = table.similarity_table(compute_similarity(folders["base"], [folders["a"], folders["b"]]))
    pairs = [" - ".join(p) for p in combinations(("base", "a", "b"), 2)]
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == pairs


@pytest.mark.parametrize("everything", [True, False])
def test_the_file_is_read_as_it_was_written(family, tmp_path, everything):
    """Measures that were not computed are left out; undefined values are null."""
    folders, _ = family
    similarity = compute_similarity(folders["base"], [folders["a"]], everything=everything)
    table.write_similarity(similarity, tmp_path / "sim.json")
    content = json.loads((tmp_path / "sim.json").read_text())
    assert Similarity.model_validate(content) == similarity
    assert Similarity.model_validate(content).as_json() == content
    assert ("equal" in content["total"]["pairs"][0]) is everything
    norm = content["tensors"][NORM]
    assert list(norm)[:4] == ["shape", "layer", "module", "elements"] and norm["layer"] is None
