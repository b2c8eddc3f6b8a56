"""Worker processes that share jobs: who does what, who dies, and what is said. Nothing is merged or evaluated."""

import io
import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import dataclass

import pytest
from helpers import study as helpers

from mergekit_finance.errors import ModelError
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.study import executors, local_pool, worker
from mergekit_finance.study.progress import Progress, State
from mergekit_finance.study.worker import Job, Worker


@dataclass
class Fake(Worker):
    """Its models are folders. It notes in OUT/log which it has begun, and dies with some of them."""

    lethal: tuple[str, ...] = ()
    seconds: float = 0.01
    broken: str = ""
    at_start: bool = False

    def loaded(self, device, processes=1, on_device=1):
        return self

    def place(self, job):
        return self.store.points / job.reference

    def work(self, jobs):
        if self.at_start:
            os._exit(9)
        super().work(jobs)

    def _evaluate(self, job, missing):
        with (self.out / "log").open("a") as log:
            log.write(f"{job.reference}\n")
        time.sleep(self.seconds * random.random())
        if job.reference in self.lethal:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.reference == self.broken:
            raise ModelError("broken: holds NaN. Replace it.")
        place = self.place(job)
        place.mkdir(parents=True)
        (place / "scores.json").touch()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(local_pool, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)


def run(fake, names, processes):
    """Run jobs in processes. Returns what was printed."""
    file = io.StringIO()
    with Progress(len(names), lambda: State(0, 0.0), quiet=True, file=file) as progress:
        executors.run_local(fake, [Job(reference=name) for name in names], ["cpu"] * processes, progress)
    return file.getvalue().splitlines()


def begun(out):
    return sorted((out / "log").read_text().split())


def stored(out):
    return sorted(path.name for path in (out / "points").iterdir())


NAMES = sorted(f"m{k:02}" for k in range(24))


def test_processes_share_jobs_and_do_none_twice(tmp_path):
    assert run(Fake(Evaluator(["task"]), tmp_path, {}), NAMES, 4) == []
    assert begun(tmp_path) == stored(tmp_path) == NAMES
    assert not (tmp_path / ".locks").exists()


def test_several_commands_share_jobs_and_do_none_twice(tmp_path):
    context = multiprocessing.get_context("fork")
    commands = [
        context.Process(target=run, args=(Fake(Evaluator(["task"]), tmp_path, {}), NAMES, 2))
        for _ in range(3)
    ]
    for command in commands:
        command.start()
    for command in commands:
        command.join()
    assert [command.exitcode for command in commands] == [0, 0, 0]
    assert begun(tmp_path) == stored(tmp_path) == NAMES
    assert not (tmp_path / ".locks").exists()


def test_a_process_that_dies_is_named_in_one_line_and_the_others_do_its_work(tmp_path, monkeypatch):
    """The job is done by another process: only the first one to begin it dies."""
    original = Fake._evaluate

    def dies_once(self, job, missing):
        first = job.reference == "m05" and not (tmp_path / "died").exists()
        if first:
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, job, missing)

    monkeypatch.setattr(Fake, "_evaluate", dies_once)
    (line,) = run(Fake(Evaluator(["task"]), tmp_path, {}), NAMES, 3)
    assert line == "a worker process on cpu died (signal 9: out of memory?): the other 2 go on"
    assert begun(tmp_path) == stored(tmp_path) == NAMES


def test_a_job_that_kills_every_process_is_left_out_and_ends_in_one_line(tmp_path):
    """The rest is done first."""
    fake = Fake(Evaluator(["task"]), tmp_path, {}, lethal=("m00",))
    with pytest.raises(ModelError, match="m00: 3 worker processes died while they evaluated it") as caught:
        run(fake, NAMES, 2)
    assert "\n" not in str(caught.value)
    assert stored(tmp_path) == NAMES[1:] and begun(tmp_path) == ["m00"] * 3 + NAMES[1:]
    fake.store.clean()  # at the end of a command, and at the start of the next one
    assert run(Fake(Evaluator(["task"]), tmp_path, {}), NAMES[:2], 2) == []
    assert stored(tmp_path) == NAMES


def test_processes_that_die_before_they_do_anything_end_in_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"worker processes died repeatedly \(exit code 9\)"):
        run(Fake(Evaluator(["task"]), tmp_path, {}, at_start=True), NAMES, 2)


def test_an_error_of_a_process_stops_the_others_and_leaves_no_claims(tmp_path):
    fake = Fake(Evaluator(["task"]), tmp_path, {}, broken="m03", seconds=0.2)
    with pytest.raises(ModelError, match="broken: holds NaN. Replace it."):
        run(fake, NAMES, 3)
    assert len(stored(tmp_path)) < len(NAMES)
    fake.store.clean()
    assert not (tmp_path / ".locks").exists() and not multiprocessing.active_children()


def test_what_a_process_prints_is_shown_only_if_it_dies_and_its_warnings_above_the_bar(tmp_path, monkeypatch):
    def talks(self, job, missing):
        os.write(2, b"of the C code\nof a host\n")
        logging.getLogger("mergekit_finance.x").warning("batch halved")
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(7)
        place = self.place(job)
        place.mkdir(parents=True)
        (place / "scores.json").touch()

    monkeypatch.setattr(Fake, "_evaluate", talks)
    printed = run(Fake(Evaluator(["task"]), tmp_path, {}), NAMES[:3], 2)
    deaths = [line for line in printed if "died" in line]
    said = "a worker process on cpu died (exit code 7; it printed: of the C code of a host)"
    # Which of the two depends on whether the other process has begun before this one died.
    assert deaths in ([f"{said}: the other one goes on"], [f"{said}: started again"])
    assert printed.count("batch halved") == 4 and len(printed) == 5


def test_processes_end_when_the_parent_is_killed(tmp_path):
    fake = Fake(Evaluator(["task"]), tmp_path, {}, seconds=1200)
    parent = multiprocessing.get_context("fork").Process(target=run, args=(fake, NAMES, 3))
    parent.start()
    helpers.wait_for(lambda: (tmp_path / "log").exists() and len(begun(tmp_path)) == 3)
    family = helpers.children(parent.pid)
    assert len(family) == 3
    parent.kill()
    parent.join()
    helpers.wait_for(lambda: not any(map(helpers.alive, family)))


@pytest.mark.parametrize(
    ("device", "threads", "platform", "forks"),
    [
        ("cpu", 1, "linux", True),
        ("cuda:0", 1, "linux", False),  # CUDA does not survive a fork
        ("cpu", 2, "linux", False),  # nor do the threads of torch
        ("cpu", 1, "darwin", False),
    ],
)
def test_workers_are_forked_where_that_is_safe(tmp_path, monkeypatch, device, threads, platform, forks):
    monkeypatch.setattr(local_pool.sys, "platform", platform)
    fake = Fake(Evaluator(["task"], device=device), tmp_path, {}, threads=threads)
    assert local_pool.can_fork(fake) is forks
    ended = threading.Event()
    of_the_callers_program = threading.Thread(target=ended.wait)
    of_the_callers_program.start()
    assert not local_pool.can_fork(fake)
    ended.set()
    of_the_callers_program.join()


def test_a_process_alone_does_its_jobs_in_this_process(tmp_path):
    assert run(Fake(Evaluator(["task"]), tmp_path, {}), NAMES, 1) == []
    assert (tmp_path / "log").read_text().split() == NAMES
