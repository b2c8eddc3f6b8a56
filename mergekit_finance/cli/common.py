"""What several commands share: one-line errors, interruption, devices."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mergekit_finance.errors import MergekitFinanceError, first_line

MAX_WIDTH = 120  # columns: longer lines are hard to read
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended: 128 + SIGINT


class OneLineErrors(click.Group):
    """Print a user's mistake as `Error: ...` and exit with 1. Other exceptions keep their traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MergekitFinanceError as error:
            raise click.ClickException(str(error)) from error


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Run a command that Ctrl-C may interrupt; then say that its finished work in `folder` is kept."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"\nInterrupted. Finished work is kept in {folder}; run the same command again to continue.",
            err=True,
        )
        raise SystemExit(INTERRUPTED) from None


def print_width() -> int | None:
    """Return the columns to wrap text at, or None (do not wrap) where a program reads the output."""
    if not sys.stdout.isatty():
        return None
    return max(60, min(shutil.get_terminal_size().columns, MAX_WIDTH))


def default_device() -> str:
    """Return `cuda` if a GPU is available, else `cpu`."""
    import torch  # imported here: it takes 1.4 s, which --help should not pay

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str | None) -> None:
    """Raise a one-line error if torch cannot compute on `device`; None (not given) passes."""
    if device is None:
        return
    if device == "meta":
        raise click.ClickException("--device meta: holds no numbers. Use cpu or cuda.")
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise click.ClickException(f"--device {device}: {first_line(error)}") from error
