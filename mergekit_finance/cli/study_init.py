"""`mergekit-finance study init` and `study schema`: write a new study.yml, print its JSON schema."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergekit_finance.checks.output import check_ending
from mergekit_finance.cli.common import echo

DEFAULT_TASK = "finance_bench_open"  # finance_bench also has a gated dataset


if TYPE_CHECKING:
    PairType = click.ParamType[tuple[str, str]]
else:  # not generic in the lowest version that pyproject.toml allows
    PairType = click.ParamType


class NamedModel(PairType):
    """`NAME=MODEL`, as a pair."""

    name = "NAME=MODEL"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, separator, model = value.partition("=")
        if not (separator and name.strip() and model.strip()):
            self.fail(f"{value!r}: write NAME=MODEL, for example legal=./legal.", param, ctx)
        return name.strip(), model.strip()


@click.command(
    epilog="""\b
Examples:
  mergekit-finance study init                      asks for models and tasks, writes study.yml
  mergekit-finance study init --base ./base --expert legal=./legal --expert code=./code \\
      --task my_contracts --task arc_easy --include-path ./my_tasks -o legal.yml
"""
)
@click.option("--base", help="The base model: a folder or a Hub id.")
@click.option(
    "--expert",
    "experts",
    type=NamedModel(),
    multiple=True,
    help="An expert's name and model, as legal=./legal. Repeat for every expert.",
)
@click.option(
    "--task", "tasks", multiple=True, help=f"lm-eval task or group; repeat.  [default: {DEFAULT_TASK}]"
)
@click.option("--retention", multiple=True, help="Task of general skills that experts may lose; repeat.")
@click.option(
    "--include-path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of your own lm-eval tasks.",
)
@click.option("--source", default="", help="Where rows come from, such as lab: generated rows, no download.")
@click.option("--limit", type=click.IntRange(min=1), help="The first items of every task.  [default: all]")
@click.option("--name", default="study", show_default=True, help="The name that the report shows.")
@click.option(
    "-o",
    "--output",
    default="study.yml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; an existing file is not overwritten.",
)
def init(
    base: str | None,
    experts: tuple[tuple[str, str], ...],
    tasks: tuple[str, ...],
    retention: tuple[str, ...],
    include_path: Path | None,
    source: str,
    limit: int | None,
    name: str,
    output: Path,
) -> None:
    """Write a commented study.yml, from options or, on a terminal, from questions."""
    # Imported here to keep --help fast: pydantic takes 0.3 s.
    from mergekit_finance.study.new_file import new_study

    check_ending(output, [".yml", ".yaml"])
    _refuse_existing(output)
    if base is None or not experts:
        if not _is_terminal():
            raise click.ClickException("--base and --expert are missing. Give both, or run on a terminal.")
        base, experts, tasks = _ask(base, experts, tasks)
    by_name = dict(experts)
    if len(by_name) < len(experts):
        raise click.ClickException("--expert: a name is there twice. Give every expert its own name.")
    text = new_study(
        output,
        base,
        by_name,
        tasks or (DEFAULT_TASK,),
        name=name,
        retention=retention,
        include_path=include_path,
        source=source,
        limit=limit,
    )
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:  # written by another process since it was checked
        _refuse_existing(output)
    except OSError as error:
        raise click.ClickException(f"-o {output}: cannot be written ({error.strerror}).") from error
    echo(f"Written to {output}. Next: mergekit-finance check {output}")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _refuse_existing(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise click.ClickException(f"-o {output}: exists. Choose another file with -o, or remove it.")


def _ask(
    base: str | None, experts: tuple[tuple[str, str], ...], tasks: tuple[str, ...]
) -> tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Ask for what the options do not say."""
    base = base or click.prompt("Base model (folder or Hub id)", type=str)
    if not experts:
        first: tuple[str, str] = click.prompt("Expert, as NAME=MODEL", type=NamedModel())
        experts = (first,)
        while another := click.prompt("Another expert (Enter: no more)", default="", show_default=False):
            experts += (NamedModel().convert(another, None, None),)
    if not tasks:
        answer = click.prompt("Tasks, separated by commas", default=DEFAULT_TASK)
        tasks = tuple(task.strip() for task in answer.split(",") if task.strip())
    return base, experts, tasks


@click.command(
    epilog="""\b
Examples:
  mergekit-finance study schema > study.schema.json
  # and in the first line of study.yml, for editors with a YAML language server:
  # yaml-language-server: $schema=./study.schema.json
"""
)
def schema() -> None:
    """Print the JSON schema of study.yml, with which editors complete and check keys."""
    from mergekit_finance.study.json_schema import SCHEMA_FILE  # see the note in `init`

    click.echo(SCHEMA_FILE.read_text(encoding="utf-8"), nl=False)
