"""Train the lab's models: bases, experts of many strengths, a choice by criteria, four seeds.

In recipes/lab: `python -m training.sweep --out DIR --minutes N`. Whatever is finished is kept; the same
command goes on where it was stopped for time.

    step      what it writes
    corpora   DIR/corpora: the documents of every role, packed
    base      DIR/seed0/base to seed3/base, side by side
    grid      DIR/seed0/grid/*: every expert at every strength (plans.GRID), side by side
    choice    DIR/seed0/finance, math, japanese: copies of the chosen candidates; DIR/choice.json
    seeds     DIR/seed1 to seed3: experts at the chosen strengths
    collect   DIR/results: report.md, results.json, and the models of each seed as one .tar.gz

The rule of choice was written before the training: of the candidates of an expert that meet all of its
criteria (criteria.OF_EXPERT), the one whose relative task vector is closest to the middle of its range; if
there is none, the one with the smallest total miss. No merge is made or scored here.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import torch

from mergekit_finance.files import Json, atomic_path, atomic_write, read_json, write_json
from mergekit_finance.lab import ROLES

from . import criteria, packing, profile, train
from .criteria import Values
from .plans import BASE, EXPERT, GRID, Grid, Plan
from .probe import SKILL
from .profile import Table
from .prompts import PROMPTS

COMMAND = "python -m training.sweep --out DIR"
SCORES = "profile.json"  # in the folder of each model: the file that is written last
MAX_NEW_TOKENS = 112  # the longest correct answer has 93 tokens
LONG = 2_000  # steps from which a model is worth compiling
RESERVED = 45.0  # seconds at the end of the limit, for the evaluations that are running and for `collect`
CURVE = 10  # points of the base's curve in the report


class TimeUpError(Exception):
    """The time limit is reached before all jobs of a step are finished."""


@dataclass(frozen=True)
class Sweep:
    """The whole training.

    Attributes:
        out: The folder of everything.
        seeds: Training seeds; the strengths are chosen with the first.
        base, expert: The plans that the grid varies.
        grid: The strengths.
        device: cpu or cuda.
        answers_on: The device of the evaluations.
        workers: Processes that share the devices; 0: all work is done in this process.
        gpus: GPUs that the processes are spread over.
        compiled: Whether the layers of models with many steps are compiled.
        limit: Rows per task of the evaluations.
        tasks: Of the evaluations; without the prefix `finance_bench_`.
        deadline: The time of `time.monotonic` at which no training goes on.
    """

    out: Path
    seeds: Sequence[int] = (0, 1, 2, 3)
    base: Plan = BASE
    expert: Plan = EXPERT
    grid: Grid = GRID
    device: str = "cpu"
    answers_on: str = "cpu"
    workers: int = 0
    gpus: int = 1
    compiled: bool = False
    limit: int = profile.LIMIT
    tasks: Sequence[str] = field(default_factory=lambda: tuple(PROMPTS))
    deadline: float = float("inf")

    def folder(self, seed: int) -> Path:
        """The folder of one seed's models."""
        return self.out / f"seed{seed}"

    def plan(self, plan: Plan, seed: int, role: str) -> Plan:
        """Return a plan for a role and a seed."""
        return replace(plan, role=role, seed=seed, device=self.device)

    def candidates(self, role: str) -> dict[str, Plan]:
        """The candidates of an expert: name below the folder of the first seed -> plan."""
        expert = self.plan(self.expert, self.seeds[0], role)
        return {f"grid/{plan.name}": plan for plan in self.grid.plans(expert)}

    def corpus(self, role: str) -> Path:
        """The file of a role's packed documents."""
        return self.out / "corpora" / f"{role}.npz"


@dataclass(frozen=True)
class Job:
    """One model to train and evaluate: its folder below that of its seed, and its plan."""

    name: str
    plan: Plan


# ---- one job, in a worker process


def do_job(sweep: Sweep, job: Job) -> bool:
    """Train and evaluate one model, and return whether it is finished; False if the time is up."""
    folder = sweep.folder(job.plan.seed)
    if not train.is_finished(folder, job.name):
        trainer = train.Trainer(
            job.plan, folder, rows_of(sweep, job.plan), job.name,
            packing.held_out(job.plan.role),
        )  # fmt: skip
        if sweep.compiled and job.plan.steps >= LONG:
            trainer.compile()
        trainer.resume()
        if not trainer.run(deadline=sweep.deadline):
            return False
        train.write(trainer, COMMAND)
        del trainer
        if sweep.device == "cuda":
            torch.cuda.empty_cache()  # memory for the other processes
    if time.monotonic() > sweep.deadline:
        return False
    if not (folder / job.name / SCORES).is_file():
        table = profile.profile(
            folder, sweep.limit, [job.name], sweep.tasks, MAX_NEW_TOKENS, sweep.answers_on
        )
        scores = {task: cells[job.name] for task, cells in table.items()}
        write_json(folder / job.name / SCORES, {"limit": sweep.limit, "tasks": scores}, indent=1)
    return True


def rows_of(sweep: Sweep, plan: Plan) -> packing.Packed:
    """Return the rows that a plan trains on: of its role's corpus, and its share of the base's."""
    domain = packing.Packed.load(sweep.corpus(plan.role))
    if not plan.general:
        return domain
    return packing.mixed(domain, packing.Packed.load(sweep.corpus("base")), plan.general)


def begin_worker(threads: int, gpus: "Queue[int]") -> None:
    """Set the number of threads and the GPU of a worker process.

    Args:
        threads: Of PyTorch.
        gpus: Has the number of a GPU for every process; ignored without a GPU.
    """
    torch.set_num_threads(threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpus.get())  # CUDA is not initialized yet


# ---- steps


def do_jobs(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Do jobs side by side, in their order.

    Raises:
        TimeUpError: some are not finished. The others are.
        SystemExit: some failed. The others are finished.
    """
    waiting = [job for job in jobs if not (sweep.folder(job.plan.seed) / job.name / SCORES).is_file()]
    unfinished, failed = 0, []
    if not sweep.workers:
        unfinished = sum(not do_job(sweep, job) for job in waiting)
    elif waiting:
        count = min(sweep.workers, len(waiting))
        threads = max(1, (os.cpu_count() or 1) // count)
        context = get_context("spawn")
        gpus = context.Queue()
        for number in range(count):
            gpus.put(number % sweep.gpus)
        with ProcessPoolExecutor(count, context, begin_worker, (threads, gpus)) as pool:
            futures = {pool.submit(do_job, sweep, job): job for job in waiting}
            for number, future in enumerate(as_completed(futures), 1):
                name = f"seed {futures[future].plan.seed} {futures[future].name}"
                if error := future.exception():
                    failed.append(f"{name} ({type(error).__name__}: {str(error)[:200]})")
                else:
                    unfinished += not future.result()
                say(f"{number}/{len(futures)} {name}")
    if failed:
        raise SystemExit(f"Error: not trained: {'; '.join(failed)}. Run the same command again to go on.")
    if unfinished:
        raise TimeUpError(f"{unfinished} of {len(jobs)} models are not finished")


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def write_corpora(sweep: Sweep) -> None:
    """Generate and pack the documents of every role."""
    for role in ROLES:
        if not sweep.corpus(role).is_file():
            count = (sweep.base if role == "base" else sweep.expert).documents
            processes = (os.cpu_count() or 1) if sweep.workers else 1
            rows = packing.corpus(role, count, processes)
            rows.save(sweep.corpus(role))


def train_base(sweep: Sweep) -> None:
    """Train and evaluate the bases of all seeds."""
    do_jobs(sweep, [Job("base", sweep.plan(sweep.base, seed, "base")) for seed in sweep.seeds])


def train_grid(sweep: Sweep) -> None:
    """Train and evaluate all candidates of all experts."""
    jobs = [Job(name, plan) for role in SKILL for name, plan in sweep.candidates(role).items()]
    do_jobs(sweep, sorted(jobs, key=lambda job: -job.plan.steps))


def write_choice(sweep: Sweep) -> None:
    """Choose one candidate of each expert, and copy it."""
    folder = sweep.folder(sweep.seeds[0])
    measured = {role: measure(folder, role, list(sweep.candidates(role))) for role in SKILL}
    chosen = {role: choose(values) for role, values in measured.items()}
    for role, name in chosen.items():
        with atomic_path(folder / role) as temporary:
            shutil.rmtree(folder / role, ignore_errors=True)
            shutil.copytree(folder / name, temporary)
    write_json(sweep.out / "choice.json", {"chosen": chosen, "candidates": measured}, indent=1)


def measure(folder: Path, role: str, names: Sequence[str]) -> dict[str, Values]:
    """Return the values of an expert's criteria for every candidate."""
    distances = criteria.distances(folder / "base", [folder / name for name in names])
    return {
        name: criteria.of_expert(table_of(folder, {"base": "base", role: name}), role, distance)
        for name, distance in zip(names, distances, strict=True)
    }


def table_of(folder: Path, models: Mapping[str, str]) -> Table:
    """Return the profile of models from the scores in their folders. `models`: column -> folder's name."""
    scores = {column: read_json(folder / name / SCORES)["tasks"] for column, name in models.items()}
    return {task: {column: scores[column][task] for column in models} for task in scores["base"]}


def choose(candidates: Mapping[str, Values]) -> str:
    """Return the name of the candidate that the rule of choice selects (see the top of this file)."""
    bounds = criteria.OF_EXPERT["relative_norm"]
    assert bounds.low is not None and bounds.high is not None
    middle = (bounds.low + bounds.high) / 2

    def order(name: str) -> tuple[float, float, str]:
        values = candidates[name]
        return criteria.total_miss(values), round(abs(values["relative_norm"] - middle), 6), name

    return min(candidates, key=order)


def train_seeds(sweep: Sweep) -> None:
    """Train and evaluate the experts of the other seeds, at the chosen strengths."""
    chosen = read_json(sweep.out / "choice.json")["chosen"]
    plans = {role: sweep.candidates(role)[name] for role, name in chosen.items()}
    jobs = [Job(role, replace(plan, seed=seed)) for seed in sweep.seeds[1:] for role, plan in plans.items()]
    do_jobs(sweep, jobs)


# ---- results


def collect(sweep: Sweep) -> None:
    """Write the results of what is finished: criteria of every whole seed, the report, and the models."""
    results = sweep.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    whole = [seed for seed in sweep.seeds if is_whole(sweep, seed)]
    by_seed = {}
    for seed in whole:
        folder = sweep.folder(seed)
        table = table_of(folder, {role: role for role in ROLES})
        by_seed[seed] = criteria.judge(folder, table)
        profile.write(folder, table, sweep.limit)
        write_json(folder / "criteria.json", criteria.as_json(by_seed[seed]), indent=1)
        train.pack(folder, ROLES, results / f"seed{seed}.tar.gz")
    choice = read_json(sweep.out / "choice.json") if (sweep.out / "choice.json").is_file() else None
    bases = [seed for seed in sweep.seeds if train.is_finished(sweep.folder(seed), "base")]
    curves = {seed: curve_of(sweep, seed) for seed in bases}
    content: dict[str, Json] = {
        "device": torch.cuda.get_device_name() if sweep.device == "cuda" else "CPU",
        "base": asdict(sweep.base),
        "expert": asdict(sweep.expert),
        "choice": choice,
        "curves": {str(seed): curve for seed, curve in curves.items()},
        "criteria": {str(seed): criteria.as_json(values) for seed, values in by_seed.items()},
    }
    write_json(results / "results.json", content, indent=1)
    atomic_write(results / "report.md", report(choice, curves, by_seed))


def is_whole(sweep: Sweep, seed: int) -> bool:
    """Return whether the four models of a seed are trained and evaluated."""
    return all((sweep.folder(seed) / role / SCORES).is_file() for role in ROLES)


def curve_of(sweep: Sweep, seed: int) -> list[list[float]]:
    """Return (step, held-out loss) of a base, as logged."""
    lines = (sweep.folder(seed) / "base" / "held_out_loss.jsonl").read_text(encoding="utf-8").splitlines()
    return [[row["step"], row["loss"]] for row in map(json.loads, lines)]


def flatness(curve: Sequence[Sequence[float]]) -> float:
    """Return by what share of its final value the loss still fell in the last fifth of the steps."""
    steps, final = curve[-1]
    before = max((step, loss) for step, loss in curve if step <= 0.8 * steps or step == curve[0][0])[1]
    return (before - final) / final


def report(
    choice: "Mapping[str, Mapping] | None",
    curves: Mapping[int, Sequence[Sequence[float]]],
    by_seed: Mapping[int, Mapping[str, Values]],
) -> str:
    """Return the results as Markdown."""
    lines = ["# Training of the lab's models", "", "## Bases", ""]
    lines += ["| seed | held-out loss (step) | fall in the last fifth of the steps |", "|---|---|---|"]
    for seed, curve in curves.items():
        shown = ", ".join(f"{loss:.3f} ({step})" for step, loss in curve[:: -(-len(curve) // CURVE)])
        lines.append(f"| {seed} | {shown}, {curve[-1][1]:.4f} at the end | {flatness(curve):.1%} |")
    for role, values in choice["candidates"].items() if choice else ():
        lines += ["", f"## Candidates: {role}", ""]
        lines += [f"| candidate | {' | '.join(c.name for c in criteria.OF_EXPERT.values())} | total miss |"]
        lines += [f"|---|{'---|' * (len(criteria.OF_EXPERT) + 1)}"]
        for name, of_candidate in values.items():
            cells = [c.shown(of_candidate[key]) for key, c in criteria.OF_EXPERT.items()]
            label = Path(name).name + (" (chosen)" if name == choice["chosen"][role] else "")
            lines.append(f"| {label} | {' | '.join(cells)} | {criteria.total_miss(of_candidate):.2f} |")
    for seed, of_seed in by_seed.items():
        lines += ["", f"## Criteria: seed {seed}", "", criteria.markdown(of_seed).rstrip()]
    return "\n".join(lines) + "\n"


STEPS: dict[str, Callable[[Sweep], None]] = {
    "corpora": write_corpora,
    "base": train_base,
    "grid": train_grid,
    "choice": write_choice,
    "seeds": train_seeds,
}


def run(sweep: Sweep) -> None:
    """Do all steps until the time is up, and collect what is finished."""
    sweep.out.mkdir(parents=True, exist_ok=True)
    check_settings(sweep)
    reason: TimeUpError | SystemExit | None = None
    for name, step in STEPS.items():
        started = time.monotonic()
        try:
            if started > sweep.deadline:
                raise TimeUpError("no time left")
            step(sweep)
        except (TimeUpError, SystemExit) as error:
            reason = error
        say(f"{name}: {time.monotonic() - started:.0f} s")
        if reason:
            break
    collect(sweep)
    print((sweep.out / "results" / "report.md").read_text(encoding="utf-8"))
    if isinstance(reason, SystemExit):
        raise reason
    if reason:
        raise SystemExit(f"{name}: time is up, {reason}. Run the same command again to go on.")


def check_settings(sweep: Sweep) -> None:
    """Exit if the folder has the work of other settings, which would be mixed with that of these."""
    plans = {key: asdict(getattr(sweep, key)) for key in ("base", "expert", "grid")}
    settings = json.loads(json.dumps({**plans, "seed": sweep.seeds[0], "limit": sweep.limit}))
    path = sweep.out / "settings.json"
    if path.is_file() and read_json(path) != settings:
        raise SystemExit(f"Error: {path} has other settings. Delete {sweep.out} or choose another --out.")
    write_json(path, settings, indent=1)


def scaled(plan: Plan, scale: float) -> Plan:
    """Return a plan with a share of the steps and documents: to try the command out."""
    return replace(
        plan, steps=max(2, round(scale * plan.steps)), documents=max(40, round(scale * plan.documents))
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate and choose, as the options say."""
    default = " (default: %(default)s)"
    parser = argparse.ArgumentParser(
        prog="python -m training.sweep", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; what is finished is kept")
    parser.add_argument("--seeds", default="0,1,2,3", help=f"training seeds{default}")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help=f"device{default}")
    parser.add_argument(
        "--answers-on", choices=["cpu", "cuda"], help="device of the evaluations (default: --device)"
    )
    parser.add_argument("--workers", type=int, default=10, help=f"models trained side by side{default}")
    parser.add_argument("--compile", action="store_true", help="compile the layers of the bases")
    parser.add_argument("--limit", type=int, default=profile.LIMIT, help=f"rows per task{default}")
    parser.add_argument("--scale", type=float, default=1.0, help=f"share of all steps and documents{default}")
    options = parser.parse_args(argv)
    seconds = 60 * options.minutes - RESERVED if options.minutes else float("inf")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    os.environ["TQDM_DISABLE"] = "1"  # read by the worker processes: their bars would overwrite each other
    grid = replace(GRID, steps=tuple(max(2, round(options.scale * steps)) for steps in GRID.steps))
    run(
        Sweep(
            out=options.out,
            seeds=[int(seed) for seed in options.seeds.split(",")],
            base=scaled(BASE, options.scale),
            expert=scaled(EXPERT, options.scale),
            grid=grid,
            device=device,
            answers_on=options.answers_on or device,
            workers=options.workers,
            gpus=max(1, torch.cuda.device_count()),
            compiled=options.compile and device == "cuda",
            limit=options.limit,
            deadline=time.monotonic() + seconds,
        )
    )


if __name__ == "__main__":
    main()
