"""Functions that the adapters of all datasets share."""

import hashlib

from mergekit_finance.data.adapters.base import short_id
from mergekit_finance.data.loader import load_rows


def test_the_id_of_a_text_is_the_first_16_digits_of_its_sha256():
    assert short_id("a", "b") == hashlib.sha256(b"a\x1fb").hexdigest()[:16]
    assert short_id("a", "b") != short_id("ab")


def test_an_opinion_of_chabsa_has_the_target_that_its_record_names():
    rows = load_rows("chabsa", "default", "sample")
    targets = {row["target"] for row in rows}
    assert {"売上高", "営業利益"} <= targets and all(row["target"] in row["sentence"] for row in rows)
