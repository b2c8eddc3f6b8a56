"""`study --quiet`: no progress bar of a host either. What the command does before it loads the hosts."""

import os
import subprocess
import sys
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


@pytest.mark.parametrize("command", [["study", "run", "-o", "out"], ["study", "plan"]])
def test_a_mistake_in_the_study_file_is_named_before_the_hosts_are_loaded(
    command: list[str], tmp_path: Path
) -> None:
    """Loading them takes 5 to 10 seconds."""
    (tmp_path / "study.yml").write_text("base: 1\n")
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom mergekit_finance.cli import main\n"
        f"result = CliRunner().invoke(main, {[*command, 'study.yml']})\n"
        "print(result.exit_code, [name for name in ('torch', 'lm_eval', 'mergekit') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 []\n"
