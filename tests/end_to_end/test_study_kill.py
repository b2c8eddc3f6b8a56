"""`kill -9` in mid-study: the same command goes on, and the answer is the one of a run that nobody disturbed.

tests/benchmarks/kill_study.py does the same at twenty moments of the lab study and prints a table.
"""

import time

import pytest
from helpers import study as helpers

pytestmark = pytest.mark.slow
GRID = {"task_arithmetic": {"lambda": [0.4, 0.6]}, "ties": {"density": [0.2, 0.6]}}  # 4 of 3 combinations: 12
KILLS = [(1, 1, 0.0), (4, 2, 0.1), (8, 1, 0.2), (10, 1, 0.05)]  # models stored, workers, seconds after that


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    return helpers.write(tmp_path_factory.mktemp("killed") / "study.yml", tiny, operators=GRID, limit=20)


def test_a_killed_study_goes_on_where_it_was(study, tiny, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    known: dict[str, bytes] = {}
    for stored, workers, later in KILLS:
        process = helpers.start(study, out, log, "--workers", workers)
        while len(helpers.stamps(out)) < stored:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.01)
        time.sleep(later)
        helpers.kill(process)
        now = helpers.stamps(out)
        assert known == {name: now[name] for name in known}  # nothing that was stored is made again
        known = now
    assert len(known) < 15  # the last kill was in mid-study too
    helpers.finish(study, out, log, "--workers", 1)
    final = helpers.stamps(out)
    assert known == {name: final[name] for name in known} and len(final) == 15
    helpers.go(tiny, tmp_path / "undisturbed", operators=GRID, limit=20)
    assert helpers.normal(out) == helpers.normal(tmp_path / "undisturbed")
