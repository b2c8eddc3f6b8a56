"""`card`: the Hub-ready folder of a point."""

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  mergekit-finance card out -o card
  mergekit-finance card out --point stage2-finance-math-ta-lambda0.5 -o card --weights
  mergekit-finance card out -o card --hub-id base=meta-llama/Meta-Llama-3-8B
  mergekit-finance share card --repo you/your-merge --dry-run
"""
)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--point", help="A point of the study.  [default: the one to ship, else the best merge]")
@click.option("-o", "--output", "folder", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--weights", is_flag=True, help="Merge, and write the weights beside the card.")
@click.option("--samples", is_flag=True, help="Add prompts and answers, if every dataset allows it.")
@click.option(
    "--hub-id",
    "hub_ids",
    multiple=True,
    metavar="NAME=OWNER/MODEL",
    help="The Hub's name of a parent that is a local folder (base, or an expert's name).",
)
@click.option("--trust-remote-code", is_flag=True, help="Let models run code of their own (danger).")
def card(
    out: Path,
    point: str | None,
    folder: Path,
    weights: bool,
    samples: bool,
    hub_ids: tuple[str, ...],
    trust_remote_code: bool,
) -> None:
    """Write a model card, recipe and results of one point of the study in OUT, ready for the Hub."""
    from mergekit_finance.share import card as cards
    from mergekit_finance.share.manifest import told_paths
    from mergekit_finance.share.parents import obstacles

    made = cards.make(out, folder, point, _pairs(hub_ids), weights, samples, trust_remote_code)
    ship = made.summary["ship"]
    if not ship["is_merge"] and ship.get("clusters", 100) >= 100:
        click.echo(f"The study advises to ship no merge: {ship['model']} is best.", err=True)
    for line in obstacles(made.parents):
        click.echo(f"Not to be shared as it is: {line}", err=True)
    if told := told_paths(folder):
        click.echo(told, err=True)
    click.echo(f"{made.point}: {folder / 'README.md'}")


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    from mergekit_finance.share.parents import is_hub_id

    found = {}
    for text in given:
        name, _, model = text.partition("=")
        if not is_hub_id(model):
            raise click.ClickException(f"--hub-id {text!r}: give NAME=OWNER/MODEL")
        found[name] = model
    return found
