"""`study`: the three-stage study."""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from mergekit_finance.cli.common import check_device, default_device, print_width, resumable


class _Default(click.Group):
    """`study FILE -o OUT` runs; `study plan FILE` plans."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Default,
    epilog="""\b
Examples:
  mergekit-finance lab export && mergekit-finance recipes copy lab/study.yml .
  mergekit-finance study plan study.yml            what it will cost, before anything runs
  mergekit-finance study study.yml -o out          run it; interrupted, the same command goes on
  mergekit-finance study study.yml -o out --budget 8     eight hours: fewer items a task
""",
)
def study() -> None:
    """Merge in three stages, sweep, select, and decide, with uncertainty.

    STUDY.YML names base, experts, operators and grids; every point is stored when it is done, and nothing
    is evaluated twice.
    """


OPTIONS = (
    click.argument("file", metavar="STUDY.YML", type=click.Path(dir_okay=False, path_type=Path)),
    click.option(
        "--limit", type=click.IntRange(min=1), help="First N items of every task, before the file's."
    ),
    click.option(
        "--device", help="cpu, cuda, cuda:1, …  [default: the file's, else cuda where there is one]"
    ),
    click.option("--trust-remote-code", is_flag=True, help="Let models run code of their own (danger)."),
)


def _options(command: Any) -> Any:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@study.command()
@_options
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a GPU, or one a core]")
@click.option("--executor", type=click.Choice(["local", "ray"]), help="Before the file's.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), help="Hours; fewer items if needed.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def run(file: Path, out: Path, budget: float | None, **asked: Any) -> None:
    """Run STUDY.YML and print the verdict (`study STUDY.YML -o OUT` is short for it)."""
    from mergekit_finance.study.analysis import verdict
    from mergekit_finance.study.cost import fit

    made = _made(file, out, **asked)
    with resumable(out):
        if budget:
            fit(made, budget)
        found = made()
    draw = f"mergekit-finance report {shlex.quote(str(out))}"
    click.echo(
        f"\n{verdict.text(found, print_width())}\n\nWritten to {out / 'summary.json'}; `{draw}` draws it"
    )


@study.command()
@_options
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Count what is stored here."
)
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), help="Hours to fit into.")
@click.option("--workers", type=click.IntRange(min=1))
@click.option("--executor", type=click.Choice(["local", "ray"]))
@click.option("--no-sample", is_flag=True, help="Points and disk only: no timed sample, no hours.")
def plan(file: Path, out: Path | None, budget: float | None, no_sample: bool, **asked: Any) -> None:
    """Points, disk, and hours by a timed sample, before anything runs."""
    from mergekit_finance.study import cost as planning

    with TemporaryDirectory() as nothing:
        made = _made(file, out or Path(nothing), **asked)
        click.echo(planning.text(planning.plan(made, budget, sample=not no_sample)))


def _made(
    file: Path,
    out: Path,
    limit: int | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    workers: int | None = None,
    executor: str | None = None,
    quiet: bool = False,
) -> Any:
    from mergekit_finance.study import config
    from mergekit_finance.study.run import StudyRun

    found = config.load(file)
    given = {"workers": workers, "executor": executor}
    found = found.model_copy(update={k: v for k, v in given.items() if v})
    device = device or found.evaluation.device
    check_device(device)
    return StudyRun(
        found, out, device or default_device(), limit or found.limit, str(file), trust_remote_code, quiet
    )
