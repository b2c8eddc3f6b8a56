"""`import`: take results of other lm-eval runs into a study."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergekit_finance.cli.common import echo, print_width
from mergekit_finance.files import file_name, is_folder, is_name

if TYPE_CHECKING:
    from mergekit_finance.study.import_results import Run
    from mergekit_finance.study.results import StudyResults


@click.command(
    "import",
    epilog="""\b
Examples:
  lm_eval --model vllm --model_args pretrained=./card --tasks finance_bench --log_samples -o theirs
  mergekit-finance import theirs --study out              checks them against the study in out
  mergekit-finance import mine=theirs --study out         and calls the model mine
  mergekit-finance report out                             shows them beside the study's models
""",
)
@click.argument("sources", nargs=-1, required=True, metavar="[NAME=]RESULTS...")
@click.option(
    "--study",
    "out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The finished study, as given to `study -o`.",
)
def import_results(sources: tuple[str, ...], out: Path) -> None:
    """Take results of other lm-eval runs into a study, as models to compare with.

    RESULTS is what `lm_eval --log_samples --output_path` wrote, with any backend, or a file of results in it.
    Without a name, all models in the folder are imported. Of several runs in one folder the newest is taken.
    A task is imported if its version, rows, prompts and targets are those of the study, by the hashes in the
    samples. What does not match is named. Nothing of the study itself changes.
    """
    # Imported here to keep --help fast: numpy and scipy take a second.
    from mergekit_finance.report.imported_table import best_merge, imported_tables
    from mergekit_finance.report.markdown import fitted_tables, markdown_table
    from mergekit_finance.study.import_results import checked, tasks_by_reason
    from mergekit_finance.study.imported import check_name, folder_of, read_imported, write_imported
    from mergekit_finance.study.results import load_results

    results = load_results(out)
    models, notes = [], []
    runs: dict[str, Run] = {}
    for source in sources:
        for name, run in _named_runs(source):
            _check_new_name(results, name, runs)
            runs[name] = run
            if run.runs > 1:
                notes.append(
                    f"{source.removeprefix(f'{name}=')}: {run.runs} runs of {run.model}, the newest is "
                    f"imported: {run.path.name}"
                )
    for name, run in runs.items():
        model = checked(results, run, name)
        check_name(results, name, model.file.sha256)
        models.append(model)
    read_imported(results, [folder_of(results, name) for name in runs])  # a damaged one is named before
    for line in notes:
        echo(line, err=True)
    for model in models:
        write_imported(results, model)
        for line in tasks_by_reason(model.file.refused):
            echo(f"Not imported: {model.file.name}: {line}.", err=True)
    (table,) = imported_tables(results)
    text = markdown_table([table.columns, *([cell.text for cell in row] for row in table.rows)])
    echo(fitted_tables(text, print_width()))
    if merge := best_merge(results):
        echo(f"Best merge: {merge}.")
    echo(
        "The report, the card and `leaderboard` show imported models. Selection, the verdict and figures are "
        "about the study's own models."
    )


def _named_runs(source: str) -> "list[tuple[str, Run]]":
    """Return the runs that `[NAME=]RESULTS` names, each with the name of its model.

    Raises:
        DataError, ClickException: there are none, or one name for several models.
    """
    from mergekit_finance.study.import_results import find_runs  # see the note in import_results

    name, separator, path = source.partition("=")
    if not (path if separator else source):  # an empty path is the current folder
        raise click.ClickException(
            f"{source!r}: names no results. Write a folder of results, or NAME=FOLDER."
        )
    if not separator or Path(source).exists():
        return [(run.model.rstrip("/").split("/")[-1], run) for run in find_runs(Path(source))]
    if not name:
        raise click.ClickException(
            f"{source}: the name before = is empty. Give the model a name: NAME=RESULTS, or none: {path}."
        )
    runs = find_runs(Path(path))
    if len(runs) > 1:
        folders = [run.path.parent for run in runs]
        places = [str(run.path if folders.count(run.path.parent) > 1 else run.path.parent) for run in runs]
        raise click.ClickException(
            f"{path}: has results in {len(runs)} places: {', '.join(places)}. Name one: {name}={places[0]}, "
            "or import all without a name."
        )
    return [(name, runs[0])]


def _check_new_name(results: "StudyResults", name: str, others: "Mapping[str, Run]") -> None:
    """Raise ClickException unless a name can be shown, is a folder's, and is not of another model.

    Args:
        others: the runs that are imported with it, by name.
    """
    from mergekit_finance.study.imported import only_case  # see the note in import_results

    if not is_name(name):
        raise click.ClickException(f"{name!r}: cannot be shown. Give the model a name: NAME=RESULTS.")
    if not is_folder(file_name(name)):
        raise click.ClickException(
            f"{name!r}: cannot be the name of a folder. Give the model another name: NAME=RESULTS."
        )
    if name in (*results.singles, *results.points):
        raise click.ClickException(
            f"{name}: is a model of the study itself. Give the imported one another name: NAME=RESULTS."
        )
    if name in others:
        raise click.ClickException(
            f"{name}: two runs have this name, the first in {others[name].path.parent}. Import each folder "
            "with a name of its own: NAME=FOLDER."
        )
    for other in others:
        if other.casefold() == name.casefold():
            raise click.ClickException(only_case(name, other))
