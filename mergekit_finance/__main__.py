"""Run the command `mergekit-finance` as `python -m mergekit_finance`."""

from mergekit_finance.cli import main

main(prog_name="mergekit-finance")
