"""`report`: figures and one page from a study's stored results."""

import webbrowser
from collections import Counter
from pathlib import Path

import click

from mergekit_finance.cli.common import echo
from mergekit_finance.errors import counted

FORMATS = ("csv", "latex", "markdown")


def formats_named(text: str) -> list[str]:
    """Return the formats of a comma-separated list.

    Raises:
        click.BadParameter: a name is none of `FORMATS`.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in FORMATS]:
        raise click.BadParameter(f"{unknown[0]!r} is no format. Choose from {', '.join(FORMATS)}.")
    if text and not names:
        raise click.BadParameter(f"{text!r} names no format. Choose from {', '.join(FORMATS)}.")
    return names


@click.command(
    epilog="""\b
Examples:
  mergekit-finance report out            writes out/report.html and out/figures/
  mergekit-finance report out --open     and shows the page
  mergekit-finance report out --format csv,latex     also writes every table to out/tables/
"""
)
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--with-text",
    is_flag=True,
    help="Show the text of every dataset. Licenses may forbid sharing that page.",
)
@click.option(
    "--format",
    "formats",
    default="",
    metavar="NAMES",
    callback=lambda context, parameter, value: formats_named(value),
    help="Also write every table to OUT/tables: csv (exact numbers), latex, markdown; separated by commas.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
def report(out: Path, with_text: bool, formats: list[str], show: bool) -> None:
    """Write figures and report.html of the study in OUT, from its stored results.

    The page is one file that opens offline. It contains prompts and answers only if the dataset's license
    allows sharing them; otherwise it shows which items were right.
    """
    # Imported here to keep --help fast: matplotlib takes 0.7 s.
    from mergekit_finance.report.writing import PAGE, build

    written = build(out, with_text, formats)
    page = out / PAGE
    folders = Counter(path.parent for path in written if path != page)
    others = "".join(f" and {counted(count, 'file')} in {folder}" for folder, count in folders.items())
    echo(f"Written to {page} ({page.stat().st_size / 1e6:.1f} MB){others}")
    if (out / "unfinished.json").exists() and not (out / "summary.json").exists():
        echo("The page is partial: the study is not finished.", err=True)
    if with_text:
        echo("It contains dataset text: do not share it.", err=True)
    if show:
        webbrowser.open(page.resolve().as_uri())
