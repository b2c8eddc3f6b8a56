"""Functions that the adapters of all datasets share."""

import hashlib

from mergekit_finance.data.adapters.base import Record, short_id
from mergekit_finance.data.adapters.retention import hellaswag
from mergekit_finance.data.loader import load_rows


def test_the_id_of_a_text_is_the_first_16_digits_of_its_sha256():
    assert short_id("a", "b") == hashlib.sha256(b"a\x1fb").hexdigest()[:16]
    assert short_id("a", "b") != short_id("ab")


def test_an_opinion_of_chabsa_has_the_target_that_its_record_names():
    rows = load_rows("chabsa", "default", "sample")
    targets = {row["target"] for row in rows}
    assert {"売上高", "営業利益"} <= targets and all(row["target"] in row["sentence"] for row in rows)


def test_items_of_hellaswag_are_clustered_by_source_text_where_one_is_named():
    raw = {"ctx": "A man sits", "endings": ["down.", "up."], "label": "0"}
    named = [{"ind": 1, "source_id": "video 7"}, {"ind": 2, "source_id": "video 7"}, {"ind": 3}]
    rows = hellaswag({"test": [Record(raw | one, "file", n, "line") for n, one in enumerate(named, 1)]})
    assert [row["cluster_id"] for row in rows] == ["video 7", "video 7", "3"]
