"""The types that hooks return: `license`, and its old spelling for one release."""

import pytest

from mergekit_finance.plugins.api import Dataset, Expert, Family

ABOUT = {"name": "x", "title": "X", "homepage": "h", "citation": "c", "text_may_be_shared": True}
MAKERS = {
    "Dataset": lambda **license: Dataset(**ABOUT, **license),
    "Expert": lambda **license: Expert(model="a/b", **license),
    "Family": lambda **license: Family(name="f", base="a/b", experts={}, **license),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("spelling", ["license", "licence"])
def test_the_license_can_be_given_and_read_in_both_spellings(kind, spelling):
    record = MAKERS[kind](**{spelling: "MIT"})
    assert record.license == record.licence == "MIT"


@pytest.mark.parametrize("kind", MAKERS)
def test_the_license_is_required(kind):
    with pytest.raises(ValueError, match="license"):
        MAKERS[kind]()


def test_experts_and_families_take_positional_arguments():
    expert = Expert("a/c", "llama3", "a note")
    assert Family("f", "a/b", "llama3", {"math": expert}).experts["math"] == expert
