"""Ctrl-C while a command begins: one line and exit code 130, as later."""

import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from mergekit_finance import interrupts
from mergekit_finance.cli import main
from mergekit_finance.study import config


def test_ctrl_c_before_anything_is_evaluated_is_one_line(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "load_study", interrupted)
    done = CliRunner().invoke(main, ["study", "study.yml", "-o", "out"])
    assert (done.exit_code, done.output) == (130, "\nInterrupted.\n")


# A process that was started in the background ignores SIGINT, and so do its children: the first line ends that.
INTERRUPT = """\
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.alarm(300)  # a signal that is ignored must not let the test wait for ever
import mergekit_finance
os.kill(os.getpid(), signal.SIGINT)
signal.pause()
"""


def run_script(path: Path, text: str) -> "subprocess.CompletedProcess[str]":
    path.write_text(text)
    return subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=False)


def test_ctrl_c_while_the_command_starts(tmp_path):
    done = run_script(tmp_path / "mergekit-finance", INTERRUPT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nInterrupted.\n")


def test_other_programs_keep_their_own_answer_to_ctrl_c(tmp_path):
    done = run_script(tmp_path / "train.py", INTERRUPT)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith("KeyboardInterrupt\n")


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
    text = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nimport mergekit_finance\nprint(signal.getsignal(2).name)"
    assert run_script(tmp_path / "mergekit-finance", text).stdout == "SIG_IGN\n"


def test_a_command_that_has_started_handles_ctrl_c_itself(monkeypatch):
    before = signal.signal(signal.SIGINT, interrupts.exit_quietly)
    try:
        assert CliRunner().invoke(main, ["recipes", "list"]).exit_code == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
