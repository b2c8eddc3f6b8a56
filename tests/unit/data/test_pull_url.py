"""`data pull` from a URL: complete and interrupted downloads."""

import json

import pytest
from helpers import local_server as server
from helpers.datasets import (
    COMMIT,
    LATER,
    PARTIAL,
    WHOLE,
    entry,
    files_in,
    nothing_listed,
    one_file_dataset,
    parse_entries,
    register_only,
    rows,
    serve_file,
    sha256,
)  # fmt: skip

from mergekit_finance.data import download, loader
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.pull import pull
from mergekit_finance.errors import DataError


def test_a_complete_download_is_listed_with_checksum_origin_and_source(site, target):
    done = pull(one_file_dataset(site), target)
    assert done.pulled == ("d/rows.json",) and files_in(target) == WHOLE
    assert not (target.folder / ".incoming").exists()
    listed_file = Mirror(target.folder).files["d/rows.json"]
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()
    assert (listed_file.sha256, listed_file.size) == (sha256(rows()), len(rows()))
    assert (listed_file.origin, listed_file.source) == (f"{site.url}/{COMMIT}/rows.json", "main")
    assert not listed_file.verified


def test_a_file_with_the_registrys_checksum_is_marked_verified(site, target):
    pull(one_file_dataset(site, sha256=sha256(rows())), target)
    assert target.files["d/rows.json"].verified


def test_the_loader_pulls_into_the_cache(site, tmp_path, monkeypatch):
    register_only(monkeypatch, one_file_dataset(site))
    assert len(loader.load_rows("d", "default")) == 300
    assert len(loader.load_rows("d", "default", source="main")) == 300
    assert len(site.requests) == 1


@pytest.mark.parametrize("broken", [server.cut(100_000), server.reset(100_000)])
def test_an_interrupted_download_is_resumed_where_it_stopped(site, target, broken, waits):
    site.faults = [broken]
    pull(one_file_dataset(site), target)
    first, second = site.requests
    assert (first.range, first.status, second.status) == (None, 200, 206)
    start = int(second.range.removeprefix("bytes=").removesuffix("-"))
    assert start == 100_000 and waits == [1]
    assert second.if_range == server.etag(rows())
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_later_pull_resumes_an_earlier_interrupted_download(site, target, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.faults = [server.cut(100_000)]
    with pytest.raises(DataError, match=r"ended after 100000 of \d+ bytes.*the download resumes"):
        pull(one_file_dataset(site), target)
    assert files_in(target) == PARTIAL
    pull(one_file_dataset(site), target)
    assert site.requests[-1].range == "bytes=100000-" and site.requests[-1].status == 206
    assert files_in(target) == WHOLE and (target.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_server_without_range_support_sends_the_whole_file_again(site, target):
    site.faults = [server.cut(100_000), server.whole]
    pull(one_file_dataset(site), target)
    assert site.requests[1].range == "bytes=100000-" and site.requests[1].status == 200
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_file_that_changed_since_the_interruption_is_downloaded_from_the_start(site, target, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.faults = [server.cut(100_000)]
    with pytest.raises(DataError):
        pull(one_file_dataset(site), target)
    changed = rows(word="sideways")
    pull(one_file_dataset(site, body=changed), target)
    assert site.requests[1].range == "bytes=100000-" and site.requests[1].status == 200
    assert (target.folder / "d" / "rows.json").read_bytes() == changed


@pytest.mark.parametrize("wrong", [server.other_part, server.other_file])
def test_a_range_that_was_not_requested_is_discarded(site, target, wrong):
    site.faults = [server.cut(100_000), wrong]
    pull(one_file_dataset(site), target)
    assert [request.range for request in site.requests] == [None, "bytes=100000-", None]
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_partial_file_of_another_url_is_not_resumed(site, target, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.faults = [server.cut(100_000)]
    with pytest.raises(DataError):
        pull(one_file_dataset(site), target)
    newer = parse_entries(entry("d", [serve_file(site, commit=LATER)], revision=LATER))[0]
    pull(newer, target)
    assert site.requests[-1].range is None


def test_a_download_without_etag_or_date_is_not_resumed(site, target):
    site.headers = {"ETag": ""}
    site.faults = [server.cut(100_000)]
    pull(one_file_dataset(site), target)
    assert [request.range for request in site.requests] == [None, None]


def test_last_modified_is_the_validator_without_a_strong_etag(site, target):
    site.headers = {"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    site.faults = [server.cut(100_000)]
    pull(one_file_dataset(site), target)
    assert site.requests[1].if_range == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_a_response_without_content_length_is_accepted(site, target):
    site.faults = [server.unsized]
    pull(one_file_dataset(site), target)
    assert files_in(target) == WHOLE


def test_a_finished_file_of_an_incomplete_group_is_not_downloaded_twice(site, target):
    files = [serve_file(site, "a.json"), serve_file(site, "b.json", rows(1), split="train")]
    pair = parse_entries(entry("d", files))[0]
    body = site.files.pop(f"/{COMMIT}/b.json")
    with pytest.raises(DataError, match="404"):
        pull(pair, target)
    assert nothing_listed(target) is False and not target.files
    site.files[f"/{COMMIT}/b.json"] = body
    assert pull(pair, target).pulled == ("d/a.json", "d/b.json")
    assert [request.status for request in site.gets(f"/{COMMIT}/a.json")] == [200, 416]
    assert files_in(target) == {"MANIFEST.json", "d/a.json", "d/b.json"}


def test_a_partial_file_longer_than_the_servers_is_downloaded_again(site, target):
    dataset, incoming = one_file_dataset(site), target.folder / ".incoming" / "d"
    incoming.mkdir(parents=True)
    (incoming / "rows.json.partial").write_bytes(rows() + b"more")
    note = {"url": f"{site.url}/{COMMIT}/rows.json", "validator": server.etag(rows())}
    (incoming / "rows.json.partial.json").write_text(json.dumps(note))
    pull(dataset, target)
    assert [request.status for request in site.requests] == [416, 200]
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()


@pytest.mark.parametrize("note", ["{half", "[]", '{"url": 3}'])
def test_a_damaged_resume_note_means_starting_over(site, target, note):
    incoming = target.folder / ".incoming" / "d"
    incoming.mkdir(parents=True)
    (incoming / "rows.json.partial").write_bytes(b"???")
    (incoming / "rows.json.partial.json").write_text(note)
    pull(one_file_dataset(site), target)
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()
