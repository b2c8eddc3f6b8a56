"""What typed models of files write for fields without a value."""

from pydantic import Field

from mergekit_finance.file_models import Part, PartWithNulls


class Plain(Part):
    name: str = Field(serialization_alias="title")
    score: float | None = None


class WithNulls(PartWithNulls):
    name: str = Field(serialization_alias="title")
    score: float | None = None
    share: float | None = None


def test_a_part_leaves_out_fields_without_a_value_and_writes_aliases():
    assert Plain(name="a").as_json() == Plain(name="a", score=None).as_json() == {"title": "a"}
    assert Plain(name="a", score=0.0).as_json() == {"title": "a", "score": 0.0}


def test_a_part_with_nulls_leaves_out_only_fields_that_were_never_set():
    assert WithNulls(name="a", share=None).as_json() == {"title": "a", "share": None}
    part = WithNulls(name="a")
    part.score = None
    assert part.as_json() == {"title": "a", "score": None}


def test_unknown_keys_are_ignored():
    assert Plain.model_validate({"name": "a", "from_a_later_version": 1}).as_json() == {"title": "a"}
