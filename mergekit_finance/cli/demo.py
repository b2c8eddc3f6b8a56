"""`mergekit-finance demo`: run the three-stage study on the lab's four trained models, offline."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergekit_finance.cli.common import ITEMS, PROCESSES, OutputFolder, echo, print_width, resumable
from mergekit_finance.files import bundled
from mergekit_finance.lab.copy_models import copy_models

if TYPE_CHECKING:
    from mergekit_finance.study.config import Study

# The short demo must end within a minute on two cores: it took 48 to 57 s, 65 CPU seconds, on two slow ones.
LAMBDA = 0.6  # the only value: near the middle of the lab's grid
LIMIT = 8  # items per task


@click.command(
    epilog="""\b
Examples:
  mergekit-finance demo                      one value of lambda; a minute on two cores
  mergekit-finance demo --full               the full grids: 15 to 25 minutes
"""
)
@click.option(
    "-o",
    "--out",
    default="demo",
    show_default=True,
    type=OutputFolder(),
    help="Folder for the models, the results and the report.",
)
@click.option("--full", is_flag=True, help="Sweep all three operators and select their hyperparameters.")
@click.option("--limit", type=ITEMS, help="First N items of every task.  [default: 8; with --full 32]")
@click.option("--workers", type=PROCESSES, help="Number of processes.  [default: one per core]")
def demo(out: Path, full: bool, limit: int | None, workers: int | None) -> None:
    """Run the three-stage study on four tiny trained models, offline, and write its report."""
    # Imported here to keep --help fast: these load torch, transformers and both hosts.
    from mergekit_finance.report.demo_text import demo_text
    from mergekit_finance.report.writing import build
    from mergekit_finance.study.analysis import wording
    from mergekit_finance.study.run import StudyRun

    folder = out / ("full" if full else "study")
    with resumable(out):
        out.mkdir(parents=True, exist_ok=True)
        _say(f"Writing the lab's four trained models to {out / 'lab'}")
        copy_models(out / "lab")
        study = lab_study(out / "lab", full, workers)
        if full:
            _say(f"Studying {len(study.experts)} experts at the full grids of recipes/lab/study.yml")
        summary = StudyRun(study, folder, "cpu", limit or study.limit, "the demo's study", say=_say).run()
        build(folder)
    echo(f"\n{wording.verdict_text(summary, print_width()) if full else demo_text(summary)}")
    echo(f"\nThe report is {folder / 'report.html'}; its numbers are in {folder / 'summary.json'}")
    if not full:
        echo(f"To open it: mergekit-finance report {shlex.quote(str(folder))} --open")
        echo("To compare all operators and settings: mergekit-finance demo --full")


def lab_study(lab: Path, full: bool, workers: int | None = None) -> "Study":
    """Return the bundled study of the lab.

    Args:
        lab: the folder with the models.
        full: the whole study; otherwise one operator at one value, fewer items, and no probes.
        workers: number of processes; None: one per core.
    """
    from mergekit_finance.study.config import load_study, parse_study

    content = load_study(bundled("recipes") / "lab" / "study.yml").model_dump(
        by_alias=True, exclude_none=True
    )
    prefix = str(lab) if lab.is_absolute() else f"./{lab}"
    content["base"] = f"{prefix}/base"
    for name, expert in content["experts"].items():
        expert["model"] = f"{prefix}/{name}"
    if not full:
        content |= {"operators": {"task_arithmetic": {"lambda": LAMBDA}}, "probes": [], "limit": LIMIT}
    if workers:
        content["workers"] = workers
    return parse_study(content, "the demo's study")


def _say(text: str) -> None:
    echo(text, err=True)
