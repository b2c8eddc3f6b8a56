"""`data`: mirrors of the benchmark's datasets."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mergekit_finance.data.mirror import Mirror
    from mergekit_finance.data.sources import Pulled
    from mergekit_finance.plugins.api import Dataset

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
Examples:
  mergekit-finance data pull                            every dataset, into the cache
  mergekit-finance data pull fpb jfinqa --mirror ./mirror
  hf auth login && mergekit-finance data pull docmath   a gated one, after accepting its terms
"""
)
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@MIRROR
@click.option("--source", metavar="NAME", help="Where from; `data list` shows each dataset's sources.")
@click.option("--replace", is_flag=True, help="Take files that differ from those pulled or adopted before.")
def pull(datasets: tuple[str, ...], mirror: Path | None, source: str | None, replace: bool) -> None:
    """Download datasets (default: all) into a mirror, with every checksum and row checked.

    A download that breaks is resumed by the next pull. Files that are there and whole, and files that
    you adopted, stay. One dataset's failure does not stop the others.
    """
    from mergekit_finance.data.mirror import Mirror, default_folder
    from mergekit_finance.data.sources import pull as fetch
    from mergekit_finance.errors import DataError

    target = Mirror(mirror or default_folder())
    chosen = _chosen(datasets, source)
    failed = []
    for known in chosen:
        try:
            _say(known.name, target, fetch(known, target, source, check=True, replace=replace))
        except DataError as fault:
            if len(chosen) == 1:
                raise
            failed.append(known.name)
            click.echo(f"Failed: {fault}", err=True)
    if failed:
        raise DataError(f"{len(failed)} of {len(chosen)} datasets could not be pulled: {', '.join(failed)}")
    if mirror:
        click.echo(f"\nUse it: export FINANCE_BENCH_DATA={target.folder}")


def _chosen(names: tuple[str, ...], source: str | None) -> "list[Dataset]":
    """The datasets named, or all that have the source."""
    from mergekit_finance.data import registry
    from mergekit_finance.errors import DataError, did_you_mean

    if names:
        return [registry.dataset(name) for name in dict.fromkeys(names)]
    known = registry.datasets().values()
    if found := [d for d in known if source is None or source in d.sources]:
        return found
    raise DataError(f"no dataset has a source {source!r}. {did_you_mean(source or '', _sources(known))}")


def _sources(known: "list[Dataset]") -> set[str]:
    return {name for dataset in known for name in dataset.sources}


def _say(name: str, mirror: "Mirror", done: "Pulled") -> None:
    """What a pull did, in a line; files that the manifest no longer lists in a second one."""
    parts = []
    for verb, files in (("pulled", done.pulled), ("already there", done.there), ("kept", done.kept)):
        if files:
            source = "adopted" if verb == "kept" else f"from {done.source}"
            parts.append(f"{verb} {source}, {_sizes(mirror, files)}")
    click.echo(f"{name}: {'; '.join(parts)}")
    if done.unlisted:
        click.echo(f"  no longer used: {', '.join(done.unlisted)}")


def _sizes(mirror: "Mirror", names: tuple[str, ...]) -> str:
    """`2 files, 1.2MB, verified`."""
    from tqdm import tqdm

    entries = [mirror.files[name] for name in names]
    size = tqdm.format_sizeof(sum(entry.size for entry in entries), "B")
    trust = "verified" if all(entry.verified for entry in entries) else "unverified"
    return f"{len(names)} file{'s' * (len(names) != 1)}, {size}, {trust}"


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
    from mergekit_finance.errors import DataError
    from mergekit_finance.plugins.manager import datasets

    target = Mirror(mirror or default_folder())
    with tqdm(desc="check rows", unit=" subsets", delay=2) as bar:
        names = make(folder, target, datasets().values(), lambda text: bar.update())
    if not names:
        patterns = sorted({f.path for d in datasets().values() for f in d.adopts})
        raise DataError(f"{folder}: no file of a known dataset below it. Looked for: {', '.join(patterns)}")
    for name in names:
        click.echo(f"adopted {name}")
    click.echo(f"\nUse it: export FINANCE_BENCH_DATA={target.folder}")


@data.command(
    epilog="""\b
Examples:
  mergekit-finance data status
  mergekit-finance data status docmath --mirror ./mirror
"""
)
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@MIRROR
@click.pass_context
def status(ctx: click.Context, datasets: tuple[str, ...], mirror: Path | None) -> None:
    """What a mirror holds of datasets (default: all).

    Sizes are looked at; `data verify` compares the checksums.

    verified: the file's checksum is the registry's. unverified: no checksum was known beforehand; the
    one found at the first pull is in the manifest.
    """
    from mergekit_finance.data import registry
    from mergekit_finance.data.mirror import MANIFEST, Mirror, default_folder

    target, known = Mirror(mirror or default_folder()), registry.datasets()
    names = _shown(datasets, [*known, *sorted({e.dataset for e in target.files.values()} - known.keys())])
    whence = {"COMMANDLINE": "--mirror", "ENVIRONMENT": "$FINANCE_BENCH_DATA"}
    given = ctx.get_parameter_source("mirror")
    there = "" if (target.folder / MANIFEST).is_file() else "; no mirror there yet"
    click.echo(f"mirror {target.folder} ({whence.get(given.name if given else '', 'the cache')}{there})\n")
    for name in names:
        for line in _status_of(name, known.get(name), target):
            click.echo(line)


def _shown(wanted: tuple[str, ...], names: list[str]) -> list[str]:
    """The datasets named, or all."""
    from mergekit_finance.errors import DataError, did_you_mean

    for name in wanted:
        if name not in names:
            raise DataError(f"unknown dataset {name!r}. {did_you_mean(name, names)}")
    return list(dict.fromkeys(wanted)) or names


def _status_of(name: str, known: "Dataset | None", mirror: "Mirror") -> list[str]:
    """One line for the dataset, and one for each thing that is wrong with it."""
    from mergekit_finance.data.sources import altered_size, half_way, missing_subsets

    entries = {n: e for n, e in mirror.files.items() if e.dataset == name}
    absent = missing_subsets(known, mirror) if known else []
    faults = [fault for n, e in entries.items() if (fault := altered_size(mirror, n, e))]
    faults += [f"missing subset {subset}" for subset in absent if subset and entries]
    faults += [f"half-way {path}: {size} bytes" for path, size in half_way(mirror, name).items()]
    sources = sorted({entry.source or "adopted" for entry in entries.values()})
    state = "incomplete" if faults else "whole"
    held = f"{state:11} {_sizes(mirror, tuple(entries)):32} {', '.join(sources)}" if entries else "absent"
    lines = [f"{name:16} {held}", *(f"{'':16} {fault}" for fault in faults)]
    return [*lines, f"{'':16} get it: {_get(name, known)}"] if faults and known else lines


def _get(name: str, known: "Dataset") -> str:
    return f"mergekit-finance data {f'pull {name}' if known.sources else 'adopt FOLDER'}"


@data.command(
    epilog="""\b
Examples:
  mergekit-finance data verify
  mergekit-finance data verify fpb --mirror ./mirror
"""
)
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@MIRROR
def verify(datasets: tuple[str, ...], mirror: Path | None) -> None:
    """Compare the checksum of each file of a mirror (default: all datasets) with its manifest."""
    from tqdm import tqdm

    from mergekit_finance.data.mirror import Mirror, default_folder
    from mergekit_finance.errors import DataError

    target = Mirror.existing(mirror or default_folder())
    names = _listed(target, datasets)
    total = sum(target.files[name].size for name in names)
    faults = []
    with tqdm(desc="verify", total=total, unit="B", unit_scale=True, delay=2, leave=False) as bar:
        for name in names:
            try:
                target.verify(name, bar.update)
            except DataError as fault:
                faults.append(str(fault))
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise DataError(f"{target.folder}: {len(faults)} of {len(names)} files are altered or missing")
    click.echo(f"{target.folder}: as recorded, {_sizes(target, tuple(names))}")


def _listed(mirror: "Mirror", datasets: tuple[str, ...]) -> list[str]:
    """The mirror's files of these datasets, or all; one that has none is an error."""
    from mergekit_finance.errors import DataError, did_you_mean

    has = {entry.dataset for entry in mirror.files.values()}
    for name in datasets:
        if name not in has:
            raise DataError(f"{mirror.folder}: no files of {name!r}. {did_you_mean(name, has)}")
    return [n for n, entry in mirror.files.items() if not datasets or entry.dataset in datasets]


@data.command("list")
def list_() -> None:
    """Datasets that the registry knows, with licence and sources."""
    from mergekit_finance.data.registry import as_table

    for row in as_table():
        click.echo(f"{row['dataset']:16} {row['license']:60} {row['sources'] or '-':12} {row['title']}")
