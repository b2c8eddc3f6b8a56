"""`similarity`: how far a base and its experts are from each other."""

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  mergekit-finance similarity --base ./base ./finance ./math ./japanese -o sim.json
  mergekit-finance similarity --base meta-llama/Meta-Llama-3-8B ./finance ./math -o sim.json --device cuda
"""
)
@click.option("--base", required=True, help="The model that the others were trained from: folder or Hub id.")
@click.argument("models", nargs=-1, required=True)
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, …")
@click.option("--distances", is_flag=True, help="Only L2, cosines and norms: twice as fast.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def similarity(
    base: str, models: tuple[str, ...], out: Path, device: str, distances: bool, quiet: bool
) -> None:
    """Measure MODELS and their task vectors, in total and per layer, module kind and tensor.

    Writes L2 distances, cosines, relative norms, shares of equal elements and of sign conflicts, and
    quantiles of |tau|. Every file is read once. `python -m pydoc mergekit_finance.similarity` defines
    each measure and the JSON.
    """
    from mergekit_finance.similarity import similarity as measure
    from mergekit_finance.similarity import table

    table.check_target(out)
    found = measure(base, models, device, everything=not distances, quiet=quiet)
    table.write(found, out)
    if found["skipped"]:
        names = ", ".join(found["skipped"][:3])
        click.echo(
            f"left out, not floating point in every model: {names} ({len(found['skipped'])} in all)", err=True
        )
    click.echo(f"{table.render(found)}\n\nWritten to {out}")
