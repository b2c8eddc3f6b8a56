"""`tasks` and `plugins`: list what is installed."""

import textwrap
import warnings

import click

from mergekit_finance.cli.common import echo
from mergekit_finance.files import bundled
from mergekit_finance.plugins.manager import manager


@click.command()
@click.option(
    "--path",
    is_flag=True,
    help='Print the folder, for lm_eval --include_path "$(mergekit-finance tasks --path)".',
)
def tasks(path: bool) -> None:
    """List the lm-eval tasks of this package with their folders, or print the folder they are in."""
    folder = bundled("lm_eval_tasks")
    if path:
        echo(folder)
        return
    for file in sorted(folder.rglob("*.yaml")):
        echo(f"{file.stem.lstrip('_'):42} {file.parent.relative_to(folder)}/")
    echo(f"\nFolders are in {folder}")


@click.command()
def plugins() -> None:
    """List the plugins with the hooks that they use, or the error of a plugin that failed to load."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the list below contains the same text
        loaded = manager().loaded
    for plugin in loaded:
        echo(f"{plugin.name:20} {plugin.distribution}")
        text = plugin.fault or ", ".join(plugin.hooks)
        echo(textwrap.fill(text, 80, initial_indent="    ", subsequent_indent="    ", break_long_words=False))
