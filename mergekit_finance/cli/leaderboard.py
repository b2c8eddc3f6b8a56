"""`leaderboard`: rank the models of several studies and cards on the same items."""

from pathlib import Path

import click

from mergekit_finance.checks.output import Input, check_ending, check_output_file
from mergekit_finance.cli.common import echo
from mergekit_finance.files import is_name, write_output

FORMATS = ("text", "markdown", "csv", "json", "html")


@click.command(
    epilog="""\b
Examples:
  mergekit-finance leaderboard out                     the models of one study
  mergekit-finance leaderboard out ../card             a study and a card's folder
  mergekit-finance leaderboard me=out you=../card      with names of your own
  mergekit-finance leaderboard a b c -o ranking.html   as a page
"""
)
@click.argument("sources", nargs=-1, required=True, metavar="[NAME=]FOLDER...")
@click.option(
    "--format", "format_name", type=click.Choice(FORMATS), help="[default: by the ending of -o, else text]"
)
@click.option(
    "-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file."
)
def leaderboard(sources: tuple[str, ...], format_name: str | None, file: Path | None) -> None:
    """Rank the models of studies and of cards' folders, from one person or several, on the same items.

    A FOLDER is what `study -o` or `card -o` wrote, or a card that was downloaded from the Hub. Of a study its
    base, experts, selected merges and imported models are ranked; of a card its merge.

    The first FOLDER decides. Results of other tasks, task versions, items or engines are not comparable and
    are named with the reason.
    """
    # Imported here to keep --help fast: the modules behind it take a second to load.
    from mergekit_finance.share.ranked_results import read_results
    from mergekit_finance.share.ranking import rank
    from mergekit_finance.share.ranking_text import ENDINGS
    from mergekit_finance.share.ranking_text import FORMATS as texts

    folders = _named(sources)
    if file is not None and format_name is None:
        check_ending(file, [*ENDINGS])
    if file is not None:
        check_output_file(file, [Input(f"results {folder}", folder) for folder in folders.values()])
    ranking = rank([read_results(name, folder) for name, folder in folders.items()])
    ending = ENDINGS.get(file.suffix.lower(), "text") if file else "text"
    text = texts[format_name or ending](ranking)
    if file is None:
        echo(text, nl=False)
    else:
        write_output(file, text)
        echo(f"Written to {file}")
    for name, reason in ranking.refused.items():
        echo(f"Not ranked: {name}: {reason}.", err=True)


def _named(sources: tuple[str, ...]) -> dict[str, Path]:
    """Return folders by name: the name before `=`, else the path.

    Raises:
        click.ClickException: two names are equal, or a name is not one line of plain text.
    """
    folders: dict[str, Path] = {}
    for source in sources:
        name, separator, path = source.partition("=")
        if not separator or not name or Path(source).exists():
            name = path = source
        if not is_name(name):
            raise click.ClickException(f"{name!r}: cannot be shown. Give the folder a name: NAME=FOLDER.")
        if name in folders:
            raise click.ClickException(f"{name}: is listed twice. Give each folder a name: NAME=FOLDER.")
        folders[name] = Path(path)
    return folders
