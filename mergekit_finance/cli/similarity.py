"""`similarity`: measure distances between a base and its experts."""

from pathlib import Path

import click

from mergekit_finance.checks.output import check_ending, check_output_file, model_inputs
from mergekit_finance.cli.common import echo, print_width
from mergekit_finance.errors import counted


@click.command(
    epilog="""\b
Examples:
  mergekit-finance similarity --base ./base ./finance ./math ./japanese -o sim.json
  mergekit-finance similarity --base meta-llama/Meta-Llama-3-8B ./finance ./math -o sim.json --device cuda
"""
)
@click.option(
    "--base", required=True, help="Folder or Hub id of the model that the others were trained from."
)
@click.argument("models", nargs=-1, required=True)
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, …")
@click.option(
    "--distances", is_flag=True, help="Compute only L2 distances, cosines and norms; twice as fast."
)
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def similarity(
    base: str, models: tuple[str, ...], out: Path, device: str, distances: bool, quiet: bool
) -> None:
    """Measure MODELS and their task vectors, in total and per layer, module kind and tensor.

    Writes L2 distances, cosines, relative norms, shares of equal elements and of sign conflicts, and
    quantiles of |tau|. Every file is read once. `python -m pydoc mergekit_finance.similarity` shows the
    definition of each measure and the JSON format.
    """
    # Imported here to keep --help fast: torch takes 1.4 s.
    from mergekit_finance.similarity import table
    from mergekit_finance.similarity.compute import compute_similarity
    from mergekit_finance.study.analysis.text_tables import table_lines

    check_ending(out, [".json"])
    table.check_target(out)
    check_output_file(out, model_inputs([base, *models]))
    result = compute_similarity(base, models, device, everything=not distances, quiet=quiet)
    table.write_similarity(result, out)
    if skipped := result.skipped:
        names = ", ".join(skipped[:3])
        echo(f"skipped {counted(len(skipped), 'tensor')} (buffers, or not floating point): {names}", err=True)
    text = table.similarity_table(result)
    if (width := print_width()) and max(map(len, text.splitlines())) > width:
        rows = table_lines(table.similarity_rows(result), width)
        text = "\n".join([table.similarity_head(result), *rows])
    echo(f"{text}\n\nWritten to {out}")
