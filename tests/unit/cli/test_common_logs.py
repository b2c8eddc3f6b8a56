"""What the commands print of log messages."""

import subprocess
import sys


def test_warnings_are_printed_without_the_name_of_their_module():
    code = """
import logging
from mergekit_finance.cli import main

@main.command()
def warn():
    logging.info("mergekit calls this, which configures the root logger")
    logging.getLogger("mergekit_finance.evaluation").warning("a warning")

main(["warn"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "a warning\n"
