"""`data pull|status|verify`: against a real server on the loopback interface that misbehaves on request."""

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from helpers import local_server as server

from mergekit_finance.cli import main
from mergekit_finance.data import download, loader, mirror, registry, sources
from mergekit_finance.errors import DataError

COMMIT = "a" * 40
LATER = "b" * 40
GATE = "https://huggingface.co/datasets/owner/closed"
GATED = (401, {"X-Error-Code": "GatedRepo"})
# Registry entries from a file, then our own command.
PROGRAM = """
import sys
from mergekit_finance.data import registry
found = registry.parse(open(sys.argv.pop(1), encoding="utf-8").read(), "test.yml")
registry.datasets = lambda: {d.name: d for d in found}
from mergekit_finance.cli import main
main()
"""


@pytest.fixture
def site():
    with server.Server() as running:
        yield running.site


@pytest.fixture
def waits(monkeypatch):
    """The pauses between attempts, which take no time here."""
    made = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=made.append))
    return made


@pytest.fixture(autouse=True)
def ambient(monkeypatch, tmp_path, waits):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(mirror.VARIABLE, raising=False)
    monkeypatch.setattr(loader, "default_folder", lambda: tmp_path / "cache")


@pytest.fixture
def place(tmp_path):
    return mirror.Mirror(tmp_path / "m")


def rows(count=300, word="up"):
    """Lines of about a kilobyte each, in the layout of AdaptLLM/finance-tasks."""
    row = {"options": ["down", "up"], "gold_index": 1}
    lines = [
        json.dumps({"id": i, "input": f"{i} {word} " * 100 + "\nAnswer:", **row}) + "\n" for i in range(count)
    ]
    return "".join(lines).encode()


def entry(name, files, *, gate=None, kind="url", repo="owner/open", revision=COMMIT, **more):
    """A registry entry; `files` are its `File` fields."""
    files = [{"adapter": "adaptllm_choice", **file} for file in files]
    source = {"kind": kind, "repo": repo, "revision": revision, "gate": gate, "files": files}
    about = {"title": name, "homepage": "h", "licence": "MIT", "citation": "c", "text_may_be_shared": True}
    return {name: {**about, "sources": {"main": source}, **more}}


def as_yaml(entries):
    return yaml.safe_dump({k: v for one in entries for k, v in one.items()}, sort_keys=False)


def known(*entries):
    """Datasets from entries."""
    return registry.parse(as_yaml(entries), "test.yml")


def at(site, path="rows.json", body=None, commit=COMMIT, **fields):
    """Put a file on the server; its `File` fields."""
    address = f"/{commit}/{path}"
    site.files[address] = rows() if body is None else body
    return {"path": path, "url": site.url + address, **fields}


def one(site, path="rows.json", body=None, *, revision=COMMIT, gate=None, **fields):
    """A dataset `d` of one file on the server. With another revision its address is not pinned."""
    return known(entry("d", [at(site, path, body, **fields)], revision=revision, gate=gate))[0]


def sha(body):
    return hashlib.sha256(body).hexdigest()


def inside(place):
    """All files below a mirror, but for its lock."""
    return {p.relative_to(place.folder).as_posix() for p in place.folder.rglob("*") if p.is_file()} - {
        ".lock"
    }


def nothing_listed(place):
    """No file under its final name, and none in the manifest."""
    return inside(place) <= PARTIAL and not mirror.Mirror(place.folder).files


PARTIAL = {".incoming/d/rows.json.partial", ".incoming/d/rows.json.partial.json"}
WHOLE = {"MANIFEST.json", "d/rows.json"}


# --- downloads


def test_a_whole_download_is_listed_with_its_checksum_origin_and_source(site, place):
    done = sources.pull(one(site), place)
    assert done.pulled == ("d/rows.json",) and inside(place) == WHOLE
    assert not (place.folder / ".incoming").exists()
    found = mirror.Mirror(place.folder).files["d/rows.json"]
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()
    assert (found.sha256, found.size) == (sha(rows()), len(rows()))
    assert (found.origin, found.source) == (f"{site.url}/{COMMIT}/rows.json", "main")
    assert not found.verified


def test_a_checksum_that_the_registry_knows_is_verified(site, place):
    sources.pull(one(site, sha256=sha(rows())), place)
    assert place.files["d/rows.json"].verified


def test_the_loader_pulls_into_the_cache(site, tmp_path, monkeypatch):
    inject(monkeypatch, one(site))
    assert len(loader.load_rows("d", "default")) == 300
    assert len(loader.load_rows("d", "default", source="main")) == 300
    assert len(site.asked) == 1


@pytest.mark.parametrize("broken", [server.cut(100_000), server.reset(100_000)])
def test_a_download_that_breaks_is_resumed_where_it_stopped(site, place, broken, waits):
    site.faults = [broken]
    sources.pull(one(site), place)
    first, second = site.asked
    assert (first.range, first.status, second.status) == (None, 200, 206)
    start = int(second.range.removeprefix("bytes=").removesuffix("-"))
    assert start == 100_000 and waits == [1]
    assert second.if_range == server.etag(rows())
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_later_pull_resumes_what_an_earlier_one_left(site, place, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.faults = [server.cut(100_000)]
    with pytest.raises(DataError, match=r"ended after 100000 of \d+ bytes.*goes on where it stopped"):
        sources.pull(one(site), place)
    assert inside(place) == PARTIAL
    sources.pull(one(site), place)
    assert site.asked[-1].range == "bytes=100000-" and site.asked[-1].status == 206
    assert inside(place) == WHOLE and (place.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_server_that_ignores_ranges_sends_the_whole_file_again(site, place):
    site.faults = [server.cut(100_000), server.whole]
    sources.pull(one(site), place)
    assert site.asked[1].range == "bytes=100000-" and site.asked[1].status == 200
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(site, place, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.faults = [server.cut(100_000)]
    with pytest.raises(DataError):
        sources.pull(one(site), place)
    changed = rows(word="sideways")
    sources.pull(one(site, body=changed), place)
    assert site.asked[1].range == "bytes=100000-" and site.asked[1].status == 200
    assert (place.folder / "d" / "rows.json").read_bytes() == changed


@pytest.mark.parametrize("wrong", [server.other_part, server.other_file])
def test_a_part_that_was_not_asked_for_is_thrown_away(site, place, wrong):
    site.faults = [server.cut(100_000), wrong]
    sources.pull(one(site), place)
    assert [asked.range for asked in site.asked] == [None, "bytes=100000-", None]
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_part_of_another_address_is_not_resumed(site, place, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.faults = [server.cut(100_000)]
    with pytest.raises(DataError):
        sources.pull(one(site), place)
    newer = known(entry("d", [at(site, commit=LATER)], revision=LATER))[0]
    sources.pull(newer, place)
    assert site.asked[-1].range is None


def test_without_a_validator_nothing_is_resumed(site, place):
    site.headers = {"ETag": ""}
    site.faults = [server.cut(100_000)]
    sources.pull(one(site), place)
    assert [asked.range for asked in site.asked] == [None, None]


def test_the_date_is_a_validator_where_there_is_no_strong_etag(site, place):
    site.headers = {"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    site.faults = [server.cut(100_000)]
    sources.pull(one(site), place)
    assert site.asked[1].if_range == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_a_server_that_states_no_length_is_served_too(site, place):
    site.faults = [server.unsized]
    sources.pull(one(site), place)
    assert inside(place) == WHOLE


def test_a_finished_file_that_waits_for_another_is_not_fetched_twice(site, place):
    files = [at(site, "a.json"), at(site, "b.json", rows(1), split="train")]
    pair = known(entry("d", files))[0]
    body = site.files.pop(f"/{COMMIT}/b.json")
    with pytest.raises(DataError, match="404"):
        sources.pull(pair, place)
    assert nothing_listed(place) is False and not place.files
    site.files[f"/{COMMIT}/b.json"] = body
    assert sources.pull(pair, place).pulled == ("d/a.json", "d/b.json")
    assert [asked.status for asked in site.gets(f"/{COMMIT}/a.json")] == [200, 416]
    assert inside(place) == {"MANIFEST.json", "d/a.json", "d/b.json"}


def test_a_partial_file_longer_than_upstreams_is_fetched_anew(site, place):
    known_, target = one(site), place.folder / ".incoming" / "d"
    target.mkdir(parents=True)
    (target / "rows.json.partial").write_bytes(rows() + b"more")
    note = {"url": f"{site.url}/{COMMIT}/rows.json", "validator": server.etag(rows())}
    (target / "rows.json.partial.json").write_text(json.dumps(note))
    sources.pull(known_, place)
    assert [asked.status for asked in site.asked] == [416, 200]
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


@pytest.mark.parametrize("note", ["{half", "[]", '{"url": 3}'])
def test_a_damaged_note_means_starting_over(site, place, note):
    target = place.folder / ".incoming" / "d"
    target.mkdir(parents=True)
    (target / "rows.json.partial").write_bytes(b"???")
    (target / "rows.json.partial.json").write_text(note)
    sources.pull(one(site), place)
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


# --- wrong or missing upstream


def test_wrong_bytes_are_named_with_both_checksums_and_thrown_away(site, place):
    with pytest.raises(DataError) as fault:
        sources.pull(one(site, sha256=sha(b"other")), place)
    assert sha(rows()) in str(fault.value) and sha(b"other") in str(fault.value)
    assert inside(place) == set()


def test_wrong_bytes_leave_an_older_file_as_it_was(site, place):
    sources.pull(one(site), place)
    with pytest.raises(DataError, match="wrong bytes"):
        sources.pull(one(site, sha256=sha(b"other")), place, replace=True)
    assert inside(place) == WHOLE and mirror.Mirror(place.folder).verify("d/rows.json")


def test_a_body_shorter_than_promised_is_never_taken_for_whole(site, place):
    site.faults = [server.boast(10)] * download.ATTEMPTS
    with pytest.raises(DataError, match=f"ended after {len(rows())} of {len(rows()) + 10} bytes"):
        sources.pull(one(site), place)
    assert len(site.asked) == download.ATTEMPTS and nothing_listed(place)


def test_a_transient_error_is_retried_with_growing_pauses(site, place, waits):
    site.faults = [server.status(500), server.status(503), server.status(429, Retry_After="7")]
    sources.pull(one(site), place)
    assert waits == [1, 2, 7] and inside(place) == WHOLE


def test_what_a_server_asks_for_is_waited_within_reason(site, place, waits):
    site.faults = [server.status(429, Retry_After="86400"), server.status(503, Retry_After="tomorrow")]
    sources.pull(one(site), place)
    assert waits == [download.LONGEST_WAIT, 2]


def test_a_server_that_stays_down_is_given_up(site, place):
    site.faults = [server.status(503)] * 9
    with pytest.raises(DataError, match=r"HTTP 503\)\. Pull again later"):
        sources.pull(one(site), place)
    assert len(site.asked) == download.ATTEMPTS and nothing_listed(place)


def test_a_server_that_falls_silent_is_asked_again(site, place, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    site.faults = [server.stall(100_000)]
    sources.pull(one(site), place)
    assert [asked.range for asked in site.asked] == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("code", "gate", "message"),
    [
        (404, None, r"rows\.json \(HTTP 404\)\. It was moved.*data adopt"),
        (403, None, r"rows\.json \(HTTP 403\)\. It was moved.*data adopt"),
        (401, GATE, f"d: gated; accept the terms at {GATE} and download it there"),
        (403, GATE, f"d: gated; accept the terms at {GATE} and download it there"),
    ],
)
def test_a_refusal_is_not_retried_and_says_what_to_do(site, place, code, gate, message):
    site.refused = {"/": (code, {})}
    with pytest.raises(DataError, match=message) as fault:
        sources.pull(one(site, gate=gate), place)
    assert len(site.asked) == 1 and "\n" not in str(fault.value) and nothing_listed(place)


def test_the_error_names_the_other_sources(site, place):
    several = entry("d", [at(site)])
    several["d"]["sources"]["copy"] = several["d"]["sources"]["main"]
    site.refused = {"/": (404, {})}
    with pytest.raises(DataError, match="Another source: --source copy"):
        sources.pull(known(several)[0], place)


def test_without_network_the_error_says_so(place, monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    there = known(entry("d", [{"path": "rows.json", "url": "http://data.example/rows.json"}]))[0]
    with pytest.raises(DataError, match=f"no network, or no such host.*Offline. Set {mirror.VARIABLE}"):
        sources.pull(there, place)


def test_a_closed_port_is_named(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/rows.json"
    with pytest.raises(DataError, match=r"could not fetch http://127.*Connection refused"):
        sources.pull(known(entry("d", [{"path": "rows.json", "url": url}]))[0], place)


def test_offline_mode_asks_nobody(site, place, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        sources.pull(one(site), place)
    assert site.asked == []


def test_rows_that_do_not_parse_are_named_and_not_listed(site, place):
    body = rows(3) + b'{"id": 3, "input": "x", "options": ["a", "b"]}\n'
    with pytest.raises(DataError, match=r"rows\.json, line 4: column 'gold_index'"):
        sources.pull(one(site, body=body), place)
    assert inside(place) == set()


def test_a_page_in_place_of_a_file_is_not_listed(site, place):
    with pytest.raises(DataError, match=r"rows\.json, line 1: not JSON"):
        sources.pull(one(site, body=b"<html>Please log in</html>"), place)
    assert inside(place) == set()


# --- disk full


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 128 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_a_part_and_says_so(site, small_disk):
    place = mirror.Mirror(small_disk)
    with pytest.raises(DataError, match=r"no space left for http.*kept in .*\.incoming; free some space"):
        sources.pull(one(site), place)
    assert len(site.asked) == 1 and nothing_listed(place)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    sources.pull(one(site), place)
    assert site.asked[-1].range not in (None, "bytes=0-") and inside(place) == WHOLE
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_full_disk_under_the_hubs_cache_names_that_cache(place, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("download failed") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(DataError, match=r"no space left for hf://.*\(HF_HOME moves it\); free some space"):
        sources.pull(known(hub_entry("d", {"path": "x.json"}))[0], place)


def test_a_disk_that_fills_up_half_way_keeps_a_part_that_is_resumed(site, place, monkeypatch):
    monkeypatch.setattr(Path, "open", opener(limit=131_072))
    with pytest.raises(DataError, match="no space left"):
        sources.pull(one(site), place)
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    kept = (place.folder / ".incoming" / "d" / "rows.json.partial").stat().st_size
    sources.pull(one(site), place)
    assert 0 < kept <= 131_072 and site.asked[-1].range == f"bytes={kept}-"
    assert (place.folder / "d" / "rows.json").read_bytes() == rows()


def opener(limit):
    """`Path.open` for a disk with room for `limit` bytes in partial files."""
    real = Path.open

    def open_(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        return Cramped(file, limit) if path.suffix == ".partial" and mode != "rb" else file

    return open_


class Cramped:
    def __init__(self, file, limit):
        self.file, self.left = file, limit

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()

    def write(self, block):
        self.left -= self.file.write(block[: self.left])
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_network_the_hub_is_not_waited_for_and_its_cache_serves(place, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    dataset = known(hub_entry("d", {"path": "x.json"}))[0]
    with pytest.raises(DataError, match="no network, or no such host"):
        sources.pull(dataset, place)
    repo = tmp_path / "hub" / "datasets--owner--open"
    (repo / "snapshots" / COMMIT).mkdir(parents=True)
    (repo / "snapshots" / COMMIT / "x.json").write_bytes(rows())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    assert sources.pull(dataset, place).pulled == ("d/x.json",)
    assert f"@{COMMIT}/" in place.files["d/x.json"].origin


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_while_the_manifest_is_written_leaves_the_old_one(site, place):
    sources.pull(one(site), place)
    before = (place.folder / "MANIFEST.json").read_bytes()
    (place.folder / f".MANIFEST.json.{os.getpid()}").symlink_to("/dev/full")
    other = known(entry("e", [at(site, "more.json")]))[0]
    with pytest.raises(DataError, match=r"e: cannot write to the mirror .*No space left.*--mirror"):
        sources.pull(other, place)
    assert (place.folder / "MANIFEST.json").read_bytes() == before
    assert not list(place.folder.glob(".MANIFEST.json.*"))


def test_a_mirror_that_cannot_be_made_is_named(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="d: cannot write to the mirror .*file/m"):
        sources.pull(one(site), mirror.Mirror(tmp_path / "file" / "m"))


# --- pulling again


def test_a_pinned_file_that_is_whole_is_not_asked_for_again(site, place):
    sources.pull(one(site), place)
    assert sources.pull(one(site), place, check=True).there == ("d/rows.json",)
    assert len(site.asked) == 1


def test_other_bytes_at_the_same_address_are_named_and_not_taken(site, place):
    sources.pull(one(site, revision="main"), place)
    changed = rows(word="sideways")
    with pytest.raises(DataError, match="altered upstream") as fault:
        sources.pull(one(site, body=changed, revision="main"), place, check=True)
    assert sha(rows()) in str(fault.value) and sha(changed) in str(fault.value)
    assert mirror.Mirror(place.folder).verify("d/rows.json").read_bytes() == rows()
    assert inside(place) == WHOLE
    sources.pull(one(site, body=changed, revision="main"), place, check=True, replace=True)
    assert mirror.Mirror(place.folder).verify("d/rows.json").read_bytes() == changed


def test_a_lost_file_is_not_mended_with_other_bytes(site, place):
    sources.pull(one(site), place)
    (place.folder / "d" / "rows.json").unlink()
    with pytest.raises(DataError, match="altered upstream"):
        sources.pull(one(site, body=rows(word="sideways")), place)
    assert not (place.folder / "d" / "rows.json").exists()


def test_a_damaged_file_is_mended(site, place):
    sources.pull(one(site), place)
    (place.folder / "d" / "rows.json").write_bytes(b"damage")
    assert sources.pull(one(site), place).pulled == ("d/rows.json",)
    assert mirror.Mirror(place.folder).verify("d/rows.json").read_bytes() == rows()


def test_a_newer_pin_in_the_registry_replaces_the_older_file(site, place):
    sources.pull(one(site), place)
    newer = known(entry("d", [at(site, body=rows(word="sideways"), commit=LATER)], revision=LATER))[0]
    assert sources.pull(newer, place).pulled == ("d/rows.json",)
    assert place.files["d/rows.json"].origin.endswith(f"{LATER}/rows.json")


def test_an_unpinned_file_is_not_asked_for_again_by_the_loader_or_offline(site, place, monkeypatch):
    moving = one(site, revision="main")
    sources.pull(moving, place)
    assert sources.pull(moving, place).there and len(site.asked) == 1
    assert sources.pull(moving, place, check=True).pulled and len(site.asked) == 2
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert sources.pull(moving, place, check=True).there and len(site.asked) == 2


def adopting(site, **fields):
    """A dataset that can be pulled as rows.json and adopted as mine.json."""
    mine = [{"path": "mine.json", "adapter": "adaptllm_choice"}]
    return known(entry("d", [at(site, **fields)], adopts=mine))[0]


def adopt(dataset, place, folder):
    folder.mkdir()
    (folder / "mine.json").write_bytes(rows(5))
    mirror.adopt(folder, place, [dataset], lambda text: None)


def test_adopted_files_stay_unless_a_source_is_named(site, place, tmp_path):
    dataset = adopting(site)
    adopt(dataset, place, tmp_path / "raw")
    assert sources.pull(dataset, place).kept == ("d/mine.json",) and site.asked == []
    done = sources.pull(dataset, place, "main")
    assert done.pulled == ("d/rows.json",) and done.unlisted == ("d/mine.json",)
    assert sorted(mirror.Mirror(place.folder).files) == ["d/rows.json"]


def test_a_file_with_all_subsets_takes_the_place_of_each(site, place, tmp_path):
    adopt(adopting(site), place, tmp_path / "raw")
    dataset = adopting(site, subset="")
    assert sources.pull(dataset, place, replace=True).unlisted == ("d/mine.json",)


def test_what_one_subset_lacks_does_not_undo_another(site, place):
    files = [at(site, "a.json", subset="a"), at(site, "b.json", subset="b")]
    dataset = known(entry("d", files))[0]
    body = site.files.pop(f"/{COMMIT}/b.json")
    with pytest.raises(DataError, match="b.json"):
        sources.pull(dataset, place)
    found = mirror.Mirror(place.folder)
    assert sorted(found.files) == ["d/a.json"] and sources.missing_subsets(dataset, found) == ["b"]
    site.files[f"/{COMMIT}/b.json"] = body
    assert sources.pull(dataset, place).pulled == ("d/b.json",)


def test_the_source_that_the_mirror_has_goes_before_the_first(site, place):
    two = entry("d", [at(site)])
    two["d"]["sources"]["copy"] = {**two["d"]["sources"]["main"], "files": [
        {"adapter": "adaptllm_choice", **at(site, "copy.json")}]}  # fmt: skip
    dataset = known(two)[0]
    sources.pull(dataset, place, "copy")
    assert sources.pull(dataset, place).there == ("d/copy.json",)
    done = sources.pull(dataset, place, "main")
    assert (done.pulled, done.unlisted) == (("d/rows.json",), ("d/copy.json",))


# --- other processes


def process(tmp_path, entries, *args, env=None):
    """Our command with these registry entries, in a process of its own that is under way."""
    path = tmp_path / f"registry-{time.monotonic_ns()}.yml"
    path.write_text(as_yaml(entries), encoding="utf-8")
    home = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN_PATH": str(tmp_path / "none")}
    clean = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), *map(str, args)],
        env={**clean, **home, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_two_processes_that_pull_one_dataset_fetch_it_once(site, place, tmp_path):
    site.faults = [server.stall(100_000)]
    wanted = [entry("d", [at(site)])]
    pulls = [process(tmp_path, wanted, "data", "pull", "--mirror", place.folder) for _ in range(2)]
    until(lambda: site.asked)
    time.sleep(1.5)  # time for the other to ask as well, if nothing held it back
    site.go.set()
    said = sorted(pull.communicate(timeout=30)[0].split(",")[0] for pull in pulls)
    assert [pull.returncode for pull in pulls] == [0, 0]
    assert said == ["d: already there from main", "d: pulled from main"]
    assert len(site.asked) == 1 and inside(place) == WHOLE


def test_two_processes_that_pull_into_one_mirror_are_both_listed(site, place, tmp_path):
    site.faults = [server.stall(100_000), server.stall(100_000)]
    wanted = [entry("d", [at(site)]), entry("e", [at(site, "more.json")])]
    pulls = [process(tmp_path, wanted, "data", "pull", n, "--mirror", place.folder) for n in "de"]
    until(lambda: site.asked)
    time.sleep(1)
    site.go.set()
    assert [(pull.communicate(timeout=30), pull.returncode)[1] for pull in pulls] == [0, 0]
    assert sorted(mirror.Mirror(place.folder).files) == ["d/rows.json", "e/more.json"]


def test_a_killed_pull_leaves_no_half_file_and_is_resumed(site, place, tmp_path):
    site.faults = [server.stall(200_000)]
    pull = process(tmp_path, [entry("d", [at(site)])], "data", "pull", "--mirror", place.folder)
    partial = place.folder / ".incoming" / "d" / "rows.json.partial"
    until(lambda: partial.exists() and partial.stat().st_size >= 100_000)
    pull.send_signal(signal.SIGKILL)
    pull.communicate()
    assert inside(place) == PARTIAL
    size = partial.stat().st_size
    sources.pull(one(site), place)
    assert site.asked[-1].range == f"bytes={size}-"
    assert inside(place) == WHOLE and (place.folder / "d" / "rows.json").read_bytes() == rows()


# --- the Hub's client, against a stand-in for the Hub


def hub_pull(site, tmp_path, entries, *args, env=None):
    """`data pull` into the mirror with the Hub at `site`: exit code, stdout, stderr."""
    env = {"HF_ENDPOINT": site.url, **(env or {})}
    running = process(tmp_path, entries, "data", "pull", "--mirror", tmp_path / "m", *args, env=env)
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err


def on_hub(site, path="FPB/test.json", body=None, repo="owner/open", revision="main", commit=COMMIT):
    site.files[f"/datasets/{repo}/resolve/{revision}/{path}"] = rows() if body is None else body
    site.headers = {"X-Repo-Commit": commit}
    return {"path": path}


def hub_entry(name, file, **more):
    return entry(name, [file], kind="hub", **{"revision": "main", **more})


def error_of(err):
    """The one line on stderr."""
    lines = [line for line in err.splitlines() if line.startswith(("Error: ", "Failed: "))]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def test_the_commit_that_a_branch_stood_for_is_recorded_and_a_change_is_named(site, tmp_path, place):
    wanted = [hub_entry("d", on_hub(site))]
    code, out, err = hub_pull(site, tmp_path, wanted)
    assert code == 0 and out.startswith("d: pulled from main, 1 file"), err
    found = mirror.Mirror(tmp_path / "m").files["d/FPB/test.json"]
    assert found.origin == f"hf://datasets/owner/open@{COMMIT}/FPB/test.json"
    on_hub(site, body=rows(word="sideways"), commit=LATER)
    code, out, err = hub_pull(site, tmp_path, wanted)
    assert code == 1 and f"@{LATER}/FPB/test.json was altered upstream" in error_of(err)
    assert mirror.Mirror(tmp_path / "m").files["d/FPB/test.json"] == found
    code, out, err = hub_pull(site, tmp_path, wanted, env={"HF_HUB_OFFLINE": "1"})
    assert code == 0 and out.startswith("d: already there"), err


def test_a_gated_dataset_is_one_line_and_the_others_are_pulled(site, tmp_path):
    site.refused = {"/datasets/owner/closed": GATED}
    closed = hub_entry("closed", {"path": "x.json"}, repo="owner/closed", gate=GATE)
    code, out, err = hub_pull(site, tmp_path, [closed, hub_entry("d", on_hub(site))])
    lines = [line for line in err.splitlines() if line.startswith(("Error", "Failed"))]
    assert code == 1 and "Traceback" not in err
    assert lines == [
        f"Failed: closed: gated; accept the terms at {GATE}, run `hf auth login`, "
        "then `mergekit-finance data pull closed`",
        "Error: 1 of 2 datasets could not be pulled: closed",
    ]
    assert out.startswith("d: pulled from main") and list(mirror.Mirror(tmp_path / "m").files) == [
        "d/FPB/test.json"
    ]


def test_a_token_without_access_is_told_apart(site, tmp_path):
    site.refused = {"/datasets/owner/closed": (403, {"X-Error-Code": "GatedRepo"})}
    closed = hub_entry("closed", {"path": "x.json"}, repo="owner/closed", gate=GATE)
    code, _out, err = hub_pull(site, tmp_path, [closed], env={"HF_TOKEN": "hf_x"})
    assert code == 1 and f"{GATE} with the account whose token is in use" in error_of(err)


def test_a_file_that_the_hub_lost_is_named(site, tmp_path):
    code, _out, err = hub_pull(site, tmp_path, [hub_entry("d", {"path": "gone.json"})])
    assert code == 1 and "@main/gone.json (HTTP 404). It was moved" in error_of(err)


def test_wrong_bytes_from_the_hub_are_asked_for_once_more_then_named(site, tmp_path):
    file = {**on_hub(site), "sha256": sha(b"other")}
    code, _out, err = hub_pull(site, tmp_path, [hub_entry("d", file)])
    assert code == 1 and sha(rows()) in error_of(err) and sha(b"other") in error_of(err)
    assert len(site.gets("/datasets/owner/open/resolve/main/FPB/test.json")) == 2
    assert not (tmp_path / "m" / "MANIFEST.json").exists() and not list((tmp_path / "m").rglob("*.json"))


# --- commands


def inject(monkeypatch, *datasets):
    monkeypatch.setattr(registry, "datasets", lambda: {d.name: d for d in datasets})


def command(*args):
    """Our command in this process: exit code, stdout, stderr."""
    done = CliRunner().invoke(main, ["data", *map(str, args)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_pull_takes_every_dataset_and_says_what_it_did(site, place, monkeypatch):
    inject(monkeypatch, *known(entry("d", [at(site)]), entry("e", [at(site, "b.json", sha256=sha(rows()))])))
    code, out, err = command("pull", "--mirror", place.folder)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"d: pulled from main, 1 file, {len(rows()) / 1000:.0f}kB, unverified",
        f"e: pulled from main, 1 file, {len(rows()) / 1000:.0f}kB, verified",
        "",
        f"Use it: export FINANCE_BENCH_DATA={place.folder}",
    ]


def test_replace_takes_what_upstream_has_now(site, place, monkeypatch):
    inject(monkeypatch, one(site, revision="main"))
    command("pull", "--mirror", place.folder)
    inject(monkeypatch, one(site, body=rows(5), revision="main"))
    code, _out, err = command("pull", "--mirror", place.folder)
    assert code == 1 and "altered upstream" in err and "data pull d --replace" in err
    code, out, _err = command("pull", "--replace", "--mirror", place.folder)
    assert code == 0 and out.startswith("d: pulled from main")


def test_status_takes_names_as_pull_does(site, place, monkeypatch):
    inject(monkeypatch, *known(entry("d", [at(site)]), entry("e", [at(site, "b.json")])))
    code, out, _err = command("status", "e", "--mirror", place.folder)
    assert code == 0 and [line.split()[0] for line in out.splitlines()[2:]] == ["e"]
    code, out, err = command("status", "f", "--mirror", place.folder)
    assert (code, out) == (1, "") and err.startswith("Error: unknown dataset 'f'")


def test_pull_goes_on_after_a_failure_and_ends_with_a_summary(site, place, monkeypatch):
    inject(
        monkeypatch,
        *known(entry("d", [{"path": "x.json", "url": f"{site.url}/none"}]), entry("e", [at(site)])),
    )
    code, out, err = command("pull", "--mirror", place.folder)
    first, last = err.splitlines()
    assert code == 1 and first.startswith("Failed: d: could not fetch") and out.startswith("e: pulled")
    assert last == "Error: 1 of 2 datasets could not be pulled: d"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["f"], "Error: unknown dataset 'f'"),
        (["d", "--source", "hub"], "Error: d: unknown source 'hub'"),
        (["--source", "man"], "Error: no dataset has a source 'man'. did you mean 'main'?"),
        (["d"], "Error: d: could not fetch"),
    ],
)
def test_a_mistake_is_one_line(site, place, monkeypatch, args, message):
    inject(monkeypatch, one(site))
    site.files.clear()
    code, _out, err = command("pull", *args, "--mirror", place.folder)
    assert code == 1 and err.startswith(message) and err.count("\n") == 1


FAULTS = {
    "wrong bytes": (lambda site: one(site, sha256=sha(b"other")), lambda site: None),
    "404": (one, lambda site: site.files.clear()),
    "401": (lambda site: one(site, gate=GATE), lambda site: site.refused.update({"/": (401, {})})),
    "503": (one, lambda site: site.refused.update({"/": (503, {})})),
    "ended after": (one, lambda site: site.faults.extend([server.boast(9)] * download.ATTEMPTS)),
    "not JSON": (lambda site: one(site, body=b"{half"), lambda site: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_line_with_exit_code_1(site, place, monkeypatch, fault):
    make, break_it = FAULTS[fault]
    inject(monkeypatch, make(site))
    break_it(site)
    code, out, err = command("pull", "--mirror", place.folder)
    assert (code, out) == (1, "") and err.startswith("Error: ") and err.count("\n") == 1
    assert ("gated" if fault == "401" else fault) in err and nothing_listed(place)


def test_a_dataset_without_sources_is_to_be_adopted(place, monkeypatch, site, tmp_path):
    dataset = adopting(site).model_copy(update={"sources": {}})
    inject(monkeypatch, dataset)
    code, _out, err = command("pull", "--mirror", place.folder)
    assert code == 1 and err.startswith("Error: d: the registry knows no source") and "data adopt" in err
    adopt(dataset, place, tmp_path / "raw")
    code, out, _err = command("pull", "--mirror", place.folder)
    assert code == 0 and out.startswith("d: kept adopted, 1 file")


def test_status_tells_whole_incomplete_and_absent_apart(site, place, monkeypatch):
    subsets = [at(site, "a.json", subset="a"), at(site, "b.json", subset="b")]
    datasets = known(
        entry("d", [at(site, sha256=sha(rows()))]), entry("e", subsets), entry("f", [at(site, "f.json")])
    )
    inject(monkeypatch, *datasets)
    code, out, _err = command("status", "--mirror", place.folder)
    assert code == 0 and "(--mirror; no mirror there yet)" in out and out.count("absent") == 3
    del site.files[f"/{COMMIT}/b.json"]
    site.faults = [server.serve, server.serve, *[server.cut(1000)] * 9]
    command("pull", "--mirror", place.folder)
    (place.folder / "d" / "rows.json").write_bytes(b"short")
    (place.folder / "e" / "a.json").unlink()
    monkeypatch.setenv(mirror.VARIABLE, str(place.folder))
    lines = [" ".join(line.split()) for line in command("status")[1].splitlines()]
    size = f"{len(rows()) / 1000:.0f}kB"
    assert lines == [
        f"mirror {place.folder} ($FINANCE_BENCH_DATA)", "",
        f"d incomplete 1 file, {size}, verified main",
        f"altered d/rows.json: 5 bytes, MANIFEST.json says {len(rows())}",
        "get it: mergekit-finance data pull d",
        f"e incomplete 1 file, {size}, unverified main",
        "missing e/a.json", "missing subset b", "get it: mergekit-finance data pull e",
        "f absent",
        "half-way .incoming/f/f.json.partial: 4000 bytes", "get it: mergekit-finance data pull f",
    ]  # fmt: skip


def test_verify_names_each_altered_or_missing_file(site, place, monkeypatch):
    datasets = known(*(entry(name, [at(site, f"{name}.json")]) for name in "def"))
    inject(monkeypatch, *datasets)
    command("pull", "--mirror", place.folder)
    code, out, err = command("verify", "--mirror", place.folder)
    assert (code, err) == (0, "") and "as recorded, 3 files" in out
    path = place.folder / "d" / "d.json"
    path.write_bytes(path.read_bytes().replace(b"up", b"UP", 1))  # as long as before
    (place.folder / "e" / "e.json").unlink()
    code, out, err = command("verify", "--mirror", place.folder)
    first, second, last = err.splitlines()
    assert code == 1 and out == "" and "d/d.json: altered" in first and "e/e.json: missing" in second
    assert last == f"Error: {place.folder}: 2 of 3 files are altered or missing"
    assert command("verify", "f", "--mirror", place.folder)[0] == 0


def test_verify_of_what_is_not_there_is_one_line(site, place, monkeypatch):
    code, _out, err = command("verify", "--mirror", place.folder)
    assert code == 1 and "no MANIFEST.json" in err and err.count("\n") == 1
    inject(monkeypatch, one(site))
    command("pull", "--mirror", place.folder)
    code, _out, err = command("verify", "e", "--mirror", place.folder)
    assert code == 1 and err.startswith(f"Error: {place.folder}: no files of 'e'") and err.count("\n") == 1


@pytest.mark.parametrize("name", ["pull", "status", "verify", "adopt"])
def test_help_has_an_example(name):
    code, out, _err = command(name, "--help")
    assert code == 0 and f"  mergekit-finance data {name}" in out
