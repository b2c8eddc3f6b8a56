"""`share`: send a card's folder to the Hub."""

from pathlib import Path

import click


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
@click.option("--dry-run", is_flag=True, help="List every file with its size, send nothing.")
@click.option("--weights", is_flag=True, help="Send the weights, too.")
@click.option("--private", is_flag=True, help="Where the repository is new: for your eyes only.")
@click.option("--i-have-checked-the-licences", "checked", is_flag=True, help="You vouch for it.")
def share(folder: Path, repo: str, dry_run: bool, weights: bool, private: bool, checked: bool) -> None:
    """Send DIR, made by `mergekit-finance card`, to the Hub: recipe, card and results.

    Weights go only with --weights, and with the licence texts that they must carry. Refused where a parent's
    licence forbids sharing or is unknown. Text of datasets never goes out unless every dataset allows it.
    """
    from mergekit_finance.share.hub import Share

    address = Share(folder, repo, weights, private, checked, click.echo)(dry_run)
    click.echo(f"Shared: {address}" if address else "Dry run: nothing was sent.")
