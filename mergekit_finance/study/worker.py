"""Measure the models and merges of a study in one process, and store their results.

What makes answers and scores is in `evaluation`, which the keys of stored results cover; nothing here may
change a recipe, a model or a score.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml

from mergekit_finance.evaluation import keys
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.live_merges import Sweep, merge_once
from mergekit_finance.evaluation.measurement import Measurement, measure, measure_model
from mergekit_finance.evaluation.measures import Choice
from mergekit_finance.files import Json
from mergekit_finance.models.facts import short_name
from mergekit_finance.study.config import Study
from mergekit_finance.study.points import AnyPoint, Point, RecipePoint
from mergekit_finance.study.schema import Key, Timings
from mergekit_finance.study.store import Store

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

CHUNK = 5  # points that one worker takes at a time: few enough to share out evenly


@dataclass(frozen=True)
class Job:
    """The work that a worker does at a time. Exactly one of the three attributes is set.

    Attributes:
        reference: a model to evaluate as it is.
        points: points of one combination and operator.
        recipe: a merge by any recipe.
    """

    reference: str = ""
    points: tuple[Point, ...] = ()
    recipe: RecipePoint | None = None

    def __len__(self) -> int:
        return len(self.points) or 1


def jobs(references: Sequence[str], points: Mapping[str, Sequence[Point]]) -> list[Job]:
    """Return the models as jobs, then the points of each group in chunks."""
    models = [Job(reference=reference) for reference in references]
    chunks = [g[at : at + CHUNK] for g in points.values() for at in range(0, len(g), CHUNK)]
    return models + [Job(points=tuple(chunk)) for chunk in chunks]


def study_evaluator(study: Study, device: str, quiet: bool = False) -> Evaluator:
    """Return the evaluator that measures every model of a study."""
    metadata = {
        key: value for key, value in (("source", study.source), ("data_dir", study.data_dir)) if value
    }
    settings = study.evaluation
    return Evaluator(
        names=[*study.tasks, *study.retention, *study.probes],
        include_paths=[Path(study.include_path)] if study.include_path else [],
        choices={name: Choice(one.metric, one.filter) for name, one in (study.task_settings or {}).items()},
        batch_size=settings.batch_size,
        device=device,
        dtype=settings.dtype,
        metadata=metadata | {"tokenizer": study.base},
        max_gen_toks=settings.max_gen_toks,
        quiet=quiet,
    )


def noop(name: str) -> None:
    """Default progress callback: do nothing."""


@dataclass(frozen=True)
class Stamp:
    """The parts of keys that all models share. Computed once per run, so that all workers agree."""

    evaluation: Mapping[str, Json]
    merge_code: str


@dataclass
class Worker:
    """Does the jobs of one process. Tasks and requests are built at the first job.

    Attributes:
        evaluator: measures the models.
        out: the output folder.
        fingerprints: model reference -> hash of its bytes, of every model that is evaluated or merged.
        limit: items per task; None: all.
        threads: CPU threads of torch.
        samples: whether lm-eval's samples are kept.
        trust_remote_code: whether models may run code of their own.
        done: called with the name of every folder that is stored.
        stamp: what `stamped` adds; without it no folder can be named.
    """

    evaluator: Evaluator
    out: Path
    fingerprints: Mapping[str, str]
    limit: int | None = None
    threads: int = 1
    samples: bool = True
    trust_remote_code: bool = False
    done: Callable[[str], None] = noop
    stamp: Stamp | None = None
    _sweep: Sweep | None = field(default=None, init=False, repr=False, compare=False)
    _sweep_of: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    @cached_property
    def store(self) -> Store:
        """The stored results."""
        return Store(self.out)

    def stamped(self) -> "Worker":
        """Return this worker with the part of the keys that all models share."""
        stamp = Stamp(keys.evaluation_key(self.evaluator, self.threads), keys.merge_code(keys.source()))
        return replace(self, stamp=stamp)

    def unloaded(self, device: str, quiet: bool = True) -> "Worker":
        """Return a worker for another process, where tasks are loaded again."""
        return replace(self, evaluator=replace(self.evaluator, device=device, quiet=quiet), done=noop)

    # ---- names

    def model_place(self, reference: str) -> Path:
        """Return the folder of a model that is evaluated as it is."""
        return self.store.place(short_name(reference), self.model_key(reference))

    def point_place(self, point: AnyPoint) -> Path:
        """Return the folder of a merge."""
        return self.store.place(point.name, self.point_key(point))

    def model_key(self, reference: str) -> Key:
        """Return the key of a model: its bytes, and everything that evaluation depends on."""
        of_model = {"limit": self.limit, "model": self.fingerprints[reference]}
        return Key.model_validate({**self._stamp.evaluation, **of_model})

    def point_key(self, point: AnyPoint) -> Key:
        """Return the key of a merge: its recipe with hashes in place of models, and all settings."""
        merge = keys.merge_key(point.recipe(), self.fingerprints)
        shared = {"limit": self.limit, "merge_code": self._stamp.merge_code}
        drawn = {"seed": point.seed} if isinstance(point, RecipePoint) and point.seed is not None else {}
        return Key.model_validate({**self._stamp.evaluation, **shared, **merge, **drawn})

    @property
    def _stamp(self) -> Stamp:
        if self.stamp is None:
            raise RuntimeError("worker without a stamp: its keys would match results of other settings")
        return self.stamp

    def places(self, job: Job) -> list[Path]:
        """Return the folders that a job fills."""
        if job.reference:
            return [self.model_place(job.reference)]
        points: tuple[AnyPoint, ...] = job.points if job.recipe is None else (job.recipe,)
        return [self.point_place(point) for point in points]

    # ---- work

    def do(self, job: Job) -> None:
        """Evaluate what is not stored yet. Wait at the end for models that another process evaluates."""
        torch.set_num_threads(self.threads)
        if job.reference:
            self.close()  # a device may not hold a model beside the constituents of a merge
            self._store_once(self.model_place(job.reference), lambda: self._evaluate_model(job.reference))
        elif job.recipe is not None:
            self._evaluate_recipe(job.recipe)
        else:
            self._evaluate_points([p for p in job.points if not self.store.done(self.point_place(p))])

    def close(self) -> None:
        """Release the constituents of the last sweep."""
        if self._sweep:
            self._sweep.close()
            self._sweep = None

    def _store_once(self, place: Path, evaluate: Callable[[], None], wait: bool = True) -> bool:
        """Evaluate under the folder's lock unless it is stored; return whether it is stored now."""
        if not self.store.done(place):
            with self.store.claim(place, wait) as mine:
                if mine:
                    evaluate()
        stored = self.store.done(place)
        if stored:
            self.done(place.name)
        return stored

    def _evaluate_model(self, reference: str) -> None:
        measured = measure_model(self.evaluator, reference, self.limit, self.trust_remote_code)
        self._store(
            self.model_place(reference),
            self.model_key(reference),
            measured,
            Timings(evaluate=measured.seconds),
        )

    def _evaluate_recipe(self, point: RecipePoint) -> None:
        def evaluate() -> None:
            started = time.monotonic()
            lm = merge_once(point.recipe(), self.evaluator, self.trust_remote_code, point.seed)
            self._measure_merge(lm, point, time.monotonic() - started)

        self.close()
        self._store_once(self.point_place(point), evaluate)

    def _evaluate_points(self, points: Sequence[Point]) -> None:
        if not points:
            return
        sweep = self._sweep_for(points)

        def merge_and_measure(point: Point) -> None:
            started = time.monotonic()
            lm = sweep.at(point.recipe())
            self._measure_merge(lm, point, time.monotonic() - started)

        waiting = list(points)
        for wait in (False, True):
            waiting = [
                point
                for point in waiting
                if not self._store_once(self.point_place(point), partial(merge_and_measure, point), wait)
            ]

    def _sweep_for(self, points: Sequence[Point]) -> Sweep:
        """Return the last job's sweep if these points merge the same models, else a new one."""
        models = (points[0].group, points[0].base, *points[0].constituents)
        if self._sweep is None or self._sweep_of != models:
            self.close()
            self._sweep, self._sweep_of = Sweep(self.evaluator, self.trust_remote_code), models
        self._sweep.prepare([point.recipe() for point in points])
        return self._sweep

    def _measure_merge(self, lm: "HFLM", point: AnyPoint, merge_seconds: float) -> None:
        measured = measure(self.evaluator, lm, point.name, self.limit)
        recipe = yaml.safe_dump(point.recipe(), sort_keys=False)
        self._store(
            self.point_place(point),
            self.point_key(point),
            measured,
            Timings(merge=merge_seconds, evaluate=measured.seconds),
            recipe,
        )

    def _store(
        self,
        place: Path,
        key: Key,
        measured: Measurement,
        timings: Timings,
        recipe: str | None = None,
    ) -> None:
        self.store.write(place, measured, key, timings, samples=self.samples, recipe=recipe)
