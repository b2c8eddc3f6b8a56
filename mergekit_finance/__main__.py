"""`python -m mergekit_finance`: the same as the command `mergekit-finance`."""

from mergekit_finance.cli import main

main(prog_name="mergekit-finance")
