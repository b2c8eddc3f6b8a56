"""Helpers of several commands: printing, one-line errors, interruption, option types, devices."""

import errno
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import click

from mergekit_finance.errors import MergekitFinanceError, RecipeError, first_line, printable
from mergekit_finance.interrupts import INTERRUPTED, started

MAX_WIDTH = 120  # columns: longer lines are hard to read
MAX_HOURS = 100_000  # eleven years
# What an operating system answers about a path of the user's, not about a fault of this package.
ENVIRONMENT = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR,
    errno.EEXIST, errno.ELOOP, errno.EIO,
)  # fmt: skip


class Hours(click.FloatRange):
    """A finite number of hours above 0."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=MAX_HOURS)

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        hours = super().convert(value, param, ctx)
        if math.isnan(hours):  # NaN passes the comparisons of the range check
            self.fail(f"{value!r} is not a number of hours.", param, ctx)
        return hours


class OutputFolder(click.Path):
    """A folder to write. A file of that name is refused with exit code 1, as other wrong outputs are."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, readable=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        try:
            return Path(os.fsdecode(super().convert(value, param, ctx)))
        except click.BadParameter as error:
            option = param.opts[0] if param else "-o"
            message = f"{option} {value}: exists and is not a directory. Choose another output directory."
            raise RecipeError(message, id="output.not-a-directory") from error


ITEMS = click.IntRange(min=1, max=10**9)  # the same bounds as in study/config.py
PROCESSES = click.IntRange(min=1, max=1024)


class OneLineErrors(click.Group):
    """Print a MergekitFinanceError as `Error: ...` and exit with 1; exit with 130 on Ctrl-C.

    Other exceptions keep their traceback.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with one_line_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with interruptible(), one_line_errors(), printable_logs():
            logging.basicConfig(format="%(message)s")  # else mergekit's logging.info adds names of modules
            started()
            return super().invoke(ctx)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a MergekitFinanceError into click's, and escape control characters in click's own messages.

    A path that cannot be read or written, or is too long for the file system, is no fault of this package
    either, wherever it is looked up, nor is an output without room, such as a full disk to which the output
    is redirected.
    """
    try:
        yield
    except MergekitFinanceError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            _drop_output()
            raise click.ClickException(
                f"{error.strerror}: the output could not be written. Make room, and run the command again."
            ) from error
        if error.errno in ENVIRONMENT and error.filename is not None:
            name = printable(str(error.filename))
            raise click.ClickException(
                f"{name}: cannot be read or written ({error.strerror}). Choose another path, or correct what "
                "is there."
            ) from error
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = printable(f"{str(error.filename):.60}")
        raise click.ClickException(
            f"{name}…: longer than the file system allows. Use a shorter name."
        ) from error
    except click.ClickException as error:
        keep = "\n\t" if isinstance(error, click.UsageError) else ""  # click lists choices in lines
        vars(error)["message"] = printable(error.message, keep)
        raise


def _drop_output() -> None:
    """Discard what is left in the buffer of standard output, which Python would write again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _PrintableRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage(), keep="\n\t")


@contextmanager
def printable_logs() -> Iterator[None]:
    """Escape control characters in log messages and warnings, which may quote values from model files."""
    factory, format_warning = logging.getLogRecordFactory(), warnings.formatwarning

    def printable_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return printable(format_warning(message, category, filename, lineno, line), keep="\n\t")

    logging.setLogRecordFactory(_PrintableRecord)
    warnings.formatwarning = printable_warning
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
        warnings.formatwarning = format_warning


def echo(text: object, err: bool = False, nl: bool = True) -> None:
    """Print text with control characters escaped, so that names from files cannot control the terminal."""
    click.echo(printable(str(text), keep="\n\t"), err=err, nl=nl)


@contextmanager
def interruptible(kept: str = "") -> Iterator[None]:
    """On Ctrl-C, print one line, which ends with `kept`, and exit with code 130."""
    try:
        yield
    except KeyboardInterrupt:
        echo(f"\nInterrupted.{kept}", err=True)
        raise SystemExit(INTERRUPTED) from None


def resumable(folder: Path) -> AbstractContextManager[None]:
    """On Ctrl-C, print that finished work in `folder` is kept, and exit with code 130."""
    return interruptible(f" Finished work is kept in {folder}; run the same command again to continue.")


def print_width() -> int | None:
    """Return the columns to wrap text at, or None (do not wrap) if the output is not a terminal."""
    if not sys.stdout.isatty():
        return None
    return max(60, min(shutil.get_terminal_size().columns, MAX_WIDTH))


def default_device() -> str:
    """Return `cuda` if a GPU is available, else `cpu`."""
    import torch  # imported here to keep --help fast: it takes 1.4 s

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str | None, where: str = "--device") -> None:
    """Raise a one-line error if torch cannot compute on a device.

    Args:
        device: None (not given) passes.
        where: the option or the key that gives it.
    """
    if device is None:
        return
    if device == "meta":
        raise click.ClickException(f"{where} meta: this device stores no values. Use cpu or cuda.")
    import torch  # see default_device

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise click.ClickException(f"{where} {device}: {first_line(error)}") from error
