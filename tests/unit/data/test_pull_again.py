"""`data pull` into a mirror that has files already: what is kept, downloaded again, replaced or refused."""

import pytest
from helpers.datasets import (
    COMMIT,
    LATER,
    WHOLE,
    adopt_rows,
    adoptable_dataset,
    entry,
    files_in,
    one_file_dataset,
    parse_entries,
    rows,
    serve_file,
    sha256,
)  # fmt: skip

from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.pull import pull
from mergekit_finance.data.status import missing_subsets
from mergekit_finance.errors import DataError


def test_a_complete_pinned_file_is_not_requested_again(site, target):
    pull(one_file_dataset(site), target)
    assert pull(one_file_dataset(site), target, check=True).present == ("d/rows.json",)
    assert len(site.requests) == 1


def test_changed_bytes_at_the_same_url_are_refused_without_replace(site, target):
    pull(one_file_dataset(site, revision="main"), target)
    changed = rows(word="sideways")
    with pytest.raises(DataError, match="altered upstream") as error:
        pull(one_file_dataset(site, body=changed, revision="main"), target, check=True)
    assert sha256(rows()) in str(error.value) and sha256(changed) in str(error.value)
    assert Mirror(target.folder).verify("d/rows.json").read_bytes() == rows()
    assert files_in(target) == WHOLE
    pull(one_file_dataset(site, body=changed, revision="main"), target, check=True, replace=True)
    assert Mirror(target.folder).verify("d/rows.json").read_bytes() == changed


def test_a_lost_file_is_not_replaced_by_changed_bytes(site, target):
    pull(one_file_dataset(site), target)
    (target.folder / "d" / "rows.json").unlink()
    with pytest.raises(DataError, match="altered upstream"):
        pull(one_file_dataset(site, body=rows(word="sideways")), target)
    assert not (target.folder / "d" / "rows.json").exists()


def test_a_damaged_file_is_downloaded_again(site, target):
    pull(one_file_dataset(site), target)
    (target.folder / "d" / "rows.json").write_bytes(b"damage")
    assert pull(one_file_dataset(site), target).pulled == ("d/rows.json",)
    assert Mirror(target.folder).verify("d/rows.json").read_bytes() == rows()


def test_a_newer_pinned_commit_replaces_the_older_file(site, target):
    pull(one_file_dataset(site), target)
    newer = parse_entries(
        entry("d", [serve_file(site, body=rows(word="sideways"), commit=LATER)], revision=LATER)
    )[0]
    assert pull(newer, target).pulled == ("d/rows.json",)
    assert target.files["d/rows.json"].origin.endswith(f"{LATER}/rows.json")


def test_an_unpinned_file_is_not_requested_again_by_the_loader_or_offline(site, target, monkeypatch):
    moving = one_file_dataset(site, revision="main")
    pull(moving, target)
    assert pull(moving, target).present and len(site.requests) == 1
    assert pull(moving, target, check=True).pulled and len(site.requests) == 2
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert pull(moving, target, check=True).present and len(site.requests) == 2


def test_adopted_files_stay_unless_a_source_is_named(site, target, tmp_path):
    dataset = adoptable_dataset(site)
    adopt_rows(dataset, target, tmp_path / "raw")
    assert pull(dataset, target).adopted == ("d/mine.json",) and site.requests == []
    done = pull(dataset, target, "main")
    assert done.pulled == ("d/rows.json",) and done.unlisted == ("d/mine.json",)
    assert sorted(Mirror(target.folder).files) == ["d/rows.json"]


def test_a_file_with_all_subsets_replaces_the_files_of_each(site, target, tmp_path):
    adopt_rows(adoptable_dataset(site), target, tmp_path / "raw")
    dataset = adoptable_dataset(site, subset="")
    assert pull(dataset, target, replace=True).unlisted == ("d/mine.json",)


def test_a_subset_is_listed_although_another_one_fails(site, target):
    files = [serve_file(site, "a.json", subset="a"), serve_file(site, "b.json", subset="b")]
    dataset = parse_entries(entry("d", files))[0]
    body = site.files.pop(f"/{COMMIT}/b.json")
    with pytest.raises(DataError, match="b.json"):
        pull(dataset, target)
    mirror = Mirror(target.folder)
    assert sorted(mirror.files) == ["d/a.json"] and missing_subsets(dataset, mirror) == ["b"]
    site.files[f"/{COMMIT}/b.json"] = body
    assert pull(dataset, target).pulled == ("d/b.json",)


def test_the_source_of_the_mirrors_files_is_preferred_to_the_first(site, target):
    two = entry("d", [serve_file(site)])
    two["d"]["sources"]["copy"] = {**two["d"]["sources"]["main"], "files": [
        {"adapter": "adaptllm_choice", **serve_file(site, "copy.json")}]}  # fmt: skip
    dataset = parse_entries(two)[0]
    pull(dataset, target, "copy")
    assert pull(dataset, target).present == ("d/copy.json",)
    done = pull(dataset, target, "main")
    assert (done.pulled, done.unlisted) == (("d/rows.json",), ("d/copy.json",))
