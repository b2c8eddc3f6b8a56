"""`study --quiet`: no progress bar of a host either."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mergekit_finance.cli import main

BARS = "HF_DATASETS_DISABLE_PROGRESS_BARS"  # of the datasets package


@pytest.mark.parametrize("quiet", [True, False])
def test_the_bars_of_rows_are_off_if_quiet_is_given(
    quiet: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, BARS, "")  # so that the old state comes back
    monkeypatch.delitem(os.environ, BARS)
    (tmp_path / "study.yml").write_text("base: 1\n")  # refused before anything runs
    options = [*(["--quiet"] if quiet else []), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(main, ["study", "run", str(tmp_path / "study.yml"), *options]).exit_code == 1
    assert (os.environ.get(BARS) == "1") == quiet
