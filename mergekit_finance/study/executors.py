"""Run jobs: in this process, in one process per device, or on a Ray cluster. Files are the same."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from mergekit_finance.errors import MergekitFinanceError, ModelError
from mergekit_finance.study.worker import Job, Worker, noop

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

    from ray import ObjectRef
    from typing_extensions import Never

SMALL_MODEL = 2 << 30  # bytes of weights; on the CPU every core's worker may hold a model up to this size
RETRIES = 5  # attempts at a job whose worker or node died, so that a job that kills every worker ends
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Executor:
    """How jobs are run.

    Attributes:
        kind: `local` or `ray`.
        workers: processes; None: one per GPU, or one per core for small models.
        model_size: bytes of one model's weights.
        quiet: without progress bars.
        say: prints a line.
        label: the title of the progress bar.
    """

    kind: str
    workers: int | None
    model_size: int
    quiet: bool
    say: Callable[[str], None]
    label: str = "study"

    def devices(self, worker: Worker) -> list[str]:
        """Return the device of each local worker process."""
        return devices(worker.evaluator.device, self.workers, self.model_size)

    def run_missing(self, worker: Worker, jobs: Sequence[Job]) -> list[str]:
        """Evaluate what the jobs name and the store does not hold; damaged results are evaluated again.

        Returns:
            The folder names of all models of the jobs, in their order.
        """
        store, places = worker.store, [worker.places(job) for job in jobs]
        total = sum(map(len, places))
        for place in (place for group in places for place in group):
            if damage := store.discard_damaged(place, worker.samples):
                self.say(f"{damage}: evaluated again")
        stored = sum(store.done(place) for group in places for place in group)
        missing = [job for job, group in zip(jobs, places, strict=True) if not all(map(store.done, group))]
        self.say(f"{stored} of {total} models are stored, {total - stored} to do")
        if missing:
            self._run(worker, missing, stored, total)
        return [place.name for group in places for place in group]

    def _run(self, worker: Worker, jobs: Sequence[Job], stored: int, total: int) -> None:
        places = [place for job in jobs for place in worker.places(job)]
        before = sum(map(worker.store.done, places))
        with progress_bar(total, stored, self.quiet, self.label) as bar:

            def update() -> None:
                bar.update(stored - before + sum(map(worker.store.done, places)) - bar.n)

            try:
                if self.kind == "ray":
                    run_on_ray(worker, jobs, update)
                else:
                    run_local(worker, jobs, self.devices(worker), update, self.quiet)
            finally:
                worker.store.clean()  # what stopped processes left half-written
            update()


def devices(device: str, workers: int | None, model_size: int) -> list[str]:
    """Return the device of each local worker.

    Args:
        device: `cpu`, `cuda` (every GPU) or one device such as `cuda:1`.
        workers: processes; None: one per GPU, on the CPU one per core, or one if models are large.
        model_size: bytes of one model's weights.
    """
    if device.startswith("cuda"):
        if ":" in device:
            return [device] * (workers or 1)
        return [f"cuda:{k}" for k in range(torch.cuda.device_count())][:workers]
    if device != "cpu":
        return [device] * (workers or 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["cpu"] * (workers or (cores if model_size < SMALL_MODEL else 1))


# ---- this machine


def run_local(
    worker: Worker, jobs: Sequence[Job], devices: Sequence[str], update: Callable[[], None], quiet: bool
) -> None:
    """Do all jobs, one process per device; with one device or one job, in this process.

    Args:
        worker: does the jobs.
        jobs: the jobs to do.
        devices: the device of each process.
        update: called whenever something may be finished.
        quiet: without progress bars of a model's answers.
    """
    if len(devices) > 1 and len(jobs) > 1:
        _run_in_processes(worker, jobs, list(devices)[: len(jobs)], update)
        return
    quiet = quiet or not sys.stderr.isatty()  # a bar below the study's needs a terminal
    evaluator = worker.evaluator.on(devices[0], quiet)
    alone = replace(worker, evaluator=evaluator, done=lambda name: update())
    _hide_loading_bars()
    try:
        for job in jobs:
            alone.do(job)
    finally:
        alone.close()


def _run_in_processes(
    worker: Worker, jobs: Sequence[Job], devices: Sequence[str], update: Callable[[], None]
) -> None:
    context = get_context("spawn")  # torch and CUDA do not survive a fork
    free: Queue[str] = context.Queue()
    for device in devices:
        free.put(device)
    stop = context.Event()
    settings = worker.unloaded(devices[0]), free, os.getpid(), stop
    pool = ProcessPoolExecutor(len(devices), context, _init_worker, settings)
    try:
        with _ignore_sigint():
            pending = {pool.submit(_do_job, job) for job in jobs}
        while pending:
            finished, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
            for future in finished:
                future.result()
            update()
    except BrokenProcessPool as error:
        raise ModelError(
            "a worker process died (out of memory?); finished work is kept. Run the same command again, "
            "with fewer `workers:`."
        ) from error
    except BaseException:
        stop.set()  # at once: the models that are being evaluated may take hours
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


_process_worker: Worker | None = None  # of a worker process


def _init_worker(worker: Worker, free: "Queue[str]", parent: int, stop: "Event") -> None:
    """Initialize a worker process: take a device, and exit when the parent exits or asks for it."""
    global _process_worker
    threading.Thread(target=_exit_with_parent, args=(parent, stop), daemon=True).start()
    _process_worker = worker.unloaded(free.get())
    _hide_loading_bars()


def _exit_with_parent(parent: int, stop: "Event") -> None:
    while os.getppid() == parent and not stop.wait(POLL_SECONDS):
        pass
    os._exit(1)


def _do_job(job: Job) -> None:
    assert _process_worker is not None
    _process_worker.do(job)


def _hide_loading_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


# ---- Ray


def run_on_ray(worker: Worker, jobs: Sequence[Job], update: Callable[[], None]) -> None:
    """Run one Ray task per job, on the cluster that RAY_ADDRESS names or a local one.

    The output folder must be on a disk that all nodes share. A job whose node died is given to another;
    what it had stored is kept.
    """
    ray = _import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True)
    try:
        gpus = 1 if worker.evaluator.device.startswith("cuda") else 0
        task = ray.remote(num_cpus=worker.threads, num_gpus=gpus, max_retries=RETRIES)(_do_job_on_node)
        shared = ray.put(worker.unloaded(worker.evaluator.device))
        pending = [task.remote(shared, job, os.getcwd(), _data_settings()) for job in jobs]
        while pending:
            finished, pending = ray.wait(pending, timeout=POLL_SECONDS)
            for reference in finished:
                _check_result(ray, reference)
            update()
    finally:
        if started_here:
            ray.shutdown()


def _data_settings() -> dict[str, str]:
    """Return the settings that decide which rows are read, so that every node reads the same rows."""
    return {name: value for name, value in os.environ.items() if name.startswith(("FINANCE_BENCH_", "HF_"))}


def _do_job_on_node(worker: Worker, job: Job, folder: str, settings: Mapping[str, str]) -> None:
    """Do one job in a Ray worker process, in the study's working directory, so that paths mean the same.

    The process keeps its loaded tasks for the next job.
    """
    global _process_worker
    os.chdir(folder)
    os.environ.update(settings)
    if _process_worker is None or replace(_process_worker, done=noop) != worker:
        _process_worker = worker
    _process_worker.do(job)


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
            f"Ray lost the same job {RETRIES + 1} times ({type(error).__name__}: out of memory?); finished "
            "work is kept. Run the same command again, on nodes with more memory."
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


def progress_bar(total: int, stored: int, quiet: bool, label: str = "study") -> "tqdm[Never]":
    """Return a bar of models. What was stored before does not count towards its speed."""
    return tqdm(
        total=total, initial=stored, unit="model", desc=label, disable=quiet, file=sys.stderr, smoothing=0.1
    )
