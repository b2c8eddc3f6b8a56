"""`share`: send a card's folder to the Hub."""

from pathlib import Path

import click

from mergekit_finance.cli.common import echo


@click.command(
    epilog="""\b
Examples:
  mergekit-finance share card --repo you/your-merge --dry-run
  mergekit-finance share card --repo you/your-merge --private
  mergekit-finance share card --repo you/Llama-3-your-merge --weights
"""
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--repo", required=True, metavar="OWNER/NAME", help="The model repository on the Hub.")
@click.option("--dry-run", is_flag=True, help="List every file with its size; send nothing.")
@click.option("--weights", is_flag=True, help="Send the weights as well.")
@click.option("--private", is_flag=True, help="Create the repository as private.")
@click.option("--i-have-checked-the-licenses", "checked", is_flag=True, help="Skip the check of licenses.")
@click.option("--i-have-checked-the-licences", "checked_old_spelling", is_flag=True, hidden=True)
def share(
    folder: Path,
    repo: str,
    dry_run: bool,
    weights: bool,
    private: bool,
    checked: bool,
    checked_old_spelling: bool,
) -> None:
    """Send DIR, written by `mergekit-finance card`, to the Hub: recipe, card and results.

    Weights are sent only with --weights, and only together with the license texts that must accompany them.
    Sharing is refused if the license of a merged model forbids it or is unknown. Text of datasets is sent
    only if every dataset allows it.
    """
    # Imported here to keep --help fast: the modules behind it take a second to load.
    from mergekit_finance.share.hub import Share

    job = Share(folder, repo, weights, private, checked or checked_old_spelling, echo)
    address = job.send(dry_run)
    echo(f"Shared: {address}" if address else "Dry run: nothing was sent.")
