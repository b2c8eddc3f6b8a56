"""`card`: write a model card, recipe and results of one point, ready for the Hub."""

from collections.abc import Sequence
from pathlib import Path

import click

from mergekit_finance.cli.common import OutputFolder, echo
from mergekit_finance.errors import with_id


@click.command(
    epilog="""\b
Examples:
  mergekit-finance card out -o card
  mergekit-finance card out -o card --name you/Llama-3-finance-math --weights
  mergekit-finance card out --point stage2-finance-math-ta-lambda0.5 -o card
  mergekit-finance card out -o card --hub-id base=meta-llama/Meta-Llama-3-8B
  mergekit-finance share card --repo you/your-merge --dry-run
"""
)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--point", help="A point of the study.  [default: the recommended one, else the best merge]")
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=OutputFolder(),
    help="The folder to write.",
)
@click.option(
    "--name", default="", metavar="[OWNER/]NAME", help="Name of the merge on the Hub.  [default: the point's]"
)
@click.option("--weights", is_flag=True, help="Also merge the models and write the weights.")
@click.option("--samples", is_flag=True, help="Add prompts and answers, if every dataset allows it.")
@click.option(
    "--hub-id",
    "hub_ids",
    multiple=True,
    metavar="NAME=OWNER/MODEL",
    help="Hub id of a local model; NAME is `base` or an expert's name.",
)
@click.option(
    "--install-from",
    metavar="ADDRESS",
    help="git+https:// address of mergekit-finance for the card.  [default: where it was installed from]",
)
@click.option(
    "--trust-remote-code", is_flag=True, help="Allow model repositories to run Python code (dangerous)."
)
def card(
    out: Path,
    point: str | None,
    folder: Path,
    name: str,
    weights: bool,
    samples: bool,
    hub_ids: tuple[str, ...],
    install_from: str | None,
    trust_remote_code: bool,
) -> None:
    """Write a model card, recipe and results of one point of the study in OUT, ready for the Hub."""
    # Imported here to keep --help fast: the modules behind it take seconds to load.
    from mergekit_finance.share.card import make, notes_for_author
    from mergekit_finance.share.manifest import local_paths_note
    from mergekit_finance.share.source_models import obstacles
    from mergekit_finance.study.analysis.advice_wording import advice_for_point

    choice = make(
        out, folder, point, _hub_ids(hub_ids), weights, samples, trust_remote_code, name, install_from
    )
    echo(advice_for_point(choice.results.summary, choice.point), err=True)
    for line in obstacles(choice.models):
        echo(with_id(f"Cannot be shared yet: {line}", "model.license"), err=True)
    if note := local_paths_note(folder):
        echo(note, err=True)
    for line in notes_for_author(choice, install_from):
        echo(line, err=True)
    echo(f"{choice.point}: {folder / 'README.md'}")


def _hub_ids(options: Sequence[str]) -> dict[str, str]:
    """Parse NAME=OWNER/MODEL options into name -> Hub id."""
    from mergekit_finance.share.source_models import is_hub_id

    by_name: dict[str, str] = {}
    for option in options:
        name, _, model = option.partition("=")
        if not is_hub_id(model):
            raise click.ClickException(f"--hub-id {option!r}: not a Hub id. Use NAME=OWNER/MODEL.")
        if by_name.setdefault(name, model) != model:
            raise click.ClickException(
                f"--hub-id: {name!r} is {by_name[name]} and {model}. Name one of them."
            )
    return by_name
