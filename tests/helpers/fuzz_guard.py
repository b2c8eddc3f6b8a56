"""Run code on damaged input and check the rules that hold for any input.

Either it works, or it raises an error of ours, whose message is one short line without control characters. It
takes at most MAX_SECONDS of CPU time, and writes nothing but to the one folder that it may write to.
"""

import os
import signal
import sys
import tempfile
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from click.testing import CliRunner, Result

from mergekit_finance.cli import main
from mergekit_finance.errors import MAX_MESSAGE, MergekitFinanceError

MAX_SECONDS = 5  # of CPU time, which does not grow when the machine is busy
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {  # event -> positions of its paths and of the descriptors of folders that they are relative to
    "os.mkdir": ((0, 2),), "os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
}  # fmt: skip
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.getaddrinfo", "pickle.find_class")  # fmt: skip
LEFTOVERS = os.path.join(os.path.abspath(tempfile.gettempdir()), "mergekit-finance-")


class TooSlow(BaseException):
    """More than MAX_SECONDS of CPU time. Not an Exception: code under test must not handle it."""


@dataclass
class _Watch:
    """The audit hook: records what code under test does that it must not do."""

    out: Path | None = None  # None: nothing is watched
    violations: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)  # of commands

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.out is None:
            return
        if event == "open":
            if arguments[2] and arguments[2] & WRITES:
                self.check(event, arguments[0])
        elif event in CHANGES:
            for path, folder in CHANGES[event]:
                self.check(event, arguments[path], -1 if folder is None else arguments[folder])
        elif event in FORBIDDEN:
            self.violations.append(f"{event} {arguments!r:.200}")

    def check(self, event: str, path: Any, folder: int = -1) -> None:
        """Record a change of a path outside `out`; Python's own caches of imports may change."""
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        if folder != -1 and not os.path.isabs(name):
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
        place = os.path.abspath(name)
        inside = place == str(self.out) or place.startswith(f"{self.out}{os.sep}")
        # A temporary folder of an earlier test, which the garbage collector frees only now. Code under test can
        # make none there: its temporary folders are made in `out`.
        is_freed = event in ("os.remove", "os.rmdir") and place.startswith(LEFTOVERS)
        if not inside and not is_freed and place != os.devnull and "__pycache__" not in place:
            self.violations.append(f"{event} {place}")


_WATCH = _Watch()
_hooked: list[bool] = []


@contextmanager
def watched(out: Path) -> Iterator[list[str]]:
    """Yield a list that fills with what the code does outside `out`: writes, processes, connections."""
    if not _hooked:
        sys.addaudithook(_WATCH)  # it cannot be removed: one for the process, mostly idle
        _hooked.append(True)
    _WATCH.out, _WATCH.violations, _WATCH.exit_codes = Path(os.path.abspath(out)), [], []
    temporary, tempfile.tempdir = tempfile.tempdir, str(out)
    try:
        yield _WATCH.violations
    finally:
        _WATCH.out, tempfile.tempdir = None, temporary


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in code that takes more CPU time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds} s of CPU time")

    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        refused: whether it raised an error of ours, or a command of it did not exit with 0.
        seconds: its CPU time.
    """

    refused: bool
    seconds: float


def examine(read: Callable[[], object], out: Path) -> Outcome:
    """Run code on damaged input. Whatever is not allowed raises."""
    error = None
    start = time.process_time()
    with watched(out) as violations, warnings.catch_warnings(), cpu_limit(MAX_SECONDS):
        warnings.simplefilter("ignore")
        try:
            read()
        except MergekitFinanceError as raised:
            error = raised
    seconds = time.process_time() - start
    assert seconds <= MAX_SECONDS, f"{seconds:.1f} s of CPU time"
    assert not violations, violations[:5]
    if error is not None:
        check_line(str(error))
    return Outcome(error is not None or any(_WATCH.exit_codes), seconds)


def controls(text: str, keep: str = "") -> set[str]:
    """Return the characters of a text that can control a terminal or its order; not by code under test."""
    return {c for c in set(text) - set(keep) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def check_line(message: str) -> None:
    """Assert that a message is one line of bounded length that cannot control a terminal."""
    assert message.strip() and len(message.splitlines()) == 1, f"not one line: {message!r:.500}"
    assert not controls(message), f"control characters: {message!r:.500}"
    assert len(message) <= MAX_MESSAGE, f"{len(message)} characters: {message!r:.200}"


def command(*arguments: object) -> Result:
    """Run `mergekit-finance` in this process; exceptions that are not ours are raised.

    Returns:
        The result; its exit code is 0, or 1 or 2 with a message.
    """
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    _WATCH.exit_codes.append(result.exit_code)
    assert result.exit_code in (0, 1, 2), result.exit_code
    assert not controls(result.output, keep="\n\t"), f"control characters: {result.output!r:.500}"
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if errors:  # nothing follows the message
        assert result.stderr.endswith(f"{errors[-1]}\n"), result.stderr[-500:]
        check_line(errors[-1].removeprefix("Error: "))
    assert result.exit_code == 0 or result.output.strip(), "it failed without a message"
    return result
