"""What a study will cost, before it runs: points, disk, hours from a timed sample; and fitting a budget.

Hours: a model's evaluation is timed on two small nested samples of every task, which gives seconds a model
and seconds an item; a merge is timed as it is. Both on this machine, with this device, one worker.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from mergekit_finance.errors import RecipeError
from mergekit_finance.evaluation.engine import Meter
from mergekit_finance.statistics.power import expected_half_width, planning_error
from mergekit_finance.study import executors
from mergekit_finance.study import worker as work
from mergekit_finance.study.config import combinations_of
from mergekit_finance.study.points import points
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.split import has_split
from mergekit_finance.study.tasks import clusters_of

SMALL, LARGE = 4, 12  # items a task of the two timed samples
BYTES_A_SAMPLE = 2600  # of lm-eval's samples and of our scores, for rows of the lab's length
LEAST = 8  # items a task below which nothing can be said


@dataclass(frozen=True)
class Plan:
    """What `study plan` prints."""

    points: dict[int, int]  # by stage
    models: int
    stored: int
    items: dict[str, int]  # by task, at this limit
    limit: int | None
    disk: int  # bytes
    workers: int
    per_model: float | None = None  # seconds that do not depend on items
    per_item: float | None = None  # seconds an item, the mean over tasks
    merge: float | None = None
    budget: float | None = None
    all_items: dict[str, int] | None = None
    reported: tuple[int, int] | None = None  # clusters of the largest task: as asked for, and as kept

    def hours(self, items: int | None = None) -> float:
        """Hours for all models that are not stored, `items` in all a model."""
        assert self.per_model is not None and self.per_item is not None and self.merge is not None
        count = sum(self.items.values()) if items is None else items
        return (
            (self.models - self.stored)
            * (self.per_model + self.merge + self.per_item * count)
            / (3600 * self.workers)
        )


def plan(run: StudyRun, budget: float | None = None, sample: bool = True) -> Plan:
    """Count; with `sample`, time; with a budget, find the limit that fits it."""
    run.check()
    found = _counted(run)
    if not (sample or budget):
        return found
    timed = _timed(run, found)
    if budget is None:
        return timed
    fitted = _fitted(timed, budget)
    return replace(fitted, reported=_reported(run, timed.limit, fitted))


def fit(run: StudyRun, budget: float) -> Plan:
    """Make the run fit: its limit becomes the largest nested sample that does. Says what that costs.

    A folder that has a plan for the same study and budget keeps it: a resumed run has the same items.
    """
    asked = run.limit
    if kept := _kept(run, budget):
        run.limit = kept["limit"]
        run.say(f"budget {budget:g} h: first {run.limit} items of every task, as planned before")
    else:
        found = plan(run, budget)
        run.say(text(found))
        run.limit = found.limit
        _keep(run, budget, asked)
    run.__dict__.pop("worker", None)  # it was made for another limit
    return plan(run, sample=False)


def _keep(run: StudyRun, budget: float, asked: int | None) -> None:
    from mergekit_finance.study.store import write_json

    write_json(run.out / "plan.json", {**_asked(run, budget, asked), "limit": run.limit})


def _asked(run: StudyRun, budget: float, limit: int | None) -> dict[str, Any]:
    from mergekit_finance.study.config import identity

    return {"study": identity(run.study), "budget": budget, "asked_limit": limit}


def _kept(run: StudyRun, budget: float) -> Mapping[str, Any]:
    from mergekit_finance.study.run import _read

    found = _read(run.out / "plan.json")
    same = all(found.get(key) == value for key, value in _asked(run, budget, run.limit).items())
    sound = type(found.get("limit")) is int and found["limit"] > 0  # may have been edited
    return found if same and sound else {}


def _counted(run: StudyRun) -> Plan:
    study, tasks = run.study, run.worker.harness.loaded["tasks"]
    everything = {name: len(task.eval_docs) for name, task in sorted(tasks.items())}
    limit = run.limit or max(everything.values())
    items = {name: min(limit, count) for name, count in everything.items()}
    by_stage = {stage: len(points(study, stage)) for stage in sorted(study.stages)}
    models = sum(by_stage.values()) + len(run.references)
    size = _size(run)
    return Plan(
        by_stage,
        models,
        _stored(run),
        items,
        run.limit,
        models * sum(items.values()) * BYTES_A_SAMPLE + _chained(run) * size,
        len(executors.devices(run.worker, study.workers, size)) if study.executor == "local" else 1,
        all_items=everything,
    )


def _size(run: StudyRun) -> int:
    from mergekit_finance.models import checks as models

    return models.size(run.study.base)


def _chained(run: StudyRun) -> int:
    """Checkpoints that `chain: best` writes."""
    last = max(run.study.stages)
    stages = [s for s in run.study.stages if s < last] if run.study.chain == "best" else []
    return sum(len(combinations_of(run.study, stage)) for stage in stages)


def _stored(run: StudyRun) -> int:
    """Models that need no evaluation any more; later stages of `chain: best` are not known yet."""
    stages = [s for s in run.study.stages if s == 1 or run.study.chain == "experts"]
    known = work.places(run.worker, run.references, [p for s in stages for p in points(run.study, s)])
    return sum(run.store.done(run.out / "points" / folder) for folder in known.values())


# ---- time


def _timed(run: StudyRun, found: Plan) -> Plan:
    """Merge the first point and evaluate it on two nested samples."""
    device = executors.devices(run.worker, run.study.workers, _size(run))[0]
    worker = replace(run.worker, device=device, limit=SMALL, quiet=True)
    first = points(run.study, min(run.study.stages))[0]
    run.say("time a sample: one merge, evaluated on a few items of every task")
    with closing(work.Sweep(worker)) as sweep:
        sweep.prepare([first])
        sweep.at(first)  # opens the models
        started = time.monotonic()
        host = sweep.at(first)
        merge = time.monotonic() - started
        worker.meter.measure(host, first.name)  # the first pass is slower: caches, allocator
        seconds = [_seconds(worker.meter, host, limit) for limit in (SMALL, LARGE)]
    counts = [_items(found, limit) for limit in (SMALL, LARGE)]
    slope = max(0.0, (seconds[1] - seconds[0]) / max(1, counts[1] - counts[0]))
    return replace(found, merge=merge, per_item=slope, per_model=max(0.0, seconds[0] - slope * counts[0]))


def _seconds(meter: Meter, host: Any, limit: int) -> float:
    timed = replace(meter, harness=replace(meter.harness, limit=limit))
    timed.harness.__dict__.update({k: meter.harness.__dict__[k] for k in ("manager", "loaded")})
    return timed.measure(host, "timed")[1]


def _items(found: Plan, limit: int) -> int:
    assert found.all_items is not None
    return sum(min(limit, count) for count in found.all_items.values())


def _fitted(found: Plan, budget: float) -> Plan:
    """The largest limit whose hours are within the budget."""
    assert found.all_items is not None
    most = found.limit or max(found.all_items.values())
    other = replace(found, stored=0)  # what is stored is of the limit that was asked for, and of no other
    fitting = [
        n
        for n in range(min(LEAST, most), most + 1)
        if (found if n == most else other).hours(_items(found, n)) <= budget
    ]
    if not fitting:
        least = found.hours(_items(found, min(LEAST, most)))
        raise RecipeError(
            f"--budget {budget:g}: {found.models - found.stored} models need {least:.2g} hours even at "
            f"{min(LEAST, most)} items a task; give more hours, coarser grids or fewer tasks"
        )
    limit = max(fitting)
    items = {task: min(limit, count) for task, count in found.all_items.items()}
    disk = found.disk * sum(items.values()) // max(1, sum(found.items.values()))
    asked = {task: min(most, count) for task, count in found.all_items.items()}
    kept = found if limit == most else other
    return replace(kept, limit=limit, items=items, disk=disk, budget=budget, all_items=asked)


def _reported(run: StudyRun, asked: int | None, fitted: Plan) -> tuple[int, int]:
    """Intervals are of clusters, and of those that choose nothing."""
    share = 1 - run.study.selection.share if has_split(run.study) else 1.0
    before, after = (
        round(share * clusters_of(run.worker.harness, limit)[_largest(fitted)])
        for limit in (asked, fitted.limit)
    )
    return before, after


# ---- words


def text(found: Plan) -> str:
    """The plan for people."""
    stages = ", ".join(f"stage {stage}: {count}" for stage, count in found.points.items())
    lines = [
        f"points      {sum(found.points.values())} ({stages}), and "
        f"{found.models - sum(found.points.values())} models as they are; {found.stored} stored already",
        f"items       {sum(found.items.values())} a model, {len(found.items)} tasks"
        + (f", the first {found.limit} of each" if found.limit else ""),
        f"disk        about {_size_in_words(found.disk)}",
        f"workers     {found.workers}",
    ]
    if found.per_item is not None and found.per_model is not None and found.merge is not None:
        one = found.per_model + found.per_item * sum(found.items.values())
        lines.append(
            f"time        about {_shown(found.hours())}: {one:.3g} s of evaluation and {found.merge:.2g} s "
            "of merging a model, by a timed sample on this machine"
        )
    if found.budget is not None:
        lines += _cost(found)
    return "\n".join(lines)


def _shown(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} seconds"
    return f"{60 * hours:.2g} minutes" if hours < 1 else f"{hours:.2g} hours"


def _size_in_words(size: float) -> str:
    return f"{size / 1e6:.2g} MB" if size < 1e8 else f"{size / 1e9:.2g} GB"


def _largest(found: Plan) -> str:
    assert found.all_items is not None
    return max(found.all_items, key=found.all_items.__getitem__)


def _cost(found: Plan) -> list[str]:
    """What the budget costs in interval width, on the largest task."""
    assert found.all_items is not None and found.reported is not None
    task, (asked, kept) = _largest(found), found.reported
    error = planning_error(asked)
    before, after = (100 * expected_half_width(error, asked, n) for n in (asked, kept))
    return [
        f"budget      {found.budget:g} hours: {found.items[task]} of {found.all_items[task]} items of "
        f"{task}, nested; the expected half width of a paired difference there is ±{after:.1f} points on "
        f"{kept} clusters to report" + (f", in place of ±{before:.1f} on {asked}" if kept < asked else "")
    ]
