"""`report`: figures and one page from a study's stored results."""

import webbrowser
from pathlib import Path

import click

from mergekit_finance.cli.common import echo


@click.command(
    epilog="""\b
Examples:
  mergekit-finance report out            writes out/report.html and out/figures/
  mergekit-finance report out --open     and shows the page
"""
)
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--with-text",
    is_flag=True,
    help="Show the text of every dataset. Licenses may forbid sharing that page.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
def report(out: Path, with_text: bool, show: bool) -> None:
    """Write figures and report.html of the study in OUT, from its stored results.

    The page is one file that opens offline. It contains prompts and answers only if the dataset's license
    allows sharing them; otherwise it shows which items were right.
    """
    # Imported here to keep --help fast: matplotlib takes 0.7 s.
    from mergekit_finance.report.writing import PAGE, build

    written = build(out, with_text)
    page = out / PAGE
    size, figures = page.stat().st_size / 1e6, len(written) - 1
    echo(f"Written to {page} ({size:.1f} MB) and {figures} files in {out / 'figures'}")
    if with_text:
        echo("It contains dataset text: do not share it.", err=True)
    if show:
        webbrowser.open(page.resolve().as_uri())
