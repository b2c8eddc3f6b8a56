"""Write the report: all content is made first, then written under temporary names, then renamed."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from mergekit_finance.errors import DataError
from mergekit_finance.files import atomic_path
from mergekit_finance.report import figures
from mergekit_finance.report.page import page
from mergekit_finance.report.table_files import table_files
from mergekit_finance.report.unit_page import unit_page
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.unfinished import load_available_results

PAGE = "report.html"


def build(out: Path, with_text: bool = False, formats: Sequence[str] = ()) -> list[Path]:
    """Write OUT/report.html, OUT/figures/ and, in some formats, OUT/tables/ from the study stored in OUT.

    Args:
        with_text: show the text of every dataset, also where its license forbids sharing it.
        formats: `csv`, `latex`, `markdown`: of the tables that are written as files, too.

    Returns:
        The files that were written.

    Raises:
        DataError: no finished study is there, its files are damaged, or the report cannot be written.
    """
    results = load_available_results(out, with_text)
    results.require_results([*results.singles, *results.chosen])
    tables = table_files(results, formats)
    _check_targets(out, [PAGE, *tables])  # before figures are drawn, which takes seconds
    contents = report_files(results) | tables
    _write(out, contents)
    _remove_old_figures(out, contents)
    return [out / name for name in contents]


def _check_targets(out: Path, names: Iterable[str]) -> None:
    """Raise DataError if a folder to write into is a link or a file, or a file to write is a folder."""
    for folder in (out / "figures", out / "tables"):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise DataError(
                f"{folder}: is a link or not a folder. Remove it: the report writes {folder.name} there."
            )
    for path in (out / name for name in (*names, *_figure_files())):
        if path.is_dir() and not path.is_symlink():
            raise DataError(f"{path}: is a folder. Remove it: the report writes a file there.")


def _figure_files() -> list[str]:
    """Return every figure file that a report may have, as a path in OUT."""
    return [f"figures/{name}.{ending}" for name in figures.NAMES for ending in ("png", "svg")]


def report_files(results: StudyResults) -> dict[str, bytes]:
    """Return the content of every file of the report, by its path in OUT. Deterministic."""
    contents = {}
    for drawn in figures.draw_all(results):
        contents[f"figures/{drawn.name}.png"] = drawn.png()
        contents[f"figures/{drawn.name}.svg"] = drawn.svg()
    html = page(results) if results.summary.has_selection else unit_page(results)
    return contents | {PAGE: html.encode("utf-8", "replace")}


def _write(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files or none: they are renamed only when all of them are on the disk."""
    try:
        with ExitStack() as stack:
            for name, data in contents.items():
                stack.enter_context(atomic_path(out / name)).write_bytes(data)
    except OSError as error:
        raise DataError(f"{out}: the report cannot be written ({error})") from error


def _remove_old_figures(out: Path, contents: Mapping[str, bytes]) -> None:
    """Remove figures of an earlier report that the study has no results for any more."""
    for name in _figure_files():
        if name not in contents and (out / name).exists():
            (out / name).unlink()
