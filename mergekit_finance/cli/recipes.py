"""`recipes`: what is bundled, and recipes made from a study."""

from pathlib import Path

import click


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
    """The bundled recipes, each a file that mergekit-yaml runs, and recipes out of a study."""
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
    """Names of the bundled recipes and what each merges."""
    from mergekit_finance.recipe import library as recipes_bundled

    for name in recipes_bundled.names(family):
        click.echo(f"{name:52} {recipes_bundled.described(name)}")


@recipes.command(
    epilog="""\b
Examples:
  mergekit-finance recipes show lab/stage2-finance-math-ties
  mergekit-finance recipes show llama3-8b/study
"""
)
@click.argument("name")
def show(name: str) -> None:
    """Print a recipe (or the names in a family)."""
    from mergekit_finance.recipe import library as recipes_bundled

    path = recipes_bundled.find(name)
    if path.is_dir():
        click.echo("\n".join(recipes_bundled.names(path.name)))
        return
    click.echo(path.read_text(encoding="utf-8"), nl=False)


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
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def copy(name: str, dest: Path, force: bool) -> None:
    """Copy a recipe, or a whole family with its study.yml, to DEST (default: here)."""
    from mergekit_finance.recipe import library as recipes_bundled

    for place in recipes_bundled.copy(name, dest, force):
        click.echo(place)


@recipes.command(
    epilog="""\b
Examples:
  mergekit-finance recipes export study.yml -o points           every point of the grids
  mergekit-finance recipes export study.yml -o starts --start   one per combination and operator
  mergekit-yaml points/stage2-finance-math-ta-lambda0.5.yml merged
"""
)
@click.argument("study", metavar="STUDY.YML", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: STUDY.YML's]"
)
@click.option("--start", is_flag=True, help="Only where each combination and operator starts.")
@click.option("--force", is_flag=True, help="Overwrite recipes that say something else.")
def export(study: Path, out: Path | None, start: bool, force: bool) -> None:
    """Write STUDY.YML as plain mergekit recipes, one per point.

    The comments at the top of STUDY.YML go into every recipe.
    """
    from mergekit_finance.study import export as recipes_export

    made = recipes_export.write(recipes_export.export(study, start), out or study.parent, force)
    click.echo(f"{len(made)} recipes in {out or study.parent}")
