"""One worker's share of a study: models are evaluated and points merged in place, each stored when done."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergekit_finance.evaluation import engine as measure
from mergekit_finance.evaluation.harness import Harness, merge_code
from mergekit_finance.study.config import Study
from mergekit_finance.study.points import Point
from mergekit_finance.study.store import Store, write_json

if TYPE_CHECKING:
    from mergekit_finance.merging.session import MergeSession

CHUNK = 5  # points that one worker takes at a time: few enough to share out evenly


@dataclass(frozen=True)
class Job:
    """What one worker takes: a model to evaluate as it is, or points of one combination and operator."""

    reference: str = ""
    points: tuple[Point, ...] = ()

    def __len__(self) -> int:
        return len(self.points) or 1


def jobs(references: Sequence[str], points: Mapping[str, Sequence[Point]]) -> list[Job]:
    """Models first, then the points of each group in chunks."""
    made = [Job(reference=reference) for reference in references]
    for group in points.values():
        made += [Job(points=tuple(group[at : at + CHUNK])) for at in range(0, len(group), CHUNK)]
    return made


def harness(study: Study, device: str, limit: int | None) -> Harness:
    """What every model of the study is evaluated on."""
    metadata = {k: v for k, v in (("source", study.source), ("data_dir", study.data_dir)) if v}
    names = [*study.tasks, *study.retention, *study.probes]
    asked = study.evaluation
    return Harness(names, limit, asked.batch_size, device, asked.dtype, metadata | {"tokenizer": study.base})


def nothing(name: str) -> None:
    """Nobody waits for the news."""


@dataclass
class Worker:
    """Does jobs; tasks and requests are built at the first one."""

    study: Study
    out: Path
    prints: Mapping[str, str]  # of every model that is merged
    device: str = "cpu"
    limit: int | None = None
    trust_remote_code: bool = False
    done: Callable[[str], None] = nothing
    quiet: bool = False  # no bars of the hosts: those of several workers would overwrite each other
    # What keys share: settled once a run, so that all its workers name folders alike.
    stamp: Mapping[str, Any] = field(default_factory=dict)
    _kept: "Sweep | None" = field(default=None, init=False, repr=False, compare=False)

    @cached_property
    def store(self) -> Store:
        return Store(self.out)

    @cached_property
    def harness(self) -> Harness:
        return harness(self.study, self.device, self.limit)

    @cached_property
    def meter(self) -> measure.Meter:
        import torch

        torch.set_num_threads(self.study.evaluation.threads)
        return measure.Meter(self.harness, self.study.evaluation.max_gen_toks, self.quiet)

    def stamped(self) -> "Worker":
        """This worker, with the part of the keys that all models of this study share."""
        asked = self.study.evaluation
        own: dict[str, Any] = {"max_gen_toks": asked.max_gen_toks, "merge_code": merge_code()}
        if not self.device.startswith("cuda"):
            own["threads"] = asked.threads  # they change the order of sums, on the CPU only
        return replace(self, stamp=self.harness.key("") | own)

    # ---- names

    def model_place(self, reference: str) -> Path:
        from mergekit_finance.models.checks import short_name

        return self.store.place(short_name(reference), self.model_key(reference))

    def _stamp(self) -> Mapping[str, Any]:
        if not self.stamp:
            raise RuntimeError("a worker without its stamp would take stale results for its own")
        return self.stamp

    def model_key(self, reference: str) -> dict[str, Any]:
        """Which bytes are evaluated, and all that evaluation depends on."""
        return {**self._stamp(), "model": self.prints[reference]}

    def point_place(self, point: Point) -> Path:
        return self.store.place(point.name, self.point_key(point))

    def point_key(self, point: Point) -> dict[str, Any]:
        """The recipe with models' bytes in place of their names, and all that evaluation depends on."""
        recipe = point.recipe()
        recipe["base_model"] = self.prints[point.base]
        recipe["models"] = [m | {"model": self.prints[m["model"]]} for m in recipe["models"]]
        return {**self._stamp(), "model": "merge", "merge": recipe}

    # ---- work

    def __call__(self, job: Job) -> None:
        """Do what is not done yet; what another process is at work on comes last."""
        if job.reference:
            self.close()  # a device may not hold a model beside the constituents of a merge
            place = self.model_place(job.reference)
            self._claimed(place, lambda: self._model(job.reference, place))
            self.done(place.name)
            return
        todo = [p for p in job.points if not self.store.done(self.point_place(p))]
        later: list[Point] = []
        if todo:
            sweep = self._sweep(todo)
            for point in todo:
                if not self._point(sweep, point, wait=False):
                    later.append(point)
            for point in later:
                self._point(sweep, point, wait=True)

    def close(self) -> None:
        """Let go of the constituents."""
        if self._kept:
            self._kept.close()
            self._kept = None

    def _sweep(self, points: Sequence[Point]) -> "Sweep":
        """The last job's, if these points are of the same combination and operator."""
        if self._kept is None or not self._kept.takes(points):
            self.close()
            self._kept = Sweep(self)
        self._kept.prepare(points)
        return self._kept

    def _claimed(self, place: Path, make: Callable[[], None], wait: bool = True) -> bool:
        """Make a place under its lock; whether it is there now."""
        if not self.store.done(place):
            with self.store.claim(place, wait) as mine:
                if mine:
                    make()
        return self.store.done(place)

    def _point(self, sweep: "Sweep", point: Point, wait: bool) -> bool:
        place = self.point_place(point)
        finished = self._claimed(place, lambda: self._merge(sweep, point, place), wait)
        if finished:
            self.done(place.name)
        return finished

    def _model(self, reference: str, place: Path) -> None:
        from mergekit_finance.merging import in_memory as merging

        model = merging.load_model(reference, self.study.evaluation.dtype, self.trust_remote_code)
        tokenizer = merging.load_tokenizer(reference, self.trust_remote_code)
        host = self.meter.host(model, tokenizer)
        self._measure(host, reference, place, self.model_key(reference), {})

    def _merge(self, sweep: "Sweep", point: Point, place: Path) -> None:
        import yaml

        started = time.monotonic()
        host = sweep.at(point)
        files = {"recipe.yml": yaml.safe_dump(point.recipe(), sort_keys=False)}
        self._measure(
            host, point.name, place, self.point_key(point), {"merge": time.monotonic() - started}, files
        )

    def _measure(
        self,
        host: Any,
        name: str,
        place: Path,
        key: dict[str, Any],
        timings: dict[str, float],
        files: Mapping[str, str] | None = None,
    ) -> None:
        results, seconds = self.meter.measure(host, name)
        scores = measure.item_scores(results["samples"])
        texts = {**(files or {}), "scores.json": _json(scores), "key.json": _json(key, indent=1)}
        keep = self.study.evaluation.samples == "all"
        self.store.write(place, results, texts, {**timings, "evaluate": seconds}, keep)


class Sweep:
    """A MergeSession over points of one combination and operator, opened at the first that is merged."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._group: tuple[Any, ...] = ()
        self._densities: list[float] = []
        self._open: tuple[MergeSession, Any] | None = None

    def takes(self, points: Sequence[Point]) -> bool:
        """Whether the same constituents serve these points too."""
        return self._group == _group(points[0])

    def prepare(self, points: Sequence[Point]) -> None:
        """These points come next."""
        self._group = _group(points[0])
        self._densities = sorted({p.values["density"] for p in points if "density" in p.values})
        if self._open and self._densities:
            self._open[0].prepare(density=self._densities)

    def close(self) -> None:
        if self._open:
            self._open[0].close()
            self._open = None

    def at(self, point: Point) -> Any:
        """The live model of a point, in lm-eval's wrapper."""
        from mergekit_finance.engine.finite import require_finite

        session, host = self._open or self._opened(point)
        values = {"lambda_" if k == "lambda" else k: v for k, v in point.values.items()}
        for name, tensor in session.apply(**values).named_parameters():
            require_finite(name, tensor)
        return host

    def _opened(self, point: Point) -> "tuple[MergeSession, Any]":
        import torch

        from mergekit_finance.merging import in_memory as merging
        from mergekit_finance.merging.session import MergeSession

        worker = self.worker
        session = MergeSession.open(
            point.recipe(), device=worker.device, trust_remote_code=worker.trust_remote_code, merged=False
        )
        if self._densities:
            session.prepare(density=self._densities)
        wanted = worker.study.evaluation.dtype
        model = merging.cast(session.model, None if wanted == "auto" else getattr(torch, wanted))
        self._open = session, worker.meter.host(model, session.tokenizer)
        return self._open


def _group(point: Point) -> tuple[Any, ...]:
    return point.group, point.base, point.constituents


def _json(content: Any, indent: int | None = None) -> str:
    import json

    separators = None if indent else (",", ":")
    text = json.dumps(content, indent=indent, separators=separators, sort_keys=True, ensure_ascii=False)
    return text + "\n"


def places(worker: Worker, references: Sequence[str], points: Sequence[Point]) -> dict[str, str]:
    """Folder names by model reference and point name."""
    found = {reference: worker.model_place(reference).name for reference in references}
    return found | {point.name: worker.point_place(point).name for point in points}


def seconds(store: Store, folders: Iterator[str]) -> dict[str, float]:
    """Sums of the stored timings, by what was done."""
    import json

    total: dict[str, float] = {}
    for name in folders:
        timings = json.loads((store.folder / "points" / name / "timings.json").read_text("utf-8"))
        for what in ("merge", "evaluate"):
            seconds = timings.get(what, 0.0)  # may have been edited: nothing depends on it
            total[what] = total.get(what, 0.0) + (seconds if isinstance(seconds, int | float) else 0.0)
    return total


__all__ = ["CHUNK", "Job", "Sweep", "Worker", "harness", "jobs", "places", "seconds", "write_json"]
