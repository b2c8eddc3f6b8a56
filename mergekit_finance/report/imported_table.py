"""The table of models whose results were imported from other lm-eval runs."""

from collections.abc import Sequence

from mergekit_finance.report.tables import Cell, Table, interval_cell, number_cell, text_cell
from mergekit_finance.statistics.contrasts import difference, score
from mergekit_finance.study.imported import Imported, compared, read_imported
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import rounded


def imported_tables(results: StudyResults) -> list[Table]:
    """Return the table of imported models, one row each; nothing if there are none.

    Raises:
        DataError: an imported file is damaged.
    """
    models = read_imported(results)
    if not models:
        return []
    merge = best_merge(results)
    columns = ["model", "backend", "tasks", "macro average", "over base"]
    columns += ["over best merge"] if merge else []
    columns += ["not imported"]
    note = (
        "Results of other lm-eval runs, whose task versions, rows, prompts and targets are those of the "
        "study. The macro average, and the differences in it, are on the reported items, in points. Another "
        "backend adds numbers in another order, so some answers differ for the same weights."
    )
    note += f" Best merge: {merge}." if merge else ""
    for one in models:
        shared = [task for task in results.macro if task in one.columns]
        if len(shared) < len(results.macro):
            note += (
                f" {one.file.name} has {len(shared)} of the {len(results.macro)} tasks of the macro average."
            )
    rows = [_row(results, one, merge) for one in models]
    return [Table("imported", "Imported models", note, columns, rows)]


def _row(results: StudyResults, imported: Imported, merge: str) -> Sequence[Cell]:
    file = imported.file
    others = ["base", *([merge] if merge else [])]
    replicates, tasks = compared(results, imported, others)
    cells = [text_cell(file.name), text_cell(file.backend), number_cell(len(file.tasks), 0)]
    if tasks:
        cells.append(interval_cell(rounded(score(replicates, tasks, "imported"))))
        gaps = (difference(replicates, tasks, "imported", other) for other in others)
        cells += [interval_cell(rounded(gap), sign=True) for gap in gaps]
    else:
        cells += [number_cell(None)] * (1 + len(others))
    return [*cells, number_cell(len(file.refused), 0)]


def best_merge(results: StudyResults) -> str:
    """Return the name of the study's best merge, "" without a selection."""
    return results.summary.ship.best_merge if results.summary.has_selection else ""
