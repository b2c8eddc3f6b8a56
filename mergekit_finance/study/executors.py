"""Where jobs run: here, in one process a device, or on a Ray cluster. Files and numbers are the same."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mergekit_finance.errors import MergekitFinanceError, ModelError
from mergekit_finance.study import worker as work
from mergekit_finance.study.worker import Job, Worker

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

SMALL = 2 << 30  # bytes of a model of which every core's worker may hold one
RETRIES = 5  # of a job whose worker or node died; one that kills every worker must end some day
TICK = 0.5  # seconds between looks at what is finished


def devices(worker: Worker, asked: int | None, size: int) -> list[str]:
    """The device of each worker: every GPU once; on the CPU a worker a core, one if models are large."""
    if worker.device.startswith("cuda"):
        import torch

        named = ":" in worker.device
        found = [worker.device] if named else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        return found * asked if named and asked else found[:asked]
    if worker.device != "cpu":
        return [worker.device] * (asked or 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["cpu"] * (asked or (cores if size < SMALL else 1))


def run(worker: Worker, jobs: Sequence[Job], places: Sequence[str], tick: Callable[[], None]) -> None:
    """Do all jobs, one process a device; with one device, in this process."""
    if len(places) == 1 or len(jobs) == 1:
        quiet = worker.quiet or not sys.stderr.isatty()  # a bar under the study's needs a terminal
        alone = replace(worker, device=places[0], done=lambda name: tick(), quiet=quiet)
        _no_loading_bars()
        try:
            for job in jobs:
                alone(job)
        finally:
            alone.close()
        return
    _in_processes(replace(worker, quiet=True), jobs, list(places)[: len(jobs)], tick)


def _in_processes(
    worker: Worker, jobs: Sequence[Job], places: Sequence[str], tick: Callable[[], None]
) -> None:
    from multiprocessing import get_context

    context = get_context("spawn")  # torch and CUDA do not survive a fork
    waiting: Queue[str] = context.Queue()
    for place in places:
        waiting.put(place)
    stop = context.Event()
    pool = ProcessPoolExecutor(len(places), context, _begin, (worker, waiting, os.getpid(), stop))
    try:
        with _deaf():
            left = {pool.submit(_do, job) for job in jobs}
        while left:
            finished, left = wait(left, TICK, FIRST_COMPLETED)
            for future in finished:
                future.result()
            tick()
    except BrokenProcessPool as fault:
        raise ModelError(
            "a worker process died (out of memory?); what is finished is kept: run the same command again, "
            "with fewer `workers:`"
        ) from fault
    except BaseException:
        stop.set()  # at once: the models at work may take hours
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin in here do not hear Ctrl-C, which reaches all of a terminal: one answers it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_WORKER: Worker | None = None


def _begin(worker: Worker, waiting: "Queue[str]", parent: int, stop: "Event") -> None:
    """A process begins: it takes a device, and ends when the study's process does, or says so."""
    global _WORKER
    threading.Thread(target=_follow, args=(parent, stop), daemon=True).start()
    _WORKER = replace(worker, device=waiting.get())
    _no_loading_bars()


def _no_loading_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _follow(parent: int, stop: "Event") -> None:
    while os.getppid() == parent and not stop.wait(TICK):
        pass
    os._exit(1)


def _do(job: Job) -> None:
    assert _WORKER is not None
    _WORKER(job)


# ---- Ray


def run_on_ray(worker: Worker, jobs: Sequence[Job], tick: Callable[[], None]) -> None:
    """A task a job on the cluster that RAY_ADDRESS names, else on a local one. OUT must be on a disk that all
    nodes share. A job of a node that died is given to another; what it had stored is kept."""
    ray = _ray()
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True)
    try:
        gpus = 1 if worker.device.startswith("cuda") else 0
        threads = worker.study.evaluation.threads
        remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(_on_node)
        shared = ray.put(replace(worker, done=work.nothing, quiet=True))
        left = [remote.remote(shared, job, os.getcwd(), _settings()) for job in jobs]
        while left:
            finished, left = ray.wait(left, timeout=TICK)
            for reference in finished:
                _result(ray, reference)
            tick()
    finally:
        if started_here:
            ray.shutdown()


def _settings() -> dict[str, str]:
    """Where rows come from: a node that read others would store them under these rows' names."""
    return {name: value for name, value in os.environ.items() if name.startswith(("FINANCE_BENCH_", "HF_"))}


def _on_node(worker: Worker, job: Job, folder: str, settings: Mapping[str, str]) -> None:
    """One job in a Ray worker, in the study's own folder, so that paths mean the same; the worker process
    keeps its tasks and requests for the next."""
    global _WORKER
    os.chdir(folder)
    os.environ.update(settings)
    if _WORKER is None or replace(_WORKER, done=work.nothing) != worker:
        _WORKER = worker
    _WORKER(job)


def _result(ray: Any, reference: Any) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as fault:
        if isinstance(fault.cause, MergekitFinanceError):
            raise fault.cause from fault
        raise
    except ray.exceptions.RayError as fault:  # the worker or its node died, again and again
        raise ModelError(
            f"Ray lost the same job {RETRIES + 1} times ({type(fault).__name__}: out of memory?); what is "
            "finished is kept: run the same command again, on nodes with more memory"
        ) from fault


def _ray() -> Any:
    try:
        import ray
    except ImportError as fault:
        raise ModelError(
            "executor: ray needs Ray, which is not installed: pip install 'mergekit-finance[ray]'"
        ) from fault
    return ray


# ---- the bar


def bar(total: int, stored: int, quiet: bool) -> Any:
    """The study's; what was stored before it began is no speed of this run."""
    from tqdm import tqdm

    return tqdm(
        total=total, initial=stored, unit="model", desc="study", disable=quiet, file=sys.stderr, smoothing=0.1
    )


def finished(worker: Worker, jobs: Sequence[Job]) -> Iterator[bool]:
    """Of every model of the jobs, whether it is stored."""
    for job in jobs:
        if job.reference:
            yield worker.store.done(worker.model_place(job.reference))
        for point in job.points:
            yield worker.store.done(worker.point_place(point))
