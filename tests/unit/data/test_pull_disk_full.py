"""`data pull` onto a full disk: what was downloaded is kept, the mirror stays whole, the error names the place."""

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from helpers.datasets import (
    WHOLE,
    entry,
    files_in,
    hub_entry,
    nothing_listed,
    one_file_dataset,
    parse_entries,
    rows,
    serve_file,
)

from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.pull import pull
from mergekit_finance.errors import DataError


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a separate disk of 128 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_downloaded_part_for_the_next_pull(site, small_disk):
    target = Mirror(small_disk)
    with pytest.raises(DataError, match=r"no space left for http.*kept in .*\.incoming\. Free some space"):
        pull(one_file_dataset(site), target)
    assert len(site.requests) == 1 and nothing_listed(target)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    pull(one_file_dataset(site), target)
    assert site.requests[-1].range not in (None, "bytes=0-") and files_in(target) == WHOLE
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()


def test_a_full_disk_of_the_hubs_cache_is_reported_with_its_folder(target, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("download failed") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mergekit_finance.data.sources._why_hub_is_unreachable", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(
        DataError, match=r"no space left for hf://.*\(HF_HOME changes the place\)\. Free some space"
    ):
        pull(parse_entries(hub_entry("d", {"path": "x.json"}))[0], target)


def test_a_download_stopped_by_a_full_disk_is_resumed(site, target, monkeypatch):
    monkeypatch.setattr(Path, "open", opener(limit=131_072))
    with pytest.raises(DataError, match="no space left"):
        pull(one_file_dataset(site), target)
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    partial_size = (target.folder / ".incoming" / "d" / "rows.json.partial").stat().st_size
    pull(one_file_dataset(site), target)
    assert 0 < partial_size <= 131_072 and site.requests[-1].range == f"bytes={partial_size}-"
    assert (target.folder / "d" / "rows.json").read_bytes() == rows()


def opener(limit):
    """`Path.open` for a disk with room for `limit` bytes in partial files."""
    real = Path.open

    def open_(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        return LimitedFile(file, limit) if path.suffix == ".partial" and mode != "rb" else file

    return open_


class LimitedFile:
    """A file that raises ENOSPC after `limit` bytes."""

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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_while_writing_the_manifest_keeps_the_old_manifest(site, target, monkeypatch):
    pull(one_file_dataset(site), target)
    before = (target.folder / "MANIFEST.json").read_bytes()
    real = tempfile.mkdtemp

    def folder_on_a_full_disk(prefix, dir):
        folder = real(prefix=prefix, dir=dir)
        if prefix.startswith(".MANIFEST.json"):
            (Path(folder) / "MANIFEST.json").symlink_to("/dev/full")
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", folder_on_a_full_disk)
    other = parse_entries(entry("e", [serve_file(site, "more.json")]))[0]
    with pytest.raises(DataError, match=r"e: cannot write to the mirror .*No space left.*--mirror"):
        pull(other, target)
    assert (target.folder / "MANIFEST.json").read_bytes() == before
    assert not list(target.folder.glob(".MANIFEST.json.*"))


def test_a_mirror_folder_that_cannot_be_created_is_reported(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="d: cannot write to the mirror .*file/m"):
        pull(one_file_dataset(site), Mirror(tmp_path / "file" / "m"))
