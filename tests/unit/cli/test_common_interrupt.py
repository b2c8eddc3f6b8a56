"""Ctrl-C while a command begins: one line and exit code 130, as later."""

from click.testing import CliRunner

from mergekit_finance.cli import main
from mergekit_finance.study import config


def test_ctrl_c_before_anything_is_evaluated_is_one_line(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "load_study", interrupted)
    done = CliRunner().invoke(main, ["study", "study.yml", "-o", "out"])
    assert (done.exit_code, done.output) == (130, "\nInterrupted.\n")
