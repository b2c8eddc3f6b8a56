"""Words of the card that depend on counts."""

import pytest

from mergekit_finance.share import body


@pytest.mark.parametrize(
    ("items", "text"),
    [([6, 6], "6 items"), ([1], "1 item"), ([1, 3], "1 to 3 items"), ([0, 1], "0 to 1 item")],
)
def test_a_range_with_equal_ends_is_one_number(items: list[int], text: str) -> None:
    assert body.count_range(items) == text


def test_one_task_and_one_merge_are_singular() -> None:
    assert body.too_few_clusters([500, 500, 500]) == ""
    assert body.too_few_clusters([50]).startswith("1 of 1 task has fewer")
    assert body.too_few_clusters([50, 500, 500]).startswith("1 of 3 tasks has fewer")
    assert body.too_few_clusters([50, 50, 500]).startswith("2 of 3 tasks have fewer")
    assert body.one_of(1) == "the only merge" and body.one_of(2) == "one of the 2 merges"
