"""Ctrl-C while the command `mergekit-finance` starts: no traceback, exit code 130.

The package imports this module first. It imports the standard library only, and changes nothing in other
programs.
"""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130  # exit code of a command that Ctrl-C ended: 128 + SIGINT
COMMAND = "mergekit-finance"


def exit_quietly(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT: end the process at once. Nothing is running yet that has to be stopped or kept."""
    os.write(2, b"\nInterrupted.\n")
    os._exit(INTERRUPTED)


def quiet_start() -> None:
    """Handle Ctrl-C by `exit_quietly` until `started`, if this process is the command or its `python -m`."""
    program = sys.argv[0] if sys.argv else ""
    is_script = os.path.basename(program).startswith(COMMAND) and program in sys.orig_argv  # not in a worker
    is_module = program == "-m" and "mergekit_finance" in sys.orig_argv
    if (is_script or is_module) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_quietly)


def started() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, from where a command can handle it."""
    if signal.getsignal(signal.SIGINT) is exit_quietly:
        signal.signal(signal.SIGINT, signal.default_int_handler)
