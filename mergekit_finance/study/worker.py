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

from mergekit_finance.errors import ModelError
from mergekit_finance.evaluation import keys
from mergekit_finance.evaluation.answer_store import Answers, AnswerStore
from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.live_merges import Sweep, merge_once
from mergekit_finance.evaluation.measurement import Measurement, measure
from mergekit_finance.files import Json
from mergekit_finance.models.facts import short_name
from mergekit_finance.study.claims import TooManyDeathsError
from mergekit_finance.study.points import AnyPoint, Point, RecipePoint, seed_comments
from mergekit_finance.study.race import Race, Referee, Standing
from mergekit_finance.study.read_files import read_scores
from mergekit_finance.study.schedule import MissingModel, ranked
from mergekit_finance.study.schema import Columns, Key, Timings
from mergekit_finance.study.store import Store, disk_errors
from mergekit_finance.study.subsets import Items
from mergekit_finance.study.times import REQUESTS, TimeLog

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

POLL_SECONDS = 0.5  # between two looks at models that other processes evaluate
MAX_DEATHS = 3  # worker processes that may die while they evaluate a model, before it is given up


@dataclass(frozen=True)
class Job:
    """A model to evaluate, or a race of several. One of `reference`, `point`, `recipe` and `race` is set.

    Attributes:
        reference: a model to evaluate as it is.
        point: a point of the study.
        items: the items that the point is evaluated on; None: all.
        recipe: a merge by any recipe.
        race: a race, which leads to one job after the other.
    """

    reference: str = ""
    point: Point | None = None
    items: Items | None = None
    recipe: RecipePoint | None = None
    race: Race | None = None

    @property
    def group(self) -> str:
        """Jobs of one group are merged one after the other into one live model."""
        return self.point.group if self.point else ""

    @property
    def evaluations(self) -> int:
        """The number of models to evaluate; of a race the largest possible one."""
        return self.race.evaluations if self.race else 1

    @property
    def steps(self) -> "list[Job]":
        """All jobs that this may lead to: those of a race, else this one."""
        if self.race is None:
            return [self]
        points = self.race.points
        return [Job(point=p, items=items) for items in self.race.items for p in points] + [
            Job(point=p) for p in points
        ]


def jobs(references: Sequence[str], points: Mapping[str, Sequence[Point]]) -> list[Job]:
    """Return the models as jobs, then the points group by group."""
    models = [Job(reference=reference) for reference in references]
    return models + [Job(point=point) for group in points.values() for point in group]


def noop(name: str) -> None:
    """Default progress callback: do nothing."""


@dataclass(frozen=True)
class Stamp:
    """The parts of keys that all models share. Computed once per run, so that all workers agree.

    Attributes:
        answers: of the answers of all models.
        merges: of the answers of merges, in addition.
        scoring: of the scores, in addition.
    """

    answers: Mapping[str, Json]
    merges: Mapping[str, Json]
    scoring: Mapping[str, Json]


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
        processes: how many processes of this command do the jobs.
        started: when this process was started, by the monotonic clock; None: its start-up is not counted.
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
    processes: int = field(default=1, compare=False)
    started: float | None = field(default=None, compare=False)
    _sweep: Sweep | None = field(default=None, init=False, repr=False, compare=False)
    _group: str = field(default="", init=False, repr=False, compare=False)
    _places: dict[tuple[str, str, str], Path] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _referees: dict[str, Referee] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def store(self) -> Store:
        """The stored results."""
        return Store(self.out)

    @cached_property
    def times(self) -> TimeLog:
        """The seconds of this process by kind of work."""
        return TimeLog(self.out, self.evaluator.device)

    @property
    def answers(self) -> AnswerStore:
        """The stored answers."""
        return self.store.answers

    def stamped(self) -> "Worker":
        """Return this worker with the part of the keys that all models share."""
        answers = keys.answers_key(self.evaluator.live_models)
        stamp = Stamp(answers, keys.merges_key(), keys.scores_key(self.evaluator))
        return replace(self, stamp=stamp)

    def unloaded(self, device: str, processes: int = 1, on_device: int = 1) -> "Worker":
        """Return a worker for another process, where tasks are loaded again.

        Args:
            device: the device of that process.
            processes: how many processes do the jobs.
            on_device: how many of them share the device.
        """
        evaluator = replace(self.evaluator, device=device, quiet=True, processes=on_device)
        return replace(self, evaluator=evaluator, done=noop, processes=processes)

    def loaded(self, device: str, processes: int = 1, on_device: int = 1) -> "Worker":
        """Return a worker for a forked process, with the tasks loaded here; arguments as for `unloaded`."""
        evaluator = self.evaluator.on(device, True)
        evaluator.processes = on_device
        return replace(self, evaluator=evaluator, done=noop, processes=processes)

    # ---- names

    def model_place(self, reference: str) -> Path:
        """Return the folder of a model that is evaluated as it is."""
        return self.store.place(short_name(reference), self.model_key(reference))

    def name(self, job: Job) -> str:
        """Return the name of a job in the progress bar."""
        point = job.point or job.recipe
        return point.name if point else short_name(job.reference)

    def answers_folder(self, job: Job) -> Path:
        """Return the folder of the answers of a job's model."""
        point = job.point or job.recipe
        key = self.point_answers_key(point) if point else self.model_answers_key(job.reference)
        answers = self.answers.of(self.name(job), key)
        return self.answers.folder / answers.folder_name

    def point_place(self, point: AnyPoint, items: Items | None = None) -> Path:
        """Return the folder of a merge, evaluated on some items or on all."""
        return self.store.place(point.name, self.point_key(point, items))

    def model_key(self, reference: str) -> Key:
        """Return the key of a model's scores: that of its answers, and everything that scoring depends on."""
        return self._scores_key(self.model_answers_key(reference))

    def point_key(self, point: AnyPoint, items: Items | None = None) -> Key:
        """Return the key of a merge's scores, on some items or on all."""
        return self._scores_key(self.point_answers_key(point), items)

    def model_answers_key(self, reference: str) -> dict[str, Json]:
        """Return the key of a model's answers: its bytes, and the settings of its evaluation."""
        return {**self._stamp.answers, "model": self.fingerprints[reference]}

    def point_answers_key(self, point: AnyPoint) -> dict[str, Json]:
        """Return the key of a merge's answers: its recipe with hashes of models, and evaluation settings."""
        merge = keys.merge_key(point.recipe(), self.fingerprints)
        drawn = {} if point.drawn_seed is None else {"seed": point.drawn_seed}
        return {**self._stamp.answers, **self._stamp.merges, **merge, **drawn}

    def _scores_key(self, answers_key: Mapping[str, Json], items: Items | None = None) -> Key:
        part = {"items": items.digest} if items else {}
        return Key.model_validate({**answers_key, **self._stamp.scoring, "limit": self.limit, **part})

    @property
    def _stamp(self) -> Stamp:
        if self.stamp is None:
            raise RuntimeError("worker without a stamp: its keys would match results of other settings")
        return self.stamp

    def place(self, job: Job) -> Path:
        """Return the folder that a job fills."""
        if job.reference:
            return self.model_place(job.reference)
        point = job.point or job.recipe
        assert point is not None
        return self.point_place(point, job.items)

    # ---- races

    def missing(self, jobs: Sequence[Job]) -> dict[Path, Job]:
        """Return what can be evaluated now, by folder: jobs that are not stored, and the races' next ones."""
        needed = {self._cached_place(one): one for job in jobs for one in self._needed(job)}
        for place in self.store.stored(needed):
            del needed[place]
        return needed

    def _needed(self, job: Job) -> list[Job]:
        """Return the jobs that a race waits for, its winner's at the end, or the job itself."""
        if job.race is None:
            return [job]
        standing = self.standing(job.race)
        if standing.winner:
            return [Job(point=standing.winner[0])]
        if standing.models:
            return [Job(reference=reference) for reference in standing.models]
        return [Job(point=point, items=standing.items) for point in standing.waiting]

    def standing(self, race: Race) -> Standing:
        """Return how far a race has come, by the stored scores."""
        key = race.settings[0][0].group
        if key not in self._referees:
            self._referees[key] = Referee(race, self)
        return self._referees[key].standing()

    def without_scores(self, points: Sequence[Point], items: Items) -> list[Point]:
        """Return the points whose scores on some items are not stored."""
        places = [self._cached_place(Job(point=point, items=items)) for point in points]
        stored = set(self.store.stored(places))
        return [point for point, place in zip(points, places, strict=True) if place not in stored]

    def scores(self, point: Point, items: Items) -> Mapping[str, Columns]:
        """Return the stored scores of a point on some items, by task."""
        return read_scores(self._cached_place(Job(point=point, items=items)) / "scores.json")

    def model_scores(self, reference: str) -> Mapping[str, Columns] | None:
        """Return the stored scores of a model on all items, by task; None if they are not stored."""
        place = self._cached_place(Job(reference=reference))
        return read_scores(place / "scores.json") if self.store.stored([place]) else None

    def _cached_place(self, job: Job) -> Path:
        """Return `place(job)`; its hash is computed once per model and items."""
        key = job.reference, job.group and self.name(job), job.items.digest if job.items else ""
        if job.recipe:
            return self.place(job)
        if key not in self._places:
            self._places[key] = self.place(job)
        return self._places[key]

    # ---- work

    def work(self, jobs: Sequence[Job]) -> None:
        """Evaluate models that no other process evaluates, one after the other, until all are stored.

        What others evaluate is waited for at the end, and taken over if its process dies.

        Raises:
            ModelError: too many processes died while they evaluated a model; all others are stored.
        """
        torch.set_num_threads(self.threads)
        if self.started is not None:
            self.times.add("start_up", time.monotonic() - self.started)
        self.evaluator.models = -(-len(self.missing(jobs)) // self.processes)
        lethal: dict[str, int] = {}
        while True:
            waiting = self.missing(jobs)
            missing = {place.name: job for place, job in waiting.items() if place.name not in lethal}
            if not missing:
                break
            if not self._evaluate_one(missing, lethal):
                with self.times.spent("waiting"):
                    time.sleep(POLL_SECONDS)
        if self.times.models:
            self.times.write()  # with what was waited for in the end
        if lethal:
            raise _too_lethal(lethal)

    def _evaluate_one(self, missing: Mapping[str, Job], lethal: dict[str, int]) -> bool:
        """Evaluate the first model that this process can claim.

        Args:
            missing: by the names of their folders.
            lethal: models during whose evaluation too many processes died are added to it.

        Returns:
            False if all are claimed by other processes.
        """
        taken = self.store.claims.taken()
        jobs = [job for _, job in missing.items()]
        candidates = [MissingModel(name, job.group or name) for name, job in missing.items()]
        for one in ranked(candidates, taken, self._group):
            place = self.store.points / one.name
            try:
                with self.store.claim(place, max_deaths=MAX_DEATHS) as mine:
                    if mine:
                        self._evaluate(missing[one.name], jobs)
            except TooManyDeathsError as error:
                lethal[one.name] = error.deaths
                continue
            if self.store.done(place):
                self.done(one.name)
            if mine or one.name not in taken:  # in the latter case another process was faster
                return True
        return False

    def _evaluate(self, job: Job, missing: Sequence[Job]) -> None:
        if job.point:
            self._evaluate_point(job.point, [one.point for one in missing if one.point], job.items)
            return
        self.close()  # a device may not hold a model beside the constituents of a merge
        if job.recipe:
            self._evaluate_recipe(job.recipe)
        else:
            self._evaluate_model(job.reference)

    def close(self) -> None:
        """Release the constituents of the last sweep."""
        if self._sweep:
            self._sweep.close()
            self._sweep, self._group = None, ""

    def _evaluate_model(self, reference: str) -> None:
        make = partial(self.evaluator.live_models.load, reference, self.trust_remote_code)
        answers = self.answers.of(short_name(reference), self.model_answers_key(reference))
        measured = self._measure(make, answers, reference, reference)
        self._store(self.model_place(reference), self.model_key(reference), measured)

    def _evaluate_recipe(self, point: RecipePoint) -> None:
        live_models, trust = self.evaluator.live_models, self.trust_remote_code
        self._evaluate_merge(point, partial(merge_once, point.recipe(), live_models, trust, point.seed))

    def _evaluate_point(self, point: Point, missing: Sequence[Point], items: Items | None) -> None:
        """Measure a point; it is merged if answers of it are missing.

        Args:
            point: the point.
            missing: points that are not stored, whose thresholds are computed with this one's.
            items: the items that it is measured on; None: all.
        """
        self._evaluate_merge(point, partial(self._merge, point, missing), items)

    def _merge(self, point: Point, missing: Sequence[Point]) -> "HFLM":
        """Merge a point into the live model of its group's sweep."""
        if self._sweep is None or self._group != point.group:
            self.close()
            self._sweep, self._group = Sweep(self.evaluator.live_models, self.trust_remote_code), point.group
            self._sweep.prepare([one.recipe() for one in missing if one.group == point.group])
        return self._sweep.at(point.recipe(), point.drawn_seed)

    def _evaluate_merge(
        self, point: AnyPoint, make: "Callable[[], HFLM]", items: Items | None = None
    ) -> None:
        answers = self.answers.of(point.name, self.point_answers_key(point))
        measured = self._measure(make, answers, point.name, point.template_source, items)
        recipe = "".join(f"# {line}\n" for line in seed_comments(point.drawn_seed))
        recipe += yaml.safe_dump(point.recipe(), sort_keys=False)
        self._store(self.point_place(point, items), self.point_key(point, items), measured, recipe, not items)

    def _measure(
        self,
        make: "Callable[[], HFLM]",
        answers: Answers,
        name: str,
        template_source: str | None,
        items: Items | None = None,
    ) -> Measurement:
        """Measure a model, which is made only if answers are missing.

        Args:
            make: makes it.
            answers: its stored answers.
            name: its name in the results.
            template_source: the model whose chat template it has; None: only the model itself has it.
            items: the items that it is measured on; None: all.
        """
        batches = self.answers.batches(self.evaluator.batch_size)
        model = AnsweringModel(make, answers, batches, self.evaluator.prompt_lengths)
        if template_source:
            model.load_tokenizer = partial(self.evaluator.tokenizer, template_source, self.trust_remote_code)
        with disk_errors(self.out), self.store.hold(answers.folder_name):
            return measure(self.evaluator, model, name, self.limit, items=items.positions if items else None)

    def _store(
        self, place: Path, key: Key, measured: Measurement, recipe: str | None = None, samples: bool = True
    ) -> None:
        """Store a measurement; lm-eval's samples only of one on all items."""
        timings = Timings(merge=measured.making if recipe else 0.0, evaluate=measured.seconds)
        with self.times.spent("storing"):
            self.store.write(place, measured, key, timings, samples=self.samples and samples, recipe=recipe)
        self.times.add("merging", measured.making)
        self.times.add("scoring", measured.seconds - sum(seconds for _, seconds in measured.asking.items()))
        for kind, seconds in measured.asking.items():
            self.times.add(REQUESTS[kind], seconds)
        self.times.models += 1
        self.times.write()


def _too_lethal(lethal: Mapping[str, int]) -> ModelError:
    """Return the error for models during whose evaluation too many processes died."""
    name, deaths = next(iter(lethal.items()))
    others = f", and {len(lethal) - 1} others too" if len(lethal) > 1 else ""
    return ModelError(
        f"{name}: {deaths} worker processes died while they evaluated it (out of memory?){others}; finished "
        "work is kept. Run the same command again, with fewer `workers:` or a smaller batch_size."
    )
