"""Mirrors: manifest, altered and missing files, adopting again."""

import hashlib
import json

import pytest
from helpers.datasets import adopt_into, write_jsonl

from mergekit_finance.data import loader
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.status import interrupted_downloads
from mergekit_finance.errors import DataError


def test_the_manifest_has_checksum_origin_and_adapter_of_each_file(raw, tmp_path):
    names = adopt_into(tmp_path / "m", raw)
    manifest = json.loads((tmp_path / "m" / "MANIFEST.json").read_text())["files"]
    assert sorted(names) == sorted(manifest)
    entry = manifest["fpb/fpb/test.jsonl"]
    assert entry["sha256"] == hashlib.sha256((raw / "fpb" / "test.jsonl").read_bytes()).hexdigest()
    assert (entry["adapter"], entry["split"], entry["verified"]) == ("phrasebank", "test", False)


def test_an_altered_file_is_refused(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    path = tmp_path / "m" / "fpb" / "fpb" / "test.jsonl"
    path.write_text(path.read_text().replace("rose", "fell", 1))
    with pytest.raises(DataError, match=r"fpb/test\.jsonl: altered.*data adopt"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))


def test_a_missing_file_is_refused(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    (tmp_path / "m" / "fpb" / "fpb" / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"fpb/test\.jsonl: missing"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))


def test_a_folder_without_manifest_is_not_a_mirror(tmp_path):
    with pytest.raises(DataError, match="no MANIFEST.json.*data adopt"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path))


def test_the_error_for_missing_rows_lists_what_the_mirror_has(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    with pytest.raises(
        DataError, match=r"no rows of jfinqa/numerical_reasoning \(it has docmath/compshort, fpb/default"
    ):
        loader.load_rows("jfinqa", "numerical_reasoning", data_dir=str(tmp_path / "m"))


def test_a_file_name_outside_the_mirror_is_refused(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    path = tmp_path / "m" / "MANIFEST.json"
    path.write_text(path.read_text().replace("fpb/fpb/test.jsonl", "../raw/fpb/test.jsonl"))
    with pytest.raises(DataError, match="'../raw/fpb/test.jsonl' is not the path of a file in the mirror"):
        loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))


def test_adopting_again_replaces_the_older_rows_of_a_subset(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    row = {"id": 3, "input": "x\nAnswer:", "options": ["negative", "positive"], "gold_index": 0}
    write_jsonl(tmp_path / "new" / "FPB" / "test.json", [row])
    adopt_into(tmp_path / "m", tmp_path / "new")
    assert len(loader.load_rows("fpb", "default", data_dir=str(tmp_path / "m"))) == 1
    assert len(loader.load_rows("docmath", "compshort", data_dir=str(tmp_path / "m"))) == 1


def test_a_datasets_own_folder_can_be_adopted(raw, tmp_path):
    assert sorted(adopt_into(tmp_path / "m", raw / "fpb")) == ["fpb/fpb/test.jsonl", "fpb/fpb/train.jsonl"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "a/../../b", "a//b", "", "a\0b", "x" * 300, "\x1b[31m", "a\\b", "a/./b"]
)
def test_a_file_name_that_no_mirror_has_is_reported_in_one_line(raw, tmp_path, name):
    adopt_into(tmp_path / "m", raw)
    path = tmp_path / "m" / "MANIFEST.json"
    content = json.loads(path.read_text())
    content["files"][name] = content["files"].pop("fpb/fpb/test.jsonl")
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not the path of a file in the mirror") as caught:
        Mirror.existing(tmp_path / "m")
    assert str(caught.value).isprintable()


def test_links_in_a_circle_are_reported_in_one_line(raw, tmp_path):
    adopt_into(tmp_path / "m", raw)
    mirror = Mirror.existing(tmp_path / "m")
    file = mirror.path("fpb/fpb/test.jsonl")
    file.unlink()
    file.symlink_to(file.with_name("other"))
    file.with_name("other").symlink_to(file)
    with pytest.raises(DataError, match="cannot be read"):
        mirror.verify("fpb/fpb/test.jsonl")


def test_a_manifest_that_is_not_a_file_is_reported_in_one_line(tmp_path):
    (tmp_path / "MANIFEST.json").mkdir()
    with pytest.raises(DataError, match="not the manifest of a mirror"):
        Mirror(tmp_path)


@pytest.mark.parametrize("dataset", ["..", "outside", "{tmp}"])
def test_downloads_are_looked_for_in_the_mirror_only(tmp_path, dataset):
    for folder in ("mirror", "outside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.partial").write_text("x")
    assert interrupted_downloads(Mirror(tmp_path / "mirror"), dataset.format(tmp=tmp_path)) == {}
