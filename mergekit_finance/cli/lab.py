"""`lab`: write the four tiny trained models to a folder."""

from pathlib import Path

import click

from mergekit_finance.cli.common import echo
from mergekit_finance.lab.copy_models import copy_models as copy


@click.group()
def lab() -> None:
    """Four tiny trained Llama models: a base and a finance, a math and a Japanese expert."""


@lab.command(
    epilog="""\b
Examples:
  mergekit-finance lab export
  mergekit-yaml recipes/lab/stage2-finance-math-ta.yml merged      # needs ./lab
  mergekit-finance run recipes/lab/stage3-finance-math-japanese-ta.yml -o out --source lab
"""
)
@click.argument("folder", default="lab", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite existing files whose content differs.")
def export(folder: Path, force: bool) -> None:
    """Write the models to FOLDER (default ./lab), one folder each."""
    for model in copy(folder, force=force):
        echo(model)
