"""The folder that a report is written to, and files that are in its way."""

import errno
from pathlib import Path

import pytest
from helpers.report import report, study

from mergekit_finance.report.writing import build


def test_figures_without_results_are_removed(tmp_path):
    out = study(tmp_path / "out")
    build(out)
    (out / "figures" / "mine.png").write_bytes(b"")
    (out / "similarity.json").unlink()
    build(out)
    remaining = {path.name for path in (out / "figures").iterdir()}
    assert "7-layers.png" not in remaining and {"mine.png", "1-stages.svg"} <= remaining


@pytest.mark.parametrize("kind", ["link", "file"])
def test_figures_are_written_only_into_a_real_folder(tmp_path, kind):
    out, place = study(tmp_path / "out"), tmp_path / "elsewhere"
    place.mkdir()
    (out / "figures").symlink_to(place) if kind == "link" else (out / "figures").write_text("mine")
    done = report(out)
    assert done.exit_code == 1 and "is a link or not a folder" in done.output
    assert len(done.output.strip().splitlines()) == 1 and not list(place.iterdir())


def test_a_read_only_folder_is_a_one_line_error(tmp_path, monkeypatch):
    """Fail as a read-only mount does, also for the removal of files that do not exist."""
    out = study(tmp_path / "out")

    def refuse(self, *args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "write_bytes", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    done = report(out)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert "cannot be written" in done.output and len(done.output.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["report.html", "figures/1-stages.png", "figures/7-layers.svg"])
def test_a_folder_in_place_of_a_file_is_named_before_anything_is_written(tmp_path, name):
    out = study(tmp_path / "out")
    (out / name).mkdir(parents=True)
    before = sorted(out.rglob("*"))
    done = report(out)
    assert done.exit_code == 1 and f"{out / name}: is a folder" in done.output
    assert len(done.output.strip().splitlines()) == 1 and sorted(out.rglob("*")) == before
