"""Run the jobs of a study: in this process, in several, or on a Ray cluster. The stored files are the same.

Every process takes models that no other has, of this command or of another one on the same folder (see
`schedule` and `claims`). No process assigns work to another.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from mergekit_finance.errors import MergekitFinanceError, ModelError, first_line
from mergekit_finance.evaluation.inference.graphs import capture_policy
from mergekit_finance.hosts.transformers import hide_loading_bars
from mergekit_finance.study.finished import Finished, Planned, requests_per_model
from mergekit_finance.study.local_pool import POLL_SECONDS, RETRIES, LocalPool
from mergekit_finance.study.progress import Progress, State, messages_above
from mergekit_finance.study.worker import Job, Worker, noop
from mergekit_finance.study.worker_count import Need, devices

if TYPE_CHECKING:
    from ray import ObjectRef


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
        # A race evaluates a model in parts.
        units = "evaluations" if any(job.race for job in jobs) else "models"
        self.say(f"{stored} of {count} {units} are stored, {count - stored} to do")
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
        LocalPool(worker, jobs, list(devices)[:models], progress).run()
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
