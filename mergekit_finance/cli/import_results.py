"""`import`: take results of other lm-eval runs into a study."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from mergekit_finance.cli.common import echo, print_width
from mergekit_finance.files import file_name, is_folder, is_name


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
    A task is imported if its version, rows, prompts and targets are those of the study, by the hashes in the
    samples. What does not match is named. Nothing of the study itself changes.
    """
    # Imported here to keep --help fast: numpy and scipy take a second.
    from mergekit_finance.report.imported_table import imported_tables
    from mergekit_finance.report.markdown import fitted_tables, markdown_table
    from mergekit_finance.study.import_results import checked, find_run
    from mergekit_finance.study.imported import write_imported
    from mergekit_finance.study.results import load_results

    results = load_results(out)
    models, names = [], set[str]()
    for source in sources:
        name, separator, path = source.partition("=")
        if not separator or not name or Path(source).exists():
            name, path = "", source
        run = find_run(Path(path))
        name = name or run.model.rstrip("/").split("/")[-1]
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
        if name in names:
            raise click.ClickException(f"{name}: is listed twice. Give each model a name: NAME=RESULTS.")
        names.add(name)
        models.append(checked(results, run, name))
    for model in models:
        write_imported(results, file_name(model.file.name), model)
        for line in _not_imported(model.file.refused):
            echo(f"Not imported: {model.file.name}: {line}.", err=True)
    (table,) = imported_tables(results)
    text = markdown_table([table.columns, *([cell.text for cell in row] for row in table.rows)])
    echo(fitted_tables(text, print_width()))
    echo(
        "The report, the card and `leaderboard` show imported models. Selection, the verdict and figures are "
        "about the study's own models."
    )


def _not_imported(refused: Mapping[str, str]) -> Iterator[str]:
    """Yield `TASK: REASON`, with one line for all tasks that have the same reason."""
    from mergekit_finance.study.analysis.phrases import task_list  # see the note in import_results

    tasks_by_reason: dict[str, list[str]] = {}
    for task, reason in refused.items():
        tasks_by_reason.setdefault(reason, []).append(task)
    for reason, tasks in tasks_by_reason.items():
        yield f"{tasks[0] if len(tasks) == 1 else f'{len(tasks)} tasks ({task_list(tasks)})'}: {reason}"
