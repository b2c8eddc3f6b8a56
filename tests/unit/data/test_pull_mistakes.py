"""`data pull` when the server, the network or the file is wrong: one line with a remedy, and nothing listed."""

import socket

import pytest
from helpers import local_server as server
from helpers.datasets import (
    GATE,
    WHOLE,
    entry,
    files_in,
    nothing_listed,
    one_file_dataset,
    parse_entries,
    rows,
    serve_file,
    sha256,
)

from mergekit_finance.data import download
from mergekit_finance.data.mirror import VARIABLE, Mirror
from mergekit_finance.data.pull import pull
from mergekit_finance.errors import DataError


def test_a_wrong_checksum_is_reported_with_both_values_and_the_file_deleted(site, target):
    with pytest.raises(DataError) as error:
        pull(one_file_dataset(site, sha256=sha256(b"other")), target)
    assert sha256(rows()) in str(error.value) and sha256(b"other") in str(error.value)
    assert files_in(target) == set()


def test_a_wrong_checksum_leaves_the_older_file_unchanged(site, target):
    pull(one_file_dataset(site), target)
    with pytest.raises(DataError, match="wrong SHA-256"):
        pull(one_file_dataset(site, sha256=sha256(b"other")), target, replace=True)
    assert files_in(target) == WHOLE and Mirror(target.folder).verify("d/rows.json")


def test_a_body_shorter_than_its_content_length_is_never_accepted(site, target):
    site.faults = [server.announce_more(10)] * download.ATTEMPTS
    with pytest.raises(DataError, match=f"ended after {len(rows())} of {len(rows()) + 10} bytes"):
        pull(one_file_dataset(site), target)
    assert len(site.requests) == download.ATTEMPTS and nothing_listed(target)


def test_a_transient_error_is_retried_with_growing_pauses(site, target, waits):
    site.faults = [server.status(500), server.status(503), server.status(429, Retry_After="7")]
    pull(one_file_dataset(site), target)
    assert waits == [1, 2, 7] and files_in(target) == WHOLE


def test_retry_after_is_obeyed_up_to_a_limit(site, target, waits):
    site.faults = [server.status(429, Retry_After="86400"), server.status(503, Retry_After="tomorrow")]
    pull(one_file_dataset(site), target)
    assert waits == [download.MAX_WAIT, 2]


def test_pull_gives_up_after_the_last_attempt(site, target):
    site.faults = [server.status(503)] * 9
    with pytest.raises(DataError, match=r"HTTP 503\)\. Pull again later"):
        pull(one_file_dataset(site), target)
    assert len(site.requests) == download.ATTEMPTS and nothing_listed(target)


def test_a_silent_server_is_retried_after_the_timeout(site, target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    site.faults = [server.stall(100_000)]
    pull(one_file_dataset(site), target)
    assert [request.range for request in site.requests] == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("code", "gate", "message"),
    [
        (404, None, r"rows\.json \(HTTP 404\)\. The file was moved.*data adopt"),
        (403, None, r"rows\.json \(HTTP 403\)\. The file was moved.*data adopt"),
        (401, GATE, f"d: access is gated. Accept the terms at {GATE}, download the files there"),
        (403, GATE, f"d: access is gated. Accept the terms at {GATE}, download the files there"),
    ],
)
def test_a_refused_request_is_not_retried_and_the_error_has_a_remedy(site, target, code, gate, message):
    site.refused = {"/": (code, {})}
    with pytest.raises(DataError, match=message) as error:
        pull(one_file_dataset(site, gate=gate), target)
    assert len(site.requests) == 1 and "\n" not in str(error.value) and nothing_listed(target)


def test_the_error_names_the_other_sources(site, target):
    several = entry("d", [serve_file(site)])
    several["d"]["sources"]["copy"] = several["d"]["sources"]["main"]
    site.refused = {"/": (404, {})}
    with pytest.raises(DataError, match="Another source: --source copy"):
        pull(parse_entries(several)[0], target)


def test_without_network_the_error_names_the_cause(target, monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    there = parse_entries(entry("d", [{"path": "rows.json", "url": "http://data.example/rows.json"}]))[0]
    with pytest.raises(
        DataError, match=f"no network, or no such host.*If this machine is offline, set {VARIABLE}"
    ):
        pull(there, target)


def test_a_refused_connection_is_reported(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/rows.json"
    with pytest.raises(DataError, match=r"could not fetch http://127.*Connection refused"):
        pull(parse_entries(entry("d", [{"path": "rows.json", "url": url}]))[0], target)


def test_offline_mode_sends_no_request(site, target, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        pull(one_file_dataset(site), target)
    assert site.requests == []


def test_a_wrong_row_is_reported_by_line_and_nothing_is_listed(site, target):
    body = rows(3) + b'{"id": 3, "input": "x", "options": ["a", "b"]}\n'
    with pytest.raises(DataError, match=r"rows\.json, line 4: column 'gold_index'"):
        pull(one_file_dataset(site, body=body), target)
    assert files_in(target) == set()


def test_an_html_page_in_place_of_a_file_is_not_listed(site, target):
    with pytest.raises(DataError, match=r"rows\.json, line 1: not JSON"):
        pull(one_file_dataset(site, body=b"<html>Please log in</html>"), target)
    assert files_in(target) == set()
