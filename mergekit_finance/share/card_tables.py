"""Tables of a card as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from mergekit_finance.report.imported_table import imported_tables
from mergekit_finance.report.markdown import markdown_table
from mergekit_finance.study.results import StudyResults


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose cells are one line without HTML; code marks are kept."""
    return markdown_table([list(header), *([cell(text) for text in row] for row in rows)])


def cell(text: str) -> str:
    """Return a text as one line without HTML and column marks."""
    one_line = " ".join(text.split()).replace("<", "&lt;").replace(">", "&gt;")
    return one_line.replace("|", "\\|")


def imported_models(results: StudyResults) -> Iterator[str]:
    """Yield the table of models whose results were imported from other lm-eval runs; nothing without any.

    Raises:
        DataError: an imported file is damaged.
    """
    for imported in imported_tables(results):
        rows = [[shown.text for shown in row] for row in imported.rows]
        yield ""
        yield f"Imported models. {imported.note}"
        yield ""
        yield table([cell(column) for column in imported.columns], rows)
