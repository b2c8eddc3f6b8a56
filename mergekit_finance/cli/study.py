"""`mergekit-finance study`: run the three-stage study, or estimate its cost first."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

from mergekit_finance.cli import study_init
from mergekit_finance.cli.common import (
    ITEMS,
    PROCESSES,
    Hours,
    OutputFolder,
    check_device,
    default_device,
    echo,
    print_width,
    resumable,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mergekit_finance.study.run import StudyRun

Command = TypeVar("Command", bound=Callable[..., None])


class _RunByDefault(click.Group):
    """Accept `study FILE -o OUT` as short for `study run FILE -o OUT`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_RunByDefault,
    epilog="""\b
Examples:
  mergekit-finance lab export && mergekit-finance recipes copy lab/study.yml .
  mergekit-finance study init --base ./base --expert legal=./legal --task arc_easy
  mergekit-finance study plan study.yml            estimate the cost before the run
  mergekit-finance study study.yml -o out          run it; after an interruption, repeat to continue
  mergekit-finance study study.yml -o out --budget 8     fit into 8 hours: fewer items per task
""",
)
def study() -> None:
    """Merge in three stages, sweep hyperparameters, select, and compare with confidence intervals.

    STUDY.YML lists the base, experts, operators and grids. Each point is stored as soon as it is evaluated
    and is never evaluated again.
    """


study.add_command(study_init.init)
study.add_command(study_init.schema)

SHARED_OPTIONS = (
    click.argument("file", metavar="STUDY.YML", type=click.Path(dir_okay=False, path_type=Path)),
    click.option(
        "--limit",
        type=ITEMS,
        help="First N items of every task; overrides `limit` in the study file.",
    ),
    click.option(
        "--device",
        help="cpu, cuda, cuda:1, …  [default: the study file's, else cuda if a GPU is available]",
    ),
    click.option(
        "--workers",
        type=PROCESSES,
        help="Processes per device; overrides `workers`.  [default: as free memory allows, or one per core]",
    ),
    click.option(
        "--include-path",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of your own lm-eval tasks, whose Python code runs; overrides the study file's.",
    ),
    click.option("--executor", type=click.Choice(["local", "ray"]), help="Overrides `executor`."),
    click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Allow model repositories to run Python code (dangerous).",
    ),
)


class Overrides(TypedDict, total=False):
    """Options that `run` and `plan` share."""

    limit: int | None
    device: str | None
    workers: int | None
    executor: str | None
    include_path: Path | None
    trust_remote_code: bool


def _shared_options(command: Command) -> Command:
    for option in reversed(SHARED_OPTIONS):
        command = option(command)
    return command


@study.command()
@_shared_options
@click.option("-o", "--out", required=True, type=OutputFolder())
@click.option(
    "--budget",
    type=Hours(),
    help="Time limit in hours: evaluates as many items per task as fit.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def run(file: Path, out: Path, budget: float | None, quiet: bool, **overrides: "Unpack[Overrides]") -> None:
    """Run STUDY.YML and print the verdict (short form: `study STUDY.YML -o OUT`)."""
    if quiet:  # read when datasets is imported, in workers too
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    study_run = _study_run(file, out, quiet, overrides)
    # Imported here to keep --help and errors in the study file fast: the hosts and scipy take seconds.
    from mergekit_finance.study.analysis import wording
    from mergekit_finance.study.cost import fit

    with resumable(out):
        if budget:
            fit(study_run, budget)
        summary = study_run.run()
    echo(f"\n{wording.verdict_text(summary, print_width())}\n\nWritten to {out / 'summary.json'}")
    echo(f"Draw figures with: mergekit-finance report {shlex.quote(str(out))}")


@study.command()
@click.argument("out", metavar="OUT", type=click.Path(exists=True, file_okay=False, path_type=Path))
def status(out: Path) -> None:
    """Print in one line how many models are stored in OUT, and where the time of all processes went."""
    from mergekit_finance.study.store import Store
    from mergekit_finance.study.times import in_words, study_times

    store = Store(out)
    stored = len(store.stored(path for path in store.points.glob("[!.]*")))
    echo(f"{out}: {stored} model{'' if stored == 1 else 's'} stored; {in_words(study_times(out))}")


@study.command()
@_shared_options
@click.option(
    "-o",
    "--out",
    type=OutputFolder(),
    help="Output directory of the study; points that it already contains cost nothing.",
)
@click.option("--budget", type=Hours(), help="Time limit in hours.")
@click.option(
    "--no-sample",
    is_flag=True,
    help="Time no sample: print requests and tokens in place of hours. Not with --budget.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the same numbers as JSON.")
def plan(
    file: Path,
    out: Path | None,
    budget: float | None,
    no_sample: bool,
    as_json: bool,
    **overrides: "Unpack[Overrides]",
) -> None:
    """Print how many points, answers, bytes on disk and hours STUDY.YML needs, by stage and kind of work.

    Hours are a range, estimated from a sample that is timed on the device with the study's engine; nothing
    is stored. No model is fetched: where a model is not on this machine, hours are left out, and so are the
    checks that need it.
    """
    with TemporaryDirectory() as empty:
        study_run = _study_run(file, out or Path(empty), False, overrides)
        from mergekit_finance.study import cost, cost_text  # see the note in `run`

        planned = cost.plan_study(study_run, budget, sample=not no_sample, fetch=False)
        echo(json.dumps(cost_text.plan_json(planned), indent=1) if as_json else cost_text.plan_text(planned))


def _study_run(file: Path, out: Path, quiet: bool, overrides: Overrides) -> "StudyRun":
    """Load a study file and let the command's options override its settings."""
    from mergekit_finance.study import config

    include_path = overrides.get("include_path")
    study = config.load_study(file, include_path)
    from mergekit_finance.study.run import StudyRun  # see the note in `run`

    for folder in study.include_path if include_path is None else ():
        echo(f"{file}: include_path {folder}: Python code of tasks in this folder may run", err=True)
    settings = {"workers": overrides.get("workers"), "executor": overrides.get("executor")}
    study = study.model_copy(update={key: value for key, value in settings.items() if value})
    check_device(overrides.get("device"))
    device = overrides.get("device") or study.evaluation.device
    check_device(device, f"{file}: evaluation.device")
    return StudyRun(
        study,
        out,
        device or default_device(),
        overrides.get("limit") or study.limit,
        str(file),
        overrides.get("trust_remote_code", False),
        quiet,
    )
