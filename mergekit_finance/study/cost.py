"""Estimate the cost of a study before it runs: points, disk, and hours from a timed sample; fit a budget.

Hours: a model's evaluation is timed on two small nested samples of every task, which gives seconds per model
and seconds per item; a merge is timed as it is. All of it on this machine, on this device, by one worker.
"""

import time
from contextlib import closing
from dataclasses import dataclass, replace

from mergekit_finance.errors import RecipeError
from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.live_merges import Sweep
from mergekit_finance.models.facts import absent_models, short_name
from mergekit_finance.statistics.power import expected_half_width, planning_error
from mergekit_finance.study.config import Study, identity
from mergekit_finance.study.points import Point, points
from mergekit_finance.study.read_files import optional_model
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.schema import PlanFile
from mergekit_finance.study.split import has_split
from mergekit_finance.study.stored_answers import StoredAnswers, stored_answers
from mergekit_finance.study.task_info import clusters_of

SMALL, LARGE = 4, 12  # items per task of the two timed samples
MIN_ITEMS = 8  # per task; a budget that allows fewer is refused


@dataclass(frozen=True)
class Plan:
    """The numbers that `study plan` prints.

    Attributes:
        points: number of points by stage.
        models: number of points and unmerged models.
        stored: models that are stored already.
        items: items by task at this limit.
        all_items: items by task without a limit.
        limit: items per task; None: all.
        disk: bytes.
        workers: processes.
        per_model: seconds per model that do not depend on items.
        per_item: seconds per item, the mean over tasks.
        merge: seconds per merge.
        budget: hours.
        absent: models that are not on this machine; their stored results and hours are not counted.
        answers: which answers are stored; None if models are absent.
        clusters: clusters to report on in the largest task: at the requested limit, and at this plan's limit.
    """

    points: dict[int, int]
    models: int
    stored: int
    items: dict[str, int]
    all_items: dict[str, int]
    limit: int | None
    disk: int
    workers: int
    per_model: float | None = None
    per_item: float | None = None
    merge: float | None = None
    budget: float | None = None
    clusters: tuple[int, int] | None = None
    absent: tuple[str, ...] = ()
    answers: StoredAnswers | None = None

    def items_at(self, limit: int) -> int:
        """Return the items that one model answers at a limit."""
        return sum(min(limit, count) for count in self.all_items.values())

    @property
    def largest_limit(self) -> int:
        """The number of items per task, of the tasks that have so many."""
        return self.limit or max(self.all_items.values())

    def hours(self, limit: int | None = None) -> float:
        """Return the hours for all answers that are not stored, at the plan's limit or a smaller one."""
        assert self.per_model is not None and self.per_item is not None and self.merge is not None
        assert self.answers is not None
        limit = limit or self.largest_limit
        of_models = (self.per_model + self.merge) * self.answers.models_to_ask(limit)
        return (of_models + self.per_item * self.answers.items_to_ask(limit)) / (3600 * self.workers)


def plan_study(run: StudyRun, budget: float | None = None, sample: bool = True, fetch: bool = True) -> Plan:
    """Return what a study costs.

    Args:
        run: the study; it is checked, and its tasks are loaded once.
        budget: hours; the plan's limit is the largest that fits.
        sample: whether to time a small sample, which hours need.
        fetch: whether to fetch models. False: those that are not on this machine are left out of all checks
            that need them, and there are no hours.

    Raises:
        RecipeError: a budget is asked for, and a model is not on this machine and not fetched.
    """
    run.absent = () if fetch else absent_models(run.references)
    if run.absent and budget:
        raise RecipeError(
            f"--budget: hours need a timed sample, and {', '.join(run.absent)} is not on this machine. Fetch "
            "it first, or leave --budget out."
        )
    run.check()
    counted = _counted(run)
    if run.absent or not (sample or budget):
        return counted
    timed = _timed(run, counted)
    if budget is None:
        return timed
    fitted = _fitted(timed, budget)
    return replace(fitted, clusters=_reported_clusters(run, timed.limit, fitted))


def fit(run: StudyRun, budget: float) -> Plan:
    """Set a run to the largest nested sample that fits a budget of hours; print and return the plan.

    A folder that has a plan for the same study and budget keeps it: a resumed run has the same items.
    """
    request = _request(run, budget)
    if earlier_limit := _kept_limit(run, request):
        run.limit = earlier_limit
        run.say(f"budget {budget:g} h: first {run.limit} items of every task, as planned before")
    else:
        fitted = plan_study(run, budget)
        run.say(plan_text(fitted))
        run.limit = fitted.limit
        planned = request.model_copy(update={"limit": run.limit})
        run.store.publish({"plan.json": planned.as_json()})
    return plan_study(run, sample=False)


def _request(run: StudyRun, budget: float) -> PlanFile:
    """Return the study, budget and limit of a plan, its result still open; a change needs a new plan."""
    return PlanFile(study=identity(run.study), budget=budget, asked_limit=run.limit, limit=None)


def _kept_limit(run: StudyRun, request: PlanFile) -> int | None:
    """Return the limit of an earlier plan for the same request; the file may have been edited."""
    earlier = optional_model(PlanFile, run.out / "plan.json")
    same = earlier is not None and earlier.model_copy(update={"limit": None}) == request
    return earlier.limit if earlier and same else None


def _counted(run: StudyRun) -> Plan:
    study = run.study
    all_items = {name: len(task.eval_docs) for name, task in sorted(run.evaluator.tasks.items())}
    limit = run.limit or max(all_items.values())
    items = {name: min(limit, count) for name, count in all_items.items()}
    by_stage: dict[int, int] = {stage: len(points(study, stage)) for stage in sorted(study.stages)}
    count = sum(by_stage.values()) + len(run.references)
    return Plan(
        points=by_stage,
        models=count,
        stored=0 if run.absent else _stored(run),
        items=items,
        all_items=all_items,
        limit=run.limit,
        disk=run.disk_needed(),
        absent=run.absent,
        workers=_workers(run),
        answers=None if run.absent else _answers(run, count),
    )


def _workers(run: StudyRun) -> int:
    """Return the number of processes on this machine; where a model is absent, the study file's or 1."""
    if run.absent or run.study.executor != "local":
        return (run.study.workers or 1) if run.absent else 1
    return len(run.executor.devices(run.worker))


def _known_points(study: Study) -> list[Point]:
    """Return all points but those of later stages of `chain: best`, which are not known yet."""
    stages = [s for s in study.stages if s == 1 or study.chain == "experts"]
    return [point for stage in stages for point in points(study, stage)]


def _stored(run: StudyRun) -> int:
    """Count models whose scores are stored."""
    worker = run.worker
    places = [worker.model_place(reference) for reference in run.references]
    places += [worker.point_place(point) for point in _known_points(run.study)]
    return sum(map(run.store.done, places))


def _answers(run: StudyRun, models: int) -> StoredAnswers:
    """Look up which answers of `models` models are stored."""
    worker = run.worker
    keys = [(short_name(reference), worker.model_answers_key(reference)) for reference in run.references]
    keys += [(point.name, worker.point_answers_key(point)) for point in _known_points(run.study)]
    return stored_answers(worker.answers, keys, models - len(keys), run.evaluator.requests(run.limit))


# ---- time


def _timed(run: StudyRun, counted: Plan) -> Plan:
    """Merge the first point and evaluate it on two nested samples."""
    evaluator = run.evaluator.on(run.executor.devices(run.worker)[0], quiet=True)
    first = points(run.study, min(run.study.stages))[0]
    run.say("timing a sample: one merge, evaluated on a few items of every task")
    with closing(Sweep(evaluator.live_models, run.trust_remote_code)) as sweep:
        sweep.prepare([first.recipe()])
        sweep.at(first.recipe())  # opens the models
        started = time.monotonic()
        lm = sweep.at(first.recipe())
        merge = time.monotonic() - started

        def seconds(limit: int) -> float:
            return evaluator.measure(AnsweringModel(lambda: lm), first.name, limit)[1]

        seconds(SMALL)  # the first pass is slower: caches, allocator
        of_few, of_more = seconds(SMALL), seconds(LARGE)
    few, more = counted.items_at(SMALL), counted.items_at(LARGE)
    per_item = max(0.0, (of_more - of_few) / max(1, more - few))
    return replace(counted, merge=merge, per_item=per_item, per_model=max(0.0, of_few - per_item * few))


def _fitted(timed: Plan, budget: float) -> Plan:
    """Return the plan at the largest limit whose hours are within the budget."""
    most = timed.largest_limit
    least = min(MIN_ITEMS, most)
    fitting = [limit for limit in range(least, most + 1) if timed.hours(limit) <= budget]
    if not fitting:
        assert timed.answers is not None
        raise RecipeError(
            f"--budget {budget:g}: {timed.answers.models_to_ask(least)} models need "
            f"{timed.hours(least):.2g} hours even with {least} items per task. Allow more "
            "hours, or use coarser grids or fewer tasks."
        )
    limit = max(fitting)
    items = {task: min(limit, count) for task, count in timed.all_items.items()}
    return replace(
        timed,
        stored=timed.stored if limit == most else 0,  # scores are of one limit
        limit=limit,
        items=items,
        disk=timed.disk * sum(items.values()) // max(1, sum(timed.items.values())),
        budget=budget,
        all_items={task: min(most, count) for task, count in timed.all_items.items()},
    )


def _reported_clusters(run: StudyRun, limit: int | None, fitted: Plan) -> tuple[int, int]:
    """Return the number of clusters of the largest task that are reported, not used for selection."""
    share = 1 - run.study.selection.share if has_split(run.study) else 1.0
    before, after = (
        round(share * clusters_of(run.evaluator, limit)[_largest(fitted)]) for limit in (limit, fitted.limit)
    )
    return before, after


# ---- words


def plan_text(plan: Plan) -> str:
    """Return the text that `study plan` prints."""
    stages = ", ".join(f"stage {stage}: {count}" for stage, count in plan.points.items())
    count = sum(plan.points.values())
    limited = f", the first {plan.limit} of each" if plan.limit else ""
    lines = [
        f"points      {count} ({stages}), and {plan.models - count} unmerged models; "
        f"{plan.stored} already stored",
        *([_answers_line(plan.answers)] if plan.answers and plan.budget is None else []),
        f"items       {sum(plan.items.values())} per model, {len(plan.items)} tasks{limited}",
        f"disk        about {_size_in_words(plan.disk)}",
        f"workers     {plan.workers}",
    ]
    if plan.absent:
        lines.append(
            f"not here    {', '.join(plan.absent)}: hours, stored results and checkpoints are not counted. "
            "Run this again where the models are."
        )
    if plan.per_item is not None and plan.per_model is not None and plan.merge is not None:
        evaluation = plan.per_model + plan.per_item * sum(plan.items.values())
        lines.append(
            f"time        about {_hours_in_words(plan.hours())}: {evaluation:.3g} s of evaluation and "
            f"{plan.merge:.2g} s of merging per model, from a timed sample on this machine"
        )
    if plan.budget is not None and plan.clusters is not None:
        lines.append(_budget_line(plan, plan.budget, plan.clusters))
    return "\n".join(lines)


def _answers_line(answers: StoredAnswers) -> str:
    missing = sum(answers.missing.values())
    reasons = [f"{count:,} ({reason})" for reason, count in sorted(answers.missing.items())]
    to_ask = f"; to ask: {', '.join(reasons)}" if reasons else ""
    return f"answers     {answers.needed - missing:,} of {answers.needed:,} stored{to_ask}"


def _hours_in_words(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} seconds"
    return f"{60 * hours:.2g} minutes" if hours < 1 else f"{hours:.2g} hours"


def _size_in_words(size: float) -> str:
    return f"{size / 1e6:.2g} MB" if size < 1e8 else f"{size / 1e9:.2g} GB"


def _largest(plan: Plan) -> str:
    return max(plan.all_items, key=plan.all_items.__getitem__)


def _budget_line(plan: Plan, budget: float, clusters: tuple[int, int]) -> str:
    """Return how much a budget widens the intervals, shown for the largest task."""
    task, (full, limited) = _largest(plan), clusters
    error = planning_error(full)
    before, after = (100 * expected_half_width(error, full, n) for n in (full, limited))
    wider = f" (±{before:.1f} on all {full})" if limited < full else ""
    return (
        f"budget      {budget:g} hours: {plan.items[task]} of {plan.all_items[task]} items of {task}, "
        f"nested. On it, a paired difference has an expected half width of ±{after:.1f} points with "
        f"{limited} reported clusters{wider}"
    )
