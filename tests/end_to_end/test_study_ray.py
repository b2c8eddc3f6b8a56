"""`executor: ray` on a local cluster of two nodes, one of them killed during the study: the files are the same."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import study as helpers
from helpers.commands import HANG
from helpers.study import wait_for

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
GRID = {"task_arithmetic": {"lambda": [0.4, 0.5, 0.6]}, "ties": {"density": [0.2, 0.6]}}

# In a process of its own, so that Ray's threads and warnings stay out of pytest.
CLUSTER = """
import sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

folder = Path(sys.argv[1])
# A node that does not answer for three seconds is dead; Ray waits 15 by default.
checks = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
small = {"num_cpus": 1, "object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False, "_system_config": checks})
node = cluster.add_node(**small)
(folder / "address.part").write_text(cluster.address)
(folder / "address.part").rename(folder / "address")
while not (folder / "kill").exists() and not (folder / "end").exists():
    time.sleep(0.02)
cluster.remove_node(node, allow_graceful=False)
(folder / "killed").touch()
while not (folder / "end").exists():
    time.sleep(0.02)
cluster.shutdown()
"""


class Cluster(NamedTuple):
    """A process that holds the cluster, and the folder of the files that control it."""

    process: "subprocess.Popen[bytes]"
    folder: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster in another process, controlled by files; afterwards all its processes must have ended."""
    folder = tmp_path_factory.mktemp("cluster")
    command = [sys.executable, "-c", CLUSTER, str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    family = set()
    try:
        wait_for((folder / "address").exists, process, folder / "log")
        family = helpers.children(process.pid)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", (folder / "address").read_text())
            yield Cluster(process, folder)
    finally:
        family |= helpers.children(process.pid)
        (folder / "end").touch()
        process.wait(HANG)
    wait_for(lambda: not any(map(helpers.alive, family)))


LETHAL = """
import os, sys
import ray
from mergekit_finance.errors import ModelError
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.study import executors
from mergekit_finance.study.worker import Job, Worker

def lethal(*args):
    os._exit(1)

ray.cloudpickle.register_pickle_by_value(sys.modules["__main__"])
executors._work_on_node, executors.RETRIES = lethal, 1
worker = Worker(Evaluator(["task"]), None, {})
try:
    executors.run_on_ray(worker, [Job(reference="x")])
except ModelError as error:
    print("refused:", error)
"""


def test_a_job_that_kills_every_worker_ends_in_one_line(cluster):
    """The study ends after the given number of retries."""
    done = subprocess.run([sys.executable, "-c", LETHAL], capture_output=True, text=True, timeout=HANG)
    assert "refused: Ray lost the same worker 2 times (WorkerCrashedError" in done.stdout, done.stderr[-2000:]


def test_jobs_of_a_node_that_dies_are_done_by_another(tiny, tmp_path, cluster):
    out, log = tmp_path / "out", tmp_path / "log"
    path = helpers.write(tmp_path / "study.yml", tiny, operators=GRID, limit=20, executor="ray")
    study = helpers.start(path, out, log)
    wait_for(lambda: len(helpers.stamps(out)) >= 3, study, log)
    quiet = log.read_text()
    assert len(helpers.stamps(out)) < 18  # the node dies during the study
    (cluster.folder / "kill").touch()
    wait_for((cluster.folder / "killed").exists, cluster.process, cluster.folder / "log")
    stored = helpers.stamps(out)
    assert study.wait(HANG) == 0, log.read_text()[-3000:]
    final = helpers.stamps(out)
    assert stored == {name: final[name] for name in stored} and len(final) == 18
    assert not helpers.leftovers(out)
    assert not any(noise in quiet for noise in ("raylet", "INFO", "Warning")), quiet
    assert "Traceback" not in log.read_text()  # Ray itself reports the node's death; no setting prevents it
    helpers.go(tiny, tmp_path / "local", operators=GRID, limit=20)
    assert helpers.normal(out) == helpers.normal(tmp_path / "local")
