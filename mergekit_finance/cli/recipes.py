"""`recipes`: list, show and copy the bundled recipes, and export a study as recipes."""

from pathlib import Path

import click

from mergekit_finance.cli.common import OutputFolder, echo, print_width
from mergekit_finance.recipe import library


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  mergekit-finance recipes list --family lab
  mergekit-finance recipes show lab/stage2-finance-math-ties
  mergekit-finance recipes copy lab/study.yml .          one file
  mergekit-finance recipes copy llama3-8b .              the whole family, study.yml included
  mergekit-finance recipes export study.yml -o recipes   one plain recipe per point of a study
""",
)
@click.pass_context
def recipes(ctx: click.Context) -> None:
    """List, show and copy the bundled recipes for mergekit-yaml, or export a study as recipes."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(listed)


@recipes.command(
    "list",
    epilog="""\b
Examples:
  mergekit-finance recipes list
  mergekit-finance recipes list --family llama3-8b
""",
)
@click.option("--family", help="Only the recipes of one family of models.")
def listed(family: str | None = None) -> None:
    """List the bundled recipes, each with a one-line description."""
    for name in library.names(family):
        line = f"{name:52} {library.description(name)}"
        width = print_width()
        echo(f"{name}\n    {library.description(name)}" if width and len(line) > width else line)


@recipes.command(
    epilog="""\b
Examples:
  mergekit-finance recipes show lab/stage2-finance-math-ties
  mergekit-finance recipes show llama3-8b/study
"""
)
@click.argument("name")
def show(name: str) -> None:
    """Print a recipe, or the names of the recipes in a family."""
    path = library.find_recipe(name)
    if path.is_dir():
        echo("\n".join(library.names(path.name)))
        return
    echo(path.read_text(encoding="utf-8"), nl=False)


@recipes.command(
    epilog="""\b
Examples:
  mergekit-finance recipes copy lab/stage2-finance-math-ties mine.yml
  mergekit-finance recipes copy lab/study.yml .
  mergekit-finance recipes copy lab .          all of ./lab/*.yml
"""
)
@click.argument("name")
@click.argument("dest", default=".", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def copy(name: str, dest: Path, force: bool) -> None:
    """Copy a recipe, or a whole family with its study.yml, to DEST (default: here)."""
    for file in library.copy_recipes(name, dest, force):
        echo(file)


@recipes.command(
    epilog="""\b
Examples:
  mergekit-finance recipes export study.yml -o points           every point of the grids
  mergekit-finance recipes export study.yml -o starts --start   one per combination and operator
  mergekit-yaml points/stage2-finance-math-ta-lambda0.5.yml merged
"""
)
@click.argument("study", metavar="STUDY.YML", type=click.Path(dir_okay=False, path_type=Path))
@click.option("-o", "--out", type=OutputFolder(), help="Folder.  [default: STUDY.YML's]")
@click.option("--start", is_flag=True, help="Write only the first point of each combination and operator.")
@click.option("--force", is_flag=True, help="Overwrite existing recipes whose content differs.")
def export(study: Path, out: Path | None, start: bool, force: bool) -> None:
    """Write STUDY.YML as plain mergekit recipes, one per point.

    The comments at the top of STUDY.YML go into every recipe.
    """
    # Imported here to keep --help fast.
    from mergekit_finance.study import export as study_export

    exported, inputs = study_export.export_recipes(study, start), study_export.study_inputs(study)
    written = study_export.write_recipes(exported, out or study.parent, force, inputs)
    echo(f"{len(written)} recipes in {out or study.parent}")
