"""Typed models of files: what they write for fields without a value, and what their reader refuses."""

import pytest
from pydantic import Field

from mergekit_finance.errors import DataError
from mergekit_finance.file_models import FileReader, Part, PartWithNulls


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


def test_a_file_is_read_and_a_link_to_it_is_refused(tmp_path):
    reader = FileReader("a study", "Run it again.")
    (tmp_path / "file.json").write_text('{"name": "a"}')
    (tmp_path / "link.json").symlink_to(tmp_path / "file.json")
    assert reader.read_model(Plain, tmp_path / "file.json") == Plain(name="a")
    for read in (reader.read_object, reader.optional_object):
        with pytest.raises(DataError, match=r"link\.json: is a symbolic link, .* Run it again\."):
            read(tmp_path / "link.json")


def test_unknown_keys_are_ignored():
    assert Plain.model_validate({"name": "a", "from_a_later_version": 1}).as_json() == {"title": "a"}
