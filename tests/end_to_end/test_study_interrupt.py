"""Ctrl-C in a study: every process stops, and finished results are kept."""

import os
import signal

import pytest
from helpers import study as helpers

MODELS = 63  # the base, two experts, and 20 values for each of 3 combinations


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [True, False], ids=["terminal", "main process alone"])
def test_ctrl_c_stops_all_processes_and_keeps_finished_results(tiny, tmp_path, everyone):
    """A terminal sends it to all processes of the group; `kill -INT` to one."""
    out = tmp_path / "out"
    grid = {"task_arithmetic": {"lambda": [k / 20 for k in range(1, 21)]}}
    path = helpers.write(tmp_path / "study.yml", tiny, workers=2, operators=grid, limit=60)
    process = helpers.begin(path, out, tmp_path / "log")
    helpers.wait_for(lambda: len(helpers.stamps(out)) >= 1, process)
    family = helpers.children(process.pid)
    assert len(family) >= 2
    (os.killpg if everyone else os.kill)(process.pid, signal.SIGINT)
    assert process.wait() == 130
    errors = (tmp_path / "log").read_text()
    assert len(helpers.stamps(out)) < MODELS  # it stopped before the end
    assert f"Interrupted. Finished work is kept in {out}; run the same command again to continue." in errors
    assert "Traceback" not in errors and "leaked" not in errors, errors
    assert not helpers.leftovers(out) and not (out / "summary.json").exists()
    helpers.wait_for(lambda: not any(map(helpers.alive, family)))
