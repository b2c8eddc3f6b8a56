"""Words of the card that depend on counts, and text of a study that must not become a command."""

import pytest

from mergekit_finance.share import body


@pytest.mark.parametrize(
    ("items", "said"),
    [([6, 6], "6 items"), ([1], "1 item"), ([1, 3], "1 to 3 items"), ([0, 1], "0 to 1 item")],
)
def test_a_range_with_equal_ends_is_one_number(items: list[int], said: str) -> None:
    assert body._ranged(items) == said


def test_one_task_and_one_merge_are_singular() -> None:
    assert body._too_few(0, 3) == ""
    assert "; the one task has fewer" in body._too_few(1, 1)
    assert "; 1 of 3 tasks has fewer" in body._too_few(1, 3)
    assert "; 2 of 3 tasks have fewer" in body._too_few(2, 3)
    assert body._of_how_many(1) == "the only merge" and body._of_how_many(2) == "one of the 2 merges"


def test_versions_in_key_json_cannot_inject_commands() -> None:
    versions = {
        "torch": "2.6.0+cu124",
        "mergekit": "1!2.0-rc1",
        "lm-eval": "1; rm -rf ~",
        "datasets": "1\n```",
        "tokenizers": "$(x)",
        "--d": "1",
        "evil": "1.0",
    }
    assert list(body._packages(versions)) == [
        "torch==2.6.0", "mergekit==1!2.0-rc1", "lm-eval", "datasets", "tokenizers",
    ]  # fmt: skip
