"""`kill -9` in the middle of a study: the same command continues, and the result is that of an undisturbed run.

tests/benchmarks/kill_study.py does the same at twenty moments of the lab study and prints a table.
"""

import time

import pytest
from helpers import study as helpers

pytestmark = pytest.mark.slow
GRID = {"task_arithmetic": {"lambda": [0.4, 0.6]}, "ties": {"density": [0.2, 0.6]}}  # 4 of 3 combinations: 12
MODELS = 15
KILLS = [(1, 1, 0.0), (5, 2, 0.1), (9, 1, 0.05)]  # models stored, workers, seconds after that


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    return helpers.write(tmp_path_factory.mktemp("killed") / "study.yml", tiny, operators=GRID, limit=20)


def test_a_killed_study_continues_with_what_it_had_stored(study, tiny, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    stored: dict[str, bytes] = {}
    unfinished = 0
    for count, workers, later in KILLS:
        process = helpers.begin(study, out, log, "--workers", workers)
        while len(helpers.stamps(out)) < count and process.poll() is None:
            time.sleep(0.01)
        time.sleep(later)
        helpers.kill(process)
        now = helpers.stamps(out)
        assert stored == {name: now[name] for name in stored}  # nothing that was stored is evaluated again
        stored = now
        unfinished += len(stored) < MODELS
    assert unfinished >= 2, log.read_text()[-2000:]  # on a busy machine a kill may come after the end
    helpers.finish(study, out, log, "--workers", 1, start=helpers.begin)
    final = helpers.stamps(out)
    assert stored == {name: final[name] for name in stored} and len(final) == MODELS
    helpers.go(tiny, tmp_path / "undisturbed", operators=GRID, limit=20)
    assert helpers.normal(out) == helpers.normal(tmp_path / "undisturbed")
