"""Plan a study before it runs: points, disk, answers to ask for, and hours; fit a budget of hours.

`cost_sample` times a sample, `cost_estimate` computes hours from it, `cost_plan` holds the numbers, and
`cost_text` writes them.
"""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mergekit_finance.errors import RecipeError, counted
from mergekit_finance.evaluation.chat import ChatTemplate
from mergekit_finance.evaluation.truncation import tokens_generated_by, tokens_needed
from mergekit_finance.models.facts import short_name
from mergekit_finance.models.loading import load_tokenizer
from mergekit_finance.models.presence import absent_models
from mergekit_finance.study.config import Study, combinations_of, identity
from mergekit_finance.study.cost_estimate import Rates
from mergekit_finance.study.cost_plan import Plan
from mergekit_finance.study.cost_sample import timed_sample
from mergekit_finance.study.cost_text import plan_text
from mergekit_finance.study.points import Point, points
from mergekit_finance.study.race import races
from mergekit_finance.study.read_files import optional_model
from mergekit_finance.study.refusals import chat_template
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.schema import PlanFile
from mergekit_finance.study.split import has_split
from mergekit_finance.study.stored_answers import Part, StoredAnswers, stored_answers
from mergekit_finance.study.task_info import clusters_of

MOST_IMPORTS = 30.0  # seconds before a plan begins that count as start-up, which every worker has
MIN_ITEMS = 8  # per task; a budget that allows fewer is refused


def plan_study(run: StudyRun, budget: float | None = None, sample: bool = True, fetch: bool = True) -> Plan:
    """Return what a study costs.

    Args:
        run: the study; it is checked, and its tasks are loaded once.
        budget: hours; the plan's limit is the largest that fits.
        sample: whether to time a small sample, which hours need. False: requests and tokens are counted.
        fetch: whether to fetch models. False: those that are not on this machine are left out of all checks
            that need them, and there are no hours.

    Raises:
        RecipeError: a budget is asked for without a sample, or a model is not on this machine and not
            fetched.
    """
    if budget and not sample:
        raise RecipeError(
            "--budget with --no-sample: how many items fit so many hours is known from a timed sample only. "
            "Leave --no-sample out, or set the number of items with --limit."
        )
    started = time.monotonic() - min(time.process_time(), MOST_IMPORTS)
    run.absent = () if fetch else absent_models(run.references)
    if run.absent and budget:
        raise RecipeError(
            f"--budget: hours need a timed sample, and {', '.join(run.absent)} is not on this machine. Fetch "
            "it first, or leave --budget out."
        )
    run.check()
    counted = _counted(run)
    if run.absent:
        return counted
    if not sample:
        return replace(counted, tokens=_tokens(run))
    timed = _timed(run, counted, time.monotonic() - started)
    if budget is None:
        return timed
    fitted = _fitted(timed, budget)
    return replace(fitted, clusters=_reported_clusters(run, timed.limit, fitted))


def fit(run: StudyRun, budget: float) -> None:
    """Set a run to the largest nested sample that fits a budget of hours, and print the plan.

    A folder that has a plan for the same study and budget keeps it: a resumed run has the same items.
    """
    request = _request(run, budget)
    if earlier_limit := _kept_limit(run, request):
        run.limit = earlier_limit
        run.say(f"budget {budget:g} h: first {counted(run.limit, 'item')} of every task, as planned before")
    else:
        fitted = plan_study(run, budget)
        run.say(plan_text(fitted))
        run.limit = fitted.limit
        planned = request.model_copy(update={"limit": run.limit})
        run.store.publish({"plan.json": planned.as_json()})


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
    planned: dict[int, list[Point]] = {stage: points(study, stage) for stage in sorted(study.stages)}
    by_stage = {stage: len(of_stage) for stage, of_stage in planned.items()}
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
        devices=_devices(run),
        combinations={stage: len(combinations_of(study, stage)) for stage in planned},
        experts=len(study.experts),
        answers=None if run.absent else _answers(run, planned),
        shares=_shares(run, planned, sum(items.values())),
        captures="" if run.absent else run.executor.captures(run.worker, count),
    )


def _shares(run: StudyRun, planned: Mapping[int, Sequence[Point]], items: int) -> dict[int, float]:
    """Return by stage the largest share of the full grid's answers that races ask for.

    Args:
        run: the study.
        planned: the points by stage.
        items: items of each model, of which races leave some to their winners.
    """
    shares: dict[int, float] = {}
    if run.study.race is None:
        return shares
    for stage, plans in planned.items():
        of_stage = races(plans, run.item_order, run.study, run.tasks)
        asked = sum(race.most_answers + items - race.all_items for race in of_stage)
        shares[stage] = min(1.0, asked / max(1, len(plans) * items))
    return shares


def _devices(run: StudyRun) -> tuple[str, ...]:
    """Return the device of each process on this machine; where a model is absent, as the study file says."""
    if run.absent or run.study.executor != "local":
        return (run.device,) * ((run.study.workers or 1) if run.absent else 1)
    return tuple(run.executor.devices(run.worker))


def _tokens(run: StudyRun) -> tuple[int, int]:
    """Return the tokens of one model's prompts and options, and the most that it generates."""
    tokenizer = load_tokenizer(run.study.base, run.trust_remote_code)
    read = generated = 0
    for request in run.evaluator.requests(run.limit, _template(run, run.study.base)):
        most = tokens_generated_by(request.args)
        read += tokens_needed(request.args, tokenizer) - most
        generated += most
    return read, generated


def _determined_points(study: Study) -> list[Point]:
    """Return all points but those of later stages of `chain: best`, which are not known yet."""
    stages = [s for s in study.stages if s == 1 or study.chain == "experts"]
    return [point for stage in stages for point in points(study, stage)]


def _stored(run: StudyRun) -> int:
    """Count models whose scores are stored."""
    worker = run.worker
    places = [worker.model_place(reference) for reference in run.references]
    places += [worker.point_place(point) for point in _determined_points(run.study)]
    return sum(map(run.store.done, places))


def _answers(run: StudyRun, planned: Mapping[int, Sequence[Point]]) -> StoredAnswers:
    """Look up which answers of all models are stored."""
    worker, determined = run.worker, _determined_points(run.study)
    keys = [
        (Part(0), short_name(reference), worker.model_answers_key(reference)) for reference in run.references
    ]
    keys += [(Part(one.stage, one.operator), one.name, worker.point_answers_key(one)) for one in determined]
    determined_stages = {point.stage for point in determined}
    unknown = Counter(
        Part(point.stage, point.operator)
        for stage, of_stage in planned.items()
        for point in of_stage
        if stage not in determined_stages
    )
    of_base = _template(run, run.study.base)
    requests = run.evaluator.requests(run.limit, of_base)
    templates = {reference: _template(run, reference) for reference in run.references[1:]}
    others = {
        short_name(reference): run.evaluator.requests(run.limit, template)
        for reference, template in templates.items()
        if template != of_base
    }
    return stored_answers(worker.answers, keys, unknown, requests, others)


def _template(run: StudyRun, reference: str) -> ChatTemplate | None:
    return chat_template(run.evaluator, reference, run.trust_remote_code)


# ---- time


def _timed(run: StudyRun, counted: Plan, start_up: float) -> Plan:
    """Return the plan with the rates of a timed sample; nothing is timed if every answer is stored."""
    assert counted.answers is not None
    limit = counted.largest_limit
    if not counted.answers.all_models_to_ask(limit):
        return replace(counted, rates=Rates())
    run.say("timing a sample: loading, merging, and a few items of every task")
    rates = timed_sample(run, counted.answers, counted.devices, limit)
    return replace(counted, rates=replace(rates, start_up=start_up))


def _fitted(timed: Plan, budget: float) -> Plan:
    """Return the plan at the largest limit that fits a budget even at the upper end of the hours."""
    most = timed.largest_limit
    least = min(MIN_ITEMS, most)
    fitting = bisect_right(range(least, most + 1), budget, key=lambda limit: timed.hours(limit).high)
    if not fitting:
        assert timed.answers is not None
        raise RecipeError(
            f"--budget {budget:g}: {timed.answers.all_models_to_ask(least)} models need "
            f"{timed.hours(least).high:.2g} hours even with {counted(least, 'item')} per task. Allow more "
            "hours, or use coarser grids or fewer tasks."
        )
    limit = least + fitting - 1
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
        round(share * clusters_of(run.evaluator, limit)[fitted.largest_task])
        for limit in (limit, fitted.limit)
    )
    return before, after
