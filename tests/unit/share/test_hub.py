"""Names of repositories."""

import pytest

from mergekit_finance.share.source_models import has_prefix


@pytest.mark.parametrize(
    ("name", "good"),
    [("Llama-3-x", True), ("Llama 3 x", True), ("Llama-38-x", False), ("llama-3-x", False), ("Llama3-x", False), ("Llama-3", False)],
)  # fmt: skip
def test_the_llama_3_prefix_must_be_spelled_exactly(name: str, good: bool) -> None:
    assert has_prefix(name, "Llama-3") is good
