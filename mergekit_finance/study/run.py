"""`mergekit-finance study`: from study.yml to summary.json. What is stored is never made again."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mergekit_finance.errors import RecipeError
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models import checks as models
from mergekit_finance.study import executors, tasks
from mergekit_finance.study import worker as work
from mergekit_finance.study.config import Combination, Study
from mergekit_finance.study.points import Point, Source, groups, points
from mergekit_finance.study.results import StudyResults, results_of
from mergekit_finance.study.schema import (
    Index,
    MergeRecipe,
    ModelEntry,
    PointEntry,
    Similarity,
    StudyFile,
    Summary,
)
from mergekit_finance.study.store import Store, digest, room, write_json

FILES = ("study.json", "tasks.json", "index.json", "similarity.json", "summary.json", "timings.json")


@dataclass
class StudyRun:
    """A checked study on its way through its stages."""

    study: Study
    out: Path
    device: str = "cpu"
    limit: int | None = None
    where: str = "study.yml"
    trust_remote_code: bool = False
    quiet: bool = False
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
    index: dict[str, str] = field(default_factory=dict)  # model reference or point -> folder

    def __call__(self) -> Summary:
        """Run what is not stored, decide, write summary.json, return it."""
        from mergekit_finance.study.analysis.summary import answer

        self.prepare()
        started = time.monotonic()
        plans = self.stages()
        similarity = self._similarities(plans)
        results = self._results(plans)
        summary = answer(results, Similarity.model_validate(similarity))
        files = {
            "study.json": StudyFile(format=1, study=self.study, limit=self.limit).as_json(),
            "tasks.json": {name: task.as_json() for name, task in results.tasks.items()},
            "index.json": self._index(plans).as_json(),
            "similarity.json": similarity,
            "summary.json": summary.as_json(),
            "timings.json": self._timings(time.monotonic() - started),
        }
        with self.store.lock("publish"):  # what is in the folder is always of one study
            for name, content in files.items():
                write_json(self.out / name, content)
        return summary

    # ---- before

    @property
    def references(self) -> list[str]:
        return [self.study.base, *(e.model for e in self.study.experts.values())]

    def prepare(self) -> None:
        """Check all that can be wrong and be known before weights are read; then begin the folder. An older
        study's summary stays until this one's is there."""
        self.check()
        self.store.folder.mkdir(parents=True, exist_ok=True)
        self.store.clean()

    def check(self) -> None:
        """Models, files, tokenizers, device, tasks, output folder: one line for what is wrong."""
        from mergekit_finance.study.single import _refuse_twins, _refuse_unwritable

        for reference in self.references:
            models.check_reference(reference, self.where)
        _refuse_twins(self.references, self.where)
        _refuse_unwritable(self.out)
        models.check_fit(
            self.references, self.where, vocabulary=True, trust_remote_code=self.trust_remote_code
        )
        ids = {}
        for reference in self.references:
            models.check_files(reference)
            ids[reference] = merging.load_tokenizer(reference, self.trust_remote_code).get_vocab()
        models.check_tensors(self.references, self.where)
        for warning in models.unlike(ids, self.trust_remote_code):
            self.say(f"warning: {warning}")
        if not self.worker.harness.leaves:
            raise RecipeError(f"{self.where}: no tasks to evaluate")
        self.worker.harness.check_scores()
        tasks.check_named(self.worker.harness, self.study, self.where)
        tasks.check_skills(self.worker.harness, self.study, self.where)
        tasks.check_split(self.worker.harness, self.study, self.limit, self.where)
        self._refuse_twins()
        self._refuse_other()

    def _refuse_twins(self) -> None:
        """Two names for the same bytes would be two experts that agree in everything."""
        seen: dict[str, str] = {}
        for reference, print_ in self.prints.items():
            if print_ in seen:
                twins = f"{seen[print_]} and {reference}"
                raise RecipeError(f"{self.where}: {twins} are the same model, byte by byte; name one of them")
            seen[print_] = reference

    def _refuse_other(self) -> None:
        """A folder that holds another kind of results is not written into."""
        for name in ("points", ".locks", "selected"):
            place = self.out / name
            if place.exists() and not place.is_dir():
                raise RecipeError(f"-o {self.out}: {name} in it is no folder; name another")
            if place.exists() and not os.access(place, os.R_OK | os.W_OK | os.X_OK):
                raise RecipeError(f"-o {self.out}: {name} in it cannot be written to; name another")
        if name := next((name for name in FILES if (self.out / name).is_dir()), ""):
            raise RecipeError(f"-o {self.out}: {name} in it is a folder; name another")
        if self.study.chain == "best" and (odd := set("@+") & set(_reference(self.out))):
            raise RecipeError(
                f"-o {self.out}: with `chain: best` no {' or '.join(sorted(odd))} in it: mergekit reads a "
                "revision or an adapter there; name another"
            )
        if (self.out / "gain.json").is_file():
            raise RecipeError(f"-o {self.out}: holds the results of `mergekit-finance run`; name another")

    @cached_property
    def store(self) -> Store:
        return Store(self.out)

    @cached_property
    def prints(self) -> dict[str, str]:
        return {r: models.fingerprint(r, self.quiet) for r in self.references}

    @cached_property
    def worker(self) -> work.Worker:
        made = work.Worker(self.study, self.out, self.prints, self.device, self.limit, self.trust_remote_code)
        return made.stamped()

    # ---- stages

    def stages(self) -> list[Point]:
        """Every point of the study, done. With `chain: best`, stage after stage."""
        if self.study.chain == "experts":
            plans = [p for stage in sorted(self.study.stages) for p in points(self.study, stage)]
            self.run(self.references, plans)
            return plans
        plans, chosen = [], {}
        for stage in sorted(self.study.stages):
            found = points(self.study, stage, chosen)
            self.run(self.references if stage == 1 else [], found)
            plans += found
            if stage < max(self.study.stages):
                chosen = self._select(found)
        return plans

    def run(self, references: Sequence[str], found: Sequence[Point]) -> None:
        """Evaluate models and points, and remember their folders."""
        names = work.places(self.worker, references, found)
        self.index |= names
        for folder in names.values():
            place = self.store.folder / "points" / folder
            if fault := self.store.discard_damaged(place, self.study.evaluation.samples == "all"):
                self.say(f"{fault}: evaluated again")
        missing = {
            n for n, folder in names.items() if not self.store.done(self.store.folder / "points" / folder)
        }
        jobs = work.jobs(
            [r for r in references if r in missing], groups(p for p in found if p.name in missing)
        )
        self.say(f"{len(names) - len(missing)} of {len(names)} models are stored, {len(missing)} to do")
        if jobs:
            self._execute(jobs, len(names), len(missing))

    def _execute(self, jobs: Sequence[work.Job], total: int, missing: int) -> None:
        size = models.size(self.study.base)
        worker = replace(self.worker, done=work.nothing, quiet=self.quiet)
        with executors.bar(total, total - missing, self.quiet) as bar:

            def tick() -> None:
                bar.update(total - missing + sum(executors.finished(self.worker, jobs)) - bar.n)

            try:
                if self.study.executor == "ray":
                    executors.run_on_ray(worker, jobs, tick)
                else:
                    executors.run(worker, jobs, executors.devices(worker, self.study.workers, size), tick)
            finally:
                self.store.clean()  # what processes that were stopped left half-written
            tick()

    def _index(self, plans: Sequence[Point]) -> Index:
        """Return which folders belong to this study, and whose results they hold."""
        named = {"base": self.study.base} | {n: e.model for n, e in self.study.experts.items()}
        return Index(
            models={
                name: ModelEntry(reference=r, fingerprint=self.prints[r], folder=self.index[r])
                for name, r in named.items()
            },
            points=[point_entry(p, self.index[p.name]) for p in plans],
        )

    def _results(self, plans: Sequence[Point]) -> StudyResults:
        described = tasks.describe(self.worker.harness, self.study)
        return results_of(self.out, self.study, self.limit, described, self._index(plans))

    # ---- chain: best

    def _select(self, found: Sequence[Point]) -> dict[Combination, Source]:
        """The selected model of each combination, written as a checkpoint that the next stage merges."""
        from mergekit_finance.study.analysis.summary import chosen_points

        best = chosen_points(self._results(found))
        by_name = {p.name: p for p in found}
        return {
            tuple(combination.split("+")): self._written(by_name[name]) for combination, name in best.items()
        }

    def _written(self, point: Point) -> Source:
        """Merge a point to disk, once: OUT/selected/<name>-<hash>."""
        place = self.out / "selected" / self.index[point.name]
        with self.store.lock(f"selected-{place.name}"):  # another process may be at it
            if not _whole(place):
                self.say(f"write {place}, which the next stage merges")
                with room(self.out):
                    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
                    _materialize(point, place, self.trust_remote_code, self.quiet)
        reference = _reference(place)
        self.prints[reference] = models.folder_fingerprint(place, self.quiet)
        return Source("-".join(point.combination), reference)

    # ---- after

    def _similarities(self, plans: Sequence[Point]) -> dict[str, Any]:
        """How far the models are apart before each merge: of the experts, and of what was merged instead."""
        from mergekit_finance.similarity import similarity

        merged = dict.fromkeys(s.reference for p in plans for s in p.sources)
        wanted = [r for r in (*self.references[1:], *merged) if r != self.study.base]
        path, names = self.out / "similarity.json", [*dict.fromkeys(wanted)]
        key = {r: self.prints[r] for r in (self.study.base, *names)}
        stored = {name: value for name, value in _read(path).items() if name != "digest"}
        if stored.get("key") != key or _read(path).get("digest") != digest(stored):
            device = self.device if self.device.startswith("cuda") else "cpu"
            stored = {"key": key, **similarity(self.study.base, names, device, quiet=self.quiet)}
        return {"digest": digest(stored), **stored}

    def _timings(self, wall: float) -> dict[str, float]:
        return {"wall_of_last_run": wall, **work.seconds(self.store, iter(self.index.values()))}


def point_entry(point: Point, folder: str) -> PointEntry:
    """Return what index.json says of a point whose results are in points/<folder>."""
    return PointEntry(
        name=point.name,
        folder=folder,
        stage=point.stage,
        combination=list(point.combination),
        operator=point.operator,
        values=dict(point.values),
        references=list(point.constituents),
        recipe=MergeRecipe.model_validate(point.recipe()),
    )


def _reference(place: Path) -> str:
    """A folder as mergekit takes it for one."""
    return f"./{place}" if not place.is_absolute() else str(place)


def _materialize(point: Point, place: Path, trust_remote_code: bool, quiet: bool) -> None:
    from mergekit.options import MergeOptions

    from mergekit_finance.evaluation.mergekit_lm import check_mapping

    configuration = check_mapping(point.recipe(), point.name).configuration()
    options = MergeOptions(trust_remote_code=trust_remote_code, quiet=quiet)
    model, tokenizer = merging.merge(configuration, options)
    scratch = place.with_name(f".{place.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    _noted(place).write_text(_print_of(scratch), encoding="utf-8")
    scratch.replace(place)


def _noted(place: Path) -> Path:
    """Where the fingerprint of a selected merge is kept, as it was written."""
    return place.with_name(f"{place.name}.fingerprint")


def _print_of(place: Path) -> str:
    return models.folder_fingerprint(place, quiet=True)


def _whole(place: Path) -> bool:
    """Whether a selected merge is there, and has the bytes that were written."""
    try:
        return _noted(place).read_text(encoding="utf-8") == _print_of(place)
    except OSError:
        return False


def _read(path: Path) -> Mapping[str, Any]:
    import json

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
