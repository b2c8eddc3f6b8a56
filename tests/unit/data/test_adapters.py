"""What the adapters of all datasets share."""

import hashlib

from mergekit_finance.data.adapters.base import digest


def test_the_id_of_a_text_is_the_first_16_digits_of_its_sha256():
    assert digest("a", "b") == hashlib.sha256(b"a\x1fb").hexdigest()[:16]
    assert digest("a", "b") != digest("ab")
