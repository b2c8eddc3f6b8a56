"""`data pull` in several processes at once, and killed."""

import signal
import time

from helpers import local_server as server
from helpers.commands import HANG
from helpers.datasets import (
    PARTIAL,
    WHOLE,
    entry,
    files_in,
    one_file_dataset,
    rows,
    serve_file,
    start_command,
    wait_until,
)

from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.pull import pull


def test_two_processes_pulling_one_dataset_download_it_once(site, target, tmp_path):
    site.faults = [server.stall(100_000)]
    registry = [entry("d", [serve_file(site)])]
    pulls = [start_command(tmp_path, registry, "data", "pull", "--mirror", target.folder) for _ in range(2)]
    wait_until(lambda: site.requests)
    time.sleep(1.5)  # time for a request of the other process, if the lock did not hold it back
    site.resume.set()
    printed = sorted(pull.communicate(timeout=HANG)[0].split(",")[0] for pull in pulls)
    assert [pull.returncode for pull in pulls] == [0, 0]
    assert printed == ["d: already there from main", "d: pulled from main"]
    assert len(site.requests) == 1 and files_in(target) == WHOLE


def test_two_processes_pulling_into_one_mirror_are_both_listed(site, target, tmp_path):
    site.faults = [server.stall(100_000), server.stall(100_000)]
    registry = [entry("d", [serve_file(site)]), entry("e", [serve_file(site, "more.json")])]
    pulls = [start_command(tmp_path, registry, "data", "pull", n, "--mirror", target.folder) for n in "de"]
    wait_until(lambda: site.requests)
    time.sleep(1)
    site.resume.set()
    assert [(pull.communicate(timeout=HANG), pull.returncode)[1] for pull in pulls] == [0, 0]
    assert sorted(Mirror(target.folder).files) == ["d/rows.json", "e/more.json"]


def test_a_killed_pull_leaves_no_incomplete_file_and_is_resumed(site, target, tmp_path):
    site.faults = [server.stall(200_000)]
    pulling = start_command(
        tmp_path, [entry("d", [serve_file(site)])], "data", "pull", "--mirror", target.folder
    )
    partial = target.folder / ".incoming" / "d" / "rows.json.partial"
    wait_until(lambda: partial.exists() and partial.stat().st_size >= 100_000)
    pulling.send_signal(signal.SIGKILL)
    pulling.communicate()
    assert files_in(target) == PARTIAL
    size = partial.stat().st_size
    pull(one_file_dataset(site), target)
    assert site.requests[-1].range == f"bytes={size}-"
    assert files_in(target) == WHOLE and (target.folder / "d" / "rows.json").read_bytes() == rows()
