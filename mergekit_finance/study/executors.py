"""Run the jobs of a study: in this process, in several, or on a Ray cluster. The stored files are the same.

Every process takes models that no other has, of this command or of another one on the same folder (see
`schedule` and `claims`). No process assigns work to another.
"""

import itertools
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from mergekit_finance.errors import MergekitFinanceError, ModelError, first_line, printable
from mergekit_finance.evaluation.batch_limit import NoRoomError
from mergekit_finance.evaluation.inference.graphs import capture_policy
from mergekit_finance.hosts.transformers import hide_loading_bars
from mergekit_finance.study import claims
from mergekit_finance.study.finished import Finished, Planned, requests_per_model
from mergekit_finance.study.progress import Progress, State, messages_above
from mergekit_finance.study.worker import Job, Worker, noop
from mergekit_finance.study.worker_count import Need, devices

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnContext, SpawnProcess

    from ray import ObjectRef

RETRIES = 5  # how often workers that died before they evaluated anything are started again
POLL_SECONDS = 0.5
OUT_OF_MEMORY = 17  # exit code of a worker process that ran out of GPU memory
LAST = 200  # bytes of a dead process's output that are shown
PATIENCE = 10.0  # seconds within which a worker must end after it was asked to


@dataclass(frozen=True)
class Executor:
    """How jobs are run.

    Attributes:
        kind: `local` or `ray`.
        workers: processes per device; None: as many as free memory and cores allow.
        need: what one process takes on its device.
        quiet: without progress bars.
        say: prints a line.
        label: the title of the progress bar.
    """

    kind: str
    workers: int | None
    need: Need
    quiet: bool
    say: Callable[[str], None]
    label: str = "study"

    def devices(self, worker: Worker) -> list[str]:
        """Return the device of each local worker process."""
        if worker.evaluator.spread:
            return [worker.evaluator.device]  # one process has all GPUs
        return devices(worker.evaluator.device, self.workers, self.need)

    def run_missing(self, worker: Worker, jobs: Sequence[Job]) -> list[str]:
        """Evaluate the models of the jobs that have no stored results, or damaged ones.

        Returns:
            The folder names of all models of the jobs, in their order.
        """
        store = worker.store
        steps = [(job, worker.place(step), step) for job in jobs for step in job.steps]
        places = list(dict.fromkeys(place for _, place, _ in steps))
        for place, samples in {place: worker.samples and not step.items for _, place, step in steps}.items():
            if damage := store.discard_damaged(place, samples):
                self.say(f"{damage}: evaluated again")
        stored = len(store.stored(places))
        missing = worker.missing(jobs)
        most = len(dict.fromkeys(place for job, place, _ in steps if not job.race))
        most += sum(job.evaluations for job in jobs if job.race)
        count = max(most, stored) if missing else stored
        self.say(f"{stored} of {count} models are stored, {count - stored} to do")
        if missing:
            if line := self.captures(worker, len(missing)):
                self.say(line)
            self._run(worker, [job for job in jobs if worker.missing([job])], count)
        return [worker.place(job).name for job in jobs if not job.race]

    def captures(self, worker: Worker, models: int) -> str:
        """Return in words when decoding steps are captured as CUDA graphs; "" if they are not."""
        evaluator = worker.evaluator
        if self.kind != "local" or not evaluator.captures:
            return ""
        return f"{evaluator.device}: {capture_policy(-(-models // len(self.devices(worker))))}"

    def _run(self, worker: Worker, jobs: Sequence[Job], count: int) -> None:
        progress = Progress(count, self._finished(worker, jobs, count), self.label, self.quiet)
        try:
            with progress:
                if self.kind == "ray":
                    run_on_ray(worker, jobs, self.workers or 1)
                else:
                    run_local(worker, jobs, self.devices(worker), progress)
        finally:
            worker.store.clean()  # what stopped processes left half-written

    def _finished(self, worker: Worker, jobs: Sequence[Job], count: int) -> Callable[[], State]:
        """Return a function that counts, for the progress bar, what all processes have finished.

        Args:
            worker: does the jobs.
            jobs: those that are not finished.
            count: the models of all jobs.
        """
        if self.quiet:
            return lambda: State(0, 0.0)
        models = {
            worker.place(step): Planned(worker.name(step), worker.answers_folder(step))
            for job in jobs
            for step in job.steps
        }
        before = count - sum(job.evaluations for job in jobs)  # were stored
        # In a race models have different numbers of answers, so models are counted.
        is_race = any(job.race for job in jobs)
        requests = 0 if is_race else requests_per_model(worker.evaluator, worker.limit)
        finished = Finished(worker.store, models, requests)

        def state() -> State:
            now = finished.state()
            return replace(now, models=now.models + before, share=now.share + before)

        return state


# ---- this machine


def run_local(worker: Worker, jobs: Sequence[Job], devices: Sequence[str], progress: Progress) -> None:
    """Do all jobs, one process per device; with one device or one job, in this process.

    Args:
        worker: does the jobs.
        jobs: the jobs to do.
        devices: the device of each process.
        progress: shows what is done, and lines for the user.
    """
    models = sum(job.evaluations for job in jobs)
    if len(devices) > 1 and models > 1:
        _Pool(worker, jobs, list(devices)[:models], progress).run()
        return
    alone = replace(
        worker, evaluator=worker.evaluator.on(devices[0], True), done=lambda name: progress.update()
    )
    hide_loading_bars()
    try:
        with messages_above(progress):
            alone.work(jobs)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{devices[0]} is out of memory ({first_line(error)}); finished work is kept. Run the same "
            "command again, with a smaller batch_size."
        ) from error
    finally:
        alone.close()


@dataclass
class _Process:
    """A worker process.

    Attributes:
        process: the process.
        connection: this process's end of the connection to it.
        device: its device.
        output: a file with what hosts print in it, which would break the progress bar.
    """

    process: "SpawnProcess"
    connection: "Connection"
    device: str
    output: Path


class _Pool:
    """Worker processes that do the jobs. Those that die are not replaced as long as others are left.

    Args:
        worker: does the jobs in each process.
        jobs: the jobs to do.
        devices: the device of each process.
        progress: lines for the user are shown with it.
    """

    def __init__(
        self, worker: Worker, jobs: Sequence[Job], devices: Sequence[str], progress: Progress
    ) -> None:
        self._worker, self._jobs, self._devices, self._progress = worker, jobs, devices, progress
        self._context: SpawnContext = get_context("spawn")  # torch and CUDA do not survive a fork
        self._processes: list[_Process] = []
        self._places = [worker.place(step) for job in jobs for step in job.steps]
        self._folder = tempfile.TemporaryDirectory()
        self._numbers = itertools.count()
        self._restarts: list[int] = []  # the number of stored models at each of them

    def run(self) -> None:
        """Start the processes and wait until they have done all jobs.

        Raises:
            MergekitFinanceError: as a process raised it; the others are stopped.
            ModelError: processes died repeatedly.
        """
        try:
            with _ignore_sigint():
                for device in self._devices:
                    self._start(device)
            while self._processes:
                connection.wait([one.connection for one in self._processes], POLL_SECONDS)
                for one in list(self._processes):
                    self._look_at(one)
        finally:
            self._stop()
            self._folder.cleanup()

    def _start(self, device: str) -> None:
        here, there = self._context.Pipe()
        output = Path(self._folder.name) / f"{next(self._numbers)}.txt"
        worker = self._worker.unloaded(device, len(self._devices), self._devices.count(device))
        arguments = replace(worker, started=time.monotonic()), self._jobs, there, output
        process = self._context.Process(target=_work_in_process, args=arguments)
        process.start()
        there.close()
        self._processes.append(_Process(process, here, device, output))

    def _look_at(self, one: _Process) -> None:
        """Raise what a process raised, print what it says, and note its end."""
        with suppress(EOFError, OSError):
            while one.connection.poll():
                message = one.connection.recv()
                if isinstance(message, BaseException):
                    raise message
                self._progress.say(str(message))
            return
        one.process.join(PATIENCE)
        self._processes.remove(one)
        one.connection.close()
        if one.process.exitcode:
            self._note_death(one)

    def _note_death(self, one: _Process) -> None:
        """Print that a process died. If none is left, start another one."""
        reason = _reason(one.process.exitcode or 0) + _end_of_output(one.output)
        left = len(self._processes)
        others = (
            f"the other {left} go on" if left > 1 else "the other one goes on" if left else "started again"
        )
        if not left:
            self._restarts.append(len(self._worker.store.stored(self._places)))
            if self._restarts.count(self._restarts[-1]) > RETRIES:
                raise ModelError(
                    f"worker processes died repeatedly ({reason}); finished work is kept. Run the same "
                    "command again, with fewer `workers:` or a smaller batch_size."
                )
            with _ignore_sigint():
                self._start(one.device)
        self._progress.say(f"a worker process on {one.device} died ({reason}): {others}")

    def _stop(self) -> None:
        """End all processes at once: the models that are being evaluated may take hours."""
        for one in self._processes:
            one.connection.close()  # a process ends when its connection does
        for one in self._processes:
            one.process.join(PATIENCE)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()


def _reason(code: int) -> str:
    """Return why a process ended with an exit code."""
    if code == OUT_OF_MEMORY:
        return "out of GPU memory"
    return f"signal {-code}: out of memory?" if code < 0 else f"exit code {code}"


def _end_of_output(output: Path) -> str:
    """Return the end of what a process printed, to be added to the reason of its death."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - LAST))
            words = file.read().decode("utf-8", "replace").split()
    except OSError:
        return ""
    return f"; it printed: {printable(' '.join(words))}" if words else ""


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """Start workers with SIGINT ignored, so that only the parent handles Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work_in_process(worker: Worker, jobs: Sequence[Job], parent: "Connection", output: Path) -> None:
    """Do jobs in a worker process. It ends with its parent, or when the parent closes the connection.

    Args:
        worker: does the jobs.
        jobs: the jobs.
        parent: the connection; exceptions and the warnings of this package are sent through it.
        output: the file that takes what hosts print.
    """
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    tqdm.set_lock(threading.RLock())  # tqdm's own has a semaphore, which outlives a killed process
    _redirect_output(output)
    _forward_warnings(parent)
    hide_loading_bars()
    try:
        worker.work(jobs)
    except (torch.OutOfMemoryError, NoRoomError):  # of a device that this process shares with others
        sys.exit(OUT_OF_MEMORY)
    except MergekitFinanceError as error:
        parent.send(error)
    except Exception as error:
        parent.send(RuntimeError(f"in a worker process: {error!r}\n{traceback.format_exc()}"))
    else:
        os._exit(0)  # at once: the interpreter would take a second to release what the system releases


def _redirect_output(output: Path) -> None:
    """Let everything that this process prints go to a file, also from code that is not Python."""
    with output.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def _forward_warnings(parent: "Connection") -> None:
    """Send the warnings of this package to the parent, which prints them above its bar."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(OSError):
                parent.send(record.getMessage())

    logger = logging.getLogger("mergekit_finance")
    logger.addHandler(Handler(logging.WARNING))
    logger.propagate = False


def _exit_with_parent(parent: "Connection") -> None:
    with suppress(EOFError, OSError):
        parent.recv()
    claims.release_all()
    os._exit(1)


# ---- Ray


def run_on_ray(worker: Worker, jobs: Sequence[Job], per_gpu: int = 1) -> None:
    """Run as many Ray tasks as models to evaluate, on the cluster that RAY_ADDRESS names or a local one.

    Each task does jobs until none is left; a cluster that grows may begin more tasks later. The output folder
    must be on a disk that all nodes share. A task whose node died is run again on another; what it had stored
    is kept.
    """
    ray = _import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True)
    try:
        gpus = 1 / per_gpu if worker.evaluator.device.startswith("cuda") else 0
        task = ray.remote(num_cpus=worker.threads, num_gpus=gpus, max_retries=RETRIES)(_work_on_node)
        shared = ray.put((worker.unloaded(worker.evaluator.device, on_device=per_gpu), list(jobs)))
        models = sum(job.evaluations for job in jobs)
        pending = [task.remote(shared, os.getcwd(), _data_settings()) for _ in range(models)]
        while pending:
            finished, pending = ray.wait(pending, timeout=POLL_SECONDS)
            for reference in finished:
                _check_result(ray, reference)
    finally:
        if started_here:
            ray.shutdown()


def _data_settings() -> dict[str, str]:
    """Return the settings that decide which rows are read, so that every node reads the same rows."""
    return {name: value for name, value in os.environ.items() if name.startswith(("FINANCE_BENCH_", "HF_"))}


_node_worker: Worker | None = None  # of a Ray worker process, with the tasks that it has loaded


def _work_on_node(work: tuple[Worker, Sequence[Job]], folder: str, settings: Mapping[str, str]) -> None:
    """Do jobs in a Ray worker process, in the study's working directory, so that paths mean the same."""
    global _node_worker
    worker, jobs = work
    os.chdir(folder)
    os.environ.update(settings)
    if _node_worker is None or replace(_node_worker, done=noop) != worker:
        _node_worker = worker
    _node_worker.work(jobs)


def _check_result(ray: ModuleType, reference: "ObjectRef[None]") -> None:
    """Raise what a job raised, with our own errors as they are."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MergekitFinanceError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:  # the worker or its node died at every attempt
        raise ModelError(
            f"Ray lost the same worker {RETRIES + 1} times ({type(error).__name__}: out of memory?); "
            "finished work is kept. Run the same command again, on nodes with more memory."
        ) from error


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise ModelError(
            "executor: ray needs Ray, which is not installed: pip install 'mergekit-finance[ray]'"
        ) from error
    module: ModuleType = ray
    return module
