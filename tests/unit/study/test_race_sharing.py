"""Processes that share races: the same winner with 1 and with 4, and no round is evaluated twice.

Nothing is merged: scores are drawn from a seed for every point and item.
"""

import hashlib
import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import study as helpers

from mergekit_finance.evaluation.columns import Columns
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.files import write_json
from mergekit_finance.study import config, executors, local_pool, worker
from mergekit_finance.study.points import points
from mergekit_finance.study.progress import Progress, State
from mergekit_finance.study.race import race_result, races
from mergekit_finance.study.schema import TaskInfo
from mergekit_finance.study.subsets import item_order
from mergekit_finance.study.worker import Job, Worker

ITEMS = 40


@dataclass
class Fake(Worker):
    """Its models are folders with random scores. It notes in OUT/log which it has begun."""

    def loaded(self, device, processes=1, on_device=1):
        return self

    def place(self, job):
        return self.store.points / f"{job.point.name}-{job.items.digest if job.items else 'all'}"

    def _evaluate(self, job, missing):
        place = self.place(job)
        with (self.out / "log").open("a") as log:
            log.write(f"{place.name}\n")
        seed = int.from_bytes(hashlib.sha256(job.point.name.encode()).digest()[:4], "big")
        right = np.random.default_rng(seed).random(ITEMS) < 0.5
        rows = job.items.positions["t"] if job.items else range(ITEMS)
        ids, values = [str(k) for k in rows], [float(right[k]) for k in rows]
        columns = Columns(items=ids, clusters=ids, score=values, correct=values, options=[0] * len(ids))
        place.mkdir(parents=True)
        write_json(place / ".new", {"t": columns.as_json()})
        (place / ".new").rename(place / "scores.json")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(local_pool, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)


def run(out, processes):
    """Run two races. Returns their results and how often each model was begun."""
    grid = {"task_arithmetic": {"lambda": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}}
    search = {"method": "successive_rejects", "budget": 0.4}
    study = config.parse_study(helpers.content(".", stages=[1], operators=grid, search=search), "study.yml")
    order = item_order({"t": {str(k): [k] for k in range(ITEMS)}}, seed=0)
    tasks = {"t": TaskInfo(kind="tasks", dataset="t", aggregation="mean")}
    planned = races(points(study, 1), order, study, tasks)
    fake = Fake(Evaluator(["task"]), out, {})
    with Progress(1, lambda: State(0, 0.0), quiet=True, file=io.StringIO()) as progress:
        executors.run_local(fake, [Job(race=race) for race in planned], ["cpu"] * processes, progress)
    return [race_result(race, fake.standing(race)) for race in planned], Counter(
        (out / "log").read_text().split()
    )


def test_races_end_the_same_with_1_and_with_4_processes_and_ask_nothing_twice(tmp_path):
    alone, begun = run(tmp_path / "one", 1)
    together, begun_together = run(tmp_path / "four", 4)
    assert together == alone
    assert set(begun_together) == set(begun) and set(begun_together.values()) == set(begun.values()) == {1}
    assert len(begun) == 2 * (8 + 4 + 2 + 1)
