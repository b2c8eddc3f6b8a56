"""FOMC communication: traps of its rows."""

import pytest
from helpers.tasks import rows

from mergekit_finance.errors import DataError


def test_fomc_a_row_without_a_label_is_named():
    """The split files on GitHub have rows labeled "-"."""
    with pytest.raises(DataError, match="line 1: column 'label': "):
        rows("fomc", {"index": 3, "sentence": "Rates rose.", "label": "-"})
    (row,) = rows("fomc", {"index": 3, "sentence": "Rates rose.", "label": "1"})
    assert row["options"][row["gold_index"]] == "hawkish"
