"""`data`: manage mirrors of the benchmark's datasets.

Imports stand inside functions to keep --help fast: pydantic and huggingface_hub take 0.4 s.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergekit_finance.cli.common import echo, print_width
from mergekit_finance.errors import DataError, counted, did_you_mean

if TYPE_CHECKING:
    from mergekit_finance.data.mirror import Mirror
    from mergekit_finance.data.pull import Pulled
    from mergekit_finance.plugins.api import Dataset

MIRROR = click.option(
    "--mirror",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FINANCE_BENCH_DATA",
    help="The mirror's folder.  [default: $FINANCE_BENCH_DATA, or the cache]",
)


@click.group()
def data() -> None:
    """Manage mirrors: dataset files with checksums, for offline work and reproducible results."""


@data.command(
    epilog="""\b
Examples:
  mergekit-finance data pull                            every dataset, into the cache
  mergekit-finance data pull fpb jfinqa --mirror ./mirror
  hf auth login && mergekit-finance data pull docmath   a gated dataset, after accepting its terms
"""
)
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@MIRROR
@click.option("--source", metavar="NAME", help="Source to download from; `data list` shows them all.")
@click.option("--replace", is_flag=True, help="Accept files that differ from those pulled or adopted before.")
def pull(datasets: tuple[str, ...], mirror: Path | None, source: str | None, replace: bool) -> None:
    """Download datasets (default: all) into a mirror, and check every checksum and row.

    An interrupted download is resumed by the next pull. Complete files, and files that you adopted, are kept.
    If one dataset fails, the others are still pulled.
    """
    from mergekit_finance.data.pull import pull as pull_dataset

    target = _open_or_create(mirror)
    chosen = _datasets_to_pull(datasets, source)
    failed = []
    for dataset in chosen:
        try:
            result = pull_dataset(dataset, target, source, check=True, replace=replace)
        except DataError as error:
            if len(chosen) == 1:
                raise
            failed.append(dataset.name)
            echo(f"Failed: {error}", err=True)
        else:
            _print_pulled(dataset.name, target, result)
    if failed:
        raise DataError(f"{len(failed)} of {len(chosen)} datasets could not be pulled: {', '.join(failed)}")
    if mirror:
        echo(f"\nUse it: export FINANCE_BENCH_DATA={target.folder}")


def _open_or_create(folder: Path | None) -> "Mirror":
    from mergekit_finance.data.mirror import Mirror, default_folder

    return Mirror(folder or default_folder())


def _datasets_to_pull(names: Sequence[str], source: str | None) -> "list[Dataset]":
    """Return the datasets with these names or, without names, all that have the source."""
    from mergekit_finance.data import registry

    if names:
        return [registry.dataset(name) for name in dict.fromkeys(names)]
    registered = list(registry.datasets().values())
    if with_source := [d for d in registered if source is None or source in d.sources]:
        return with_source
    sources = {name for dataset in registered for name in dataset.sources}
    raise DataError(f"no dataset has a source {source!r}. {did_you_mean(source or '', sources)}")


def _print_pulled(name: str, mirror: "Mirror", result: "Pulled") -> None:
    """Print the result of a pull, with a second line if files were removed from the manifest."""
    parts = [
        f"{verb}, {_sizes(mirror, files)}"
        for verb, files in (
            (f"pulled from {result.source}", result.pulled),
            (f"already there from {result.source}", result.present),
            ("kept adopted", result.adopted),
        )
        if files
    ]
    echo(f"{name}: {'; '.join(parts)}")
    if result.unlisted:
        echo(f"  no longer used: {', '.join(result.unlisted)}")


def _sizes(mirror: "Mirror", names: Sequence[str]) -> str:
    """Return a text such as `2 files, 1.2MB, verified`."""
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

    from mergekit_finance.data.adopt import adopt as adopt_files
    from mergekit_finance.data.registry import datasets

    target, registered = _open_or_create(mirror), datasets().values()
    with tqdm(desc="check rows", unit=" subsets", delay=2) as bar:
        names = adopt_files(folder, target, registered, lambda subset: bar.update())
    if not names:
        patterns = sorted({file.path for dataset in registered for file in dataset.adopts})
        raise DataError(f"{folder}: contains no file of a known dataset. Looked for: {', '.join(patterns)}")
    for name in names:
        echo(f"adopted {name}")
    echo("")
    for dataset in sorted({target.files[name].dataset for name in names}):
        for line in _content_lines(dataset, target):
            echo(line)
    echo(f"\nUse it: export FINANCE_BENCH_DATA={target.folder}")


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
    """Show which dataset files a mirror contains (default: all datasets).

    All rows are read and counted. Of files only the sizes are compared; `data verify` compares the checksums.

    verified: the file's checksum equals the registry's. unverified: the registry has no checksum; the
    manifest contains that of the first pull.
    """
    from mergekit_finance.data import registry
    from mergekit_finance.data.mirror import MANIFEST

    target, registered = _open_or_create(mirror), registry.datasets()
    unregistered = {entry.dataset for entry in target.files.values()} - registered.keys()
    names = [*registered, *sorted(unregistered)]
    for name in datasets:
        if name not in names:
            raise DataError(f"unknown dataset {name!r}. {did_you_mean(name, names)}")
    chosen_by = {"COMMANDLINE": "--mirror", "ENVIRONMENT": "$FINANCE_BENCH_DATA"}
    parameter_source = ctx.get_parameter_source("mirror")
    reason = chosen_by.get(parameter_source.name if parameter_source else "", "the cache")
    empty = "" if (target.folder / MANIFEST).is_file() else "; no mirror there yet"
    echo(f"mirror {target.folder} ({reason}{empty})\n")
    for name in dict.fromkeys(datasets) or names:
        for line in _status_lines(name, registered.get(name), target):
            echo(line)


def _status_lines(name: str, dataset: "Dataset | None", mirror: "Mirror") -> list[str]:
    """Return one line on a dataset, and one for each problem; `dataset` is None if it is not registered."""
    from mergekit_finance.data.status import interrupted_downloads, missing_subsets, size_problem

    files = [n for n, entry in mirror.files.items() if entry.dataset == name]
    absent = missing_subsets(dataset, mirror) if dataset else []
    problems = [problem for file in files if (problem := size_problem(mirror, file))]
    problems += [f"missing subset {subset}" for subset in absent if subset and files]
    partials = interrupted_downloads(mirror, name)
    problems += [f"partly downloaded {path}: {size} bytes" for path, size in partials.items()]
    sources = ", ".join(sorted({mirror.files[file].source or "adopted" for file in files}))
    rows = [] if problems or not files or not dataset else _content_lines(name, mirror)
    state = "incomplete" if problems else "complete"
    summary = f"{state:11} {_sizes(mirror, files):32} {sources}" if files else "absent"
    lines = [f"{name:16} {summary}", *(f"{'':16} {problem}" for problem in problems)]
    lines += [f"{'':16} {line}" for line in rows]
    if problems and dataset:
        command = f"pull {name}" if dataset.sources else "adopt FOLDER"
        lines.append(f"{'':16} get it: mergekit-finance data {command}")
    return lines


def _content_lines(dataset: str, mirror: "Mirror") -> list[str]:
    """Return a line for each subset of a dataset: its rows, and the tasks that can run on them."""
    from mergekit_finance.data.contents import contents

    try:
        subsets = contents(mirror, dataset)
    except DataError as error:
        return [f"cannot be used: {error}"]
    lines = []
    for subset in subsets:
        name = dataset if subset.subset == "default" else f"{dataset} {subset.subset}"
        tasks = ", ".join(subset.tasks) or "no task uses them"
        lines.append(f"{name}: {counted(subset.rows, 'row')} for {tasks}")
        if subset.is_zero_shot:
            lines.append(f"  warning: no train rows, so prompts of {name} have no demonstrations (0-shot)")
    return lines


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

    target = Mirror.existing(mirror or default_folder())
    datasets_in_mirror = {entry.dataset for entry in target.files.values()}
    for dataset in datasets:
        if dataset not in datasets_in_mirror:
            suggestion = did_you_mean(dataset, datasets_in_mirror)
            raise DataError(f"{target.folder}: no files of {dataset!r}. {suggestion}")
    names = [n for n, entry in target.files.items() if not datasets or entry.dataset in datasets]
    total = sum(target.files[name].size for name in names)
    problems = []
    with tqdm(desc="verify", total=total, unit="B", unit_scale=True, delay=2, leave=False) as bar:
        for name in names:
            try:
                target.verify(name, bar.update)
            except DataError as error:
                problems.append(str(error))
    for problem in problems:
        echo(problem, err=True)
    if problems:
        counts = f"{len(problems)} of {len(names)}"
        raise DataError(f"{target.folder}: {counts} files are altered or missing. Pull or adopt them again.")
    echo(f"{target.folder}: every checksum matches, {_sizes(target, names)}")


@data.command("list")
def list_() -> None:
    """List the registered datasets with their licenses and sources."""
    from mergekit_finance.data.registry import datasets
    from mergekit_finance.study.analysis.text_tables import table_lines

    rows = [["dataset", "sources", "title", "license"]]
    rows += [[one.name, ", ".join(one.sources) or "-", one.title, one.license] for one in datasets().values()]
    echo("\n".join(table_lines(rows, print_width())))
