"""Names reach a terminal with control characters escaped, and numbers out of bounds are one line."""

import logging
import os
import re
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mergekit_finance.cli import main
from mergekit_finance.cli.common import printable_logs

ESCAPE = "\x1b[31m\r\x07\u202e"
LATIN = os.fsdecode(b"\xff")  # a file name that is not UTF-8, as Python decodes it
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


def call(*args: object) -> Result:
    return CliRunner().invoke(main, list(map(str, args)))


@pytest.mark.parametrize("name", [ESCAPE, LATIN, f"line\n{ESCAPE}"], ids=["escape", "not UTF-8", "two lines"])
@pytest.mark.parametrize(
    "command",
    [
        ["{}"],
        ["--{}"],
        ["run", "{}.yml", "-o", "out"],
        ["run", "recipe.yml", "-o", "out", "{}"],
        ["run", "recipe.yml", "-o", "out", "--device", "{}"],
        ["run", "recipe.yml", "-o", "out", "--dtype", "{}"],
        ["run", "recipe.yml", "-o", "out", "--batch-size", "{}"],
        ["run", "recipe.yml", "-o", "out", "--limit", "{}"],
        ["study", "{}.yml", "-o", "out"],
        ["study", "plan", "{}.yml"],
        ["study", "plan", "study.yml", "--{}"],
        ["study", "plan", "study.yml", "--executor", "{}"],
        ["report", "{}"],
        ["card", "{}", "-o", "card"],
        ["share", "{}", "--repo", "a/b"],
        ["similarity", "--base", "{}", "{}", "-o", "out.json"],
        ["recipes", "show", "{}"],
        ["recipes", "copy", "{}", "x"],
        ["recipes", "list", "--family", "{}"],
        ["recipes", "export", "{}"],
        ["data", "pull", "{}"],
        ["data", "adopt", "{}"],
        ["data", "verify", "--mirror", "{}"],
    ],
    ids=lambda command: " ".join(command),
)
def test_a_name_in_a_message_cannot_control_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*(part.replace("{}", name) for part in command))
    assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit), done.exception
    assert not CONTROL.search(done.output), repr(done.output)
    if done.exit_code == 1:
        assert len(done.output.strip().splitlines()) == 1


def test_a_name_in_the_output_cannot_control_the_terminal(tmp_path: Path) -> None:
    done = call("recipes", "copy", "lab", tmp_path / ESCAPE)
    assert done.exit_code == 0 and "\\x1b[31m" in done.output and not CONTROL.search(done.output)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--limit", "0", "1<=x<=1000000000"),
        ("--limit", str(10**30), "1<=x<=1000000000"),
        ("--limit", "9" * 5000, "not a valid integer"),
        ("--workers", "1000000", "1<=x<=1024"),
        ("--budget", "nan", "not a number of hours"),
        ("--budget", "inf", "0<x<=100000"),
        ("--budget", "-1", "0<x<=100000"),
        ("--budget", "0", "0<x<=100000"),
        ("--budget", "1e400", "0<x<=100000"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_number_out_of_bounds_names_the_bound(command: str, option: str, value: str, message: str) -> None:
    done = call("study", command, "study.yml", "-o", "out", option, value)
    assert done.exit_code == 2 and f"Invalid value for '{option}'" in done.output and message in done.output


@pytest.mark.parametrize("value", ["0", "-1", "²", "٣", str(10**30), "auto:0", "auto:", "auto:²", "65537"])
def test_a_batch_size_out_of_bounds_is_reported_in_one_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "r.yml").write_text(
        "merge_method: cpt_task_arithmetic\nbase_model: ./b\nmodels: [{model: ./e}]\n"
    )
    done = call("run", tmp_path / "r.yml", "-o", tmp_path / "out", "--batch-size", value)
    assert done.exit_code == 1 and "use a number up to 65536, auto or auto:N." in done.output


def test_logs_and_warnings_of_the_hosts_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger, handler = logging.getLogger("a host"), logging.StreamHandler()
    logger.addHandler(handler)
    with printable_logs():
        logger.warning("factor is %s\nnext", ESCAPE)
        written = capsys.readouterr().err + warnings.formatwarning(ESCAPE, UserWarning, "x.py", 1, "")
    logger.removeHandler(handler)
    assert written.count("\\x1b[31m") == 2 and "\nnext" in written and not CONTROL.search(written)
