"""`data`: mirrors of the benchmark's datasets."""

from pathlib import Path

import click

MIRROR = click.option(
    "--mirror",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FINANCE_BENCH_DATA",
    help="The mirror's folder.  [default: $FINANCE_BENCH_DATA, else the cache]",
)


@click.group()
def data() -> None:
    """Mirrors: dataset files with checksums, for work offline and for results that can be repeated."""


@data.command(
    epilog="""\b
Example:
  mergekit-finance data adopt ~/downloads/finance --mirror ./mirror
  export FINANCE_BENCH_DATA=./mirror
"""
)
@click.argument("folder", type=click.Path(path_type=Path))
@MIRROR
def adopt(folder: Path, mirror: Path | None) -> None:
    """Find raw dataset files below FOLDER, check every row, and copy them into a mirror."""
    from tqdm import tqdm

    from mergekit_finance.data.mirror import Mirror, default_folder
    from mergekit_finance.data.mirror import adopt as make
    from mergekit_finance.data.registry import datasets
    from mergekit_finance.errors import DataError

    target = Mirror(mirror or default_folder())
    with tqdm(desc="check rows", unit=" subsets", delay=2) as bar:
        names = make(folder, target, datasets().values(), lambda text: bar.update())
    if not names:
        patterns = sorted({f.path for d in datasets().values() for f in d.adopts})
        raise DataError(f"{folder}: no file of a known dataset below it. Looked for: {', '.join(patterns)}")
    for name in names:
        click.echo(f"adopted {name}")
    click.echo(f"\nUse it: export FINANCE_BENCH_DATA={target.folder}")


@data.command("list")
def list_() -> None:
    """Datasets that the registry knows, with licence and sources."""
    from mergekit_finance.data.registry import as_table

    for row in as_table():
        click.echo(f"{row['dataset']:10} {row['licence']:60} {row['sources'] or '-':12} {row['title']}")
