"""Worker processes on this machine: forked from this process where that is safe, else started anew.

A forked worker has all imported modules and loaded tasks of its parent and begins at once. One that is
started anew takes about ten seconds of CPU time to import the hosts and to load the tasks again.
"""

import gc
import itertools
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe, connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import TMonitor, tqdm

from mergekit_finance.errors import MergekitFinanceError, ModelError, printable
from mergekit_finance.evaluation.batch_limit import NoRoomError
from mergekit_finance.hosts.transformers import hide_loading_bars
from mergekit_finance.merge_methods.side_files import make_folders_in
from mergekit_finance.study import claims
from mergekit_finance.study.progress import Progress
from mergekit_finance.study.worker import Job, Worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkContext, SpawnContext
    from multiprocessing.process import BaseProcess

RETRIES = 5  # how often workers that died before they evaluated anything are started again
POLL_SECONDS = 0.5
OUT_OF_MEMORY = 17  # exit code of a worker process that ran out of GPU memory
LAST = 200  # bytes of a dead process's output that are shown
OUR_THREADS = ("progress", "claims")  # their locks are made anew in a forked worker
PATIENCE = 10.0  # seconds within which a worker must end after it was asked to


def can_fork(worker: Worker) -> bool:
    """Return whether workers may be forked from this process.

    On Linux and on the CPU only: CUDA does not survive a fork. A fork does not copy the threads that torch
    computes with, so a forked worker has to compute with one thread, as the workers of torch's DataLoader do.
    Threads of the caller's program may hold locks, which nobody would release in the worker.
    """
    threads = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    alone = all(thread.name in OUR_THREADS or type(thread) is TMonitor for thread in threads)
    is_plain = worker.threads == 1 and worker.evaluator.device == "cpu" and not torch.cuda.is_initialized()
    return sys.platform == "linux" and is_plain and alone


@dataclass
class _Process:
    """A worker process.

    Attributes:
        process: the process.
        connection: this process's end of the connection to it.
        device: its device.
        output: a file with what hosts print in it, which would break the progress bar.
    """

    process: "BaseProcess"
    connection: "Connection"
    device: str
    output: Path


class LocalPool:
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
        here, there = Pipe()
        output = Path(self._folder.name) / f"{next(self._numbers)}.txt"
        forks = can_fork(self._worker)
        prepared = self._worker.loaded if forks else self._worker.unloaded
        worker = prepared(device, len(self._devices), self._devices.count(device))
        inherited = [here, *(one.connection for one in self._processes)] if forks else []
        arguments = replace(worker, started=time.monotonic()), self._jobs, there, output, inherited
        context: ForkContext | SpawnContext = get_context("fork") if forks else get_context("spawn")
        process = context.Process(target=_work_in_process, args=arguments)
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


def _work_in_process(
    worker: Worker, jobs: Sequence[Job], parent: "Connection", output: Path, inherited: "Sequence[Connection]"
) -> None:
    """Do jobs in a worker process. It ends with its parent, or when the parent closes the connection.

    Args:
        worker: does the jobs.
        jobs: the jobs.
        parent: the connection; exceptions and the warnings of this package are sent through it.
        output: the file that takes what hosts print. Merges put temporary files beside it; the parent
            removes them all.
        inherited: connections of the parent in a forked process, where they would outlive the parent.
    """
    for one in inherited:
        one.close()
    gc.freeze()  # collections would visit, and so copy, every object of the parent
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    tqdm.set_lock(threading.RLock())  # tqdm's own has a semaphore, which outlives a killed process
    _redirect_output(output)
    _forward_warnings(parent)
    hide_loading_bars()
    make_folders_in(output.parent)
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
