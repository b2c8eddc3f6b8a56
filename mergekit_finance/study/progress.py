"""The progress bar of a run: what all processes together have finished, the time left, what is running."""

import io
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from mergekit_finance.errors import counted, printable

if TYPE_CHECKING:
    from typing_extensions import Never

WINDOW = 180.0  # seconds over which the rate is measured
TERMINAL, FILE = 1.0, 30.0  # seconds between two updates of a bar on a terminal, and in a file
NAMES = 60  # characters for the names of what is running
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}s [{elapsed}{postfix}]"


@dataclass(frozen=True)
class State:
    """What is finished of a run.

    Attributes:
        models: models that are finished.
        share: the same, with fractions for models that have some of their answers.
        requests: answers of each model; 0 if unknown.
        running: names of what is being evaluated.
    """

    models: int
    share: float
    requests: int = 0
    running: Sequence[str] = ()


class Rate:
    """How fast a count grows, measured over the last minutes, and over no less than one model.

    The answers of one model differ in length, so that its first half says little about the second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque()  # when the count had grown, and to what

    def count(self, count: float) -> None:
        """Note the present count, in models."""
        now = self._clock()
        if not self._seen or count > self._seen[-1][1]:
            self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW and count - self._seen[1][1] >= 1:
            self._seen.popleft()

    def per_second(self) -> float | None:
        """Return the rate; None as long as nothing was finished."""
        if len(self._seen) < 2:
            return None
        (before, first), (_, last) = self._seen[0], self._seen[-1]
        seconds = self._clock() - before
        return (last - first) / seconds if seconds > 0 else None

    def time_left(self, total: int) -> str:
        """Return how long the rest takes, in words; empty as long as there is no rate."""
        rate = self.per_second()
        if rate is None or total <= self._seen[-1][1]:
            return ""
        return f"about {_duration((total - self._seen[-1][1]) / rate)} left"


class Progress:
    """One bar for a run. Use it as a context manager; a thread keeps it up to date.

    Args:
        models: how many models the run has.
        state: returns what all processes have finished.
        label: the title of the bar.
        quiet: without a bar.
        file: where the bar is shown.
    """

    def __init__(
        self,
        models: int,
        state: Callable[[], State],
        label: str = "study",
        quiet: bool = False,
        file: TextIO | None = None,
    ) -> None:
        self._models, self._state, self._file, self._quiet = models, state, file or sys.stderr, quiet
        self._rate = Rate()
        tqdm.set_lock(threading.RLock())  # tqdm's own has a semaphore, which outlives a killed process
        self._bar: tqdm[Never] = tqdm(
            total=models, unit="model", desc=label, disable=quiet, file=self._file, bar_format=FORMAT,
            mininterval=0,
        )  # fmt: skip
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self.update()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.update()
        self._bar.close()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        text = printable(text, keep="\n\t")
        if self._quiet:
            print(text, file=self._file, flush=True)
        else:
            self._bar.write(text, file=self._file)

    def update(self) -> None:
        """Show the present state."""
        if self._quiet:
            return
        state = self._state()
        self._rate.count(state.share)
        bar, parts = self._bar, []
        if state.requests:
            bar.unit, bar.total = "answer", self._models * state.requests
            parts.append(f"{state.models}/{self._models} models")
        bar.n = round(state.share * state.requests) if state.requests else state.models
        if state.models < self._models:
            parts += [self._rate.time_left(self._models), _names(state.running)]
        bar.set_postfix_str(", ".join(filter(None, parts)))

    def _follow(self) -> None:
        while not self._ended.wait(TERMINAL if self._file.isatty() else FILE):
            self.update()


def _names(running: Sequence[str]) -> str:
    """Return what is running in few words."""
    shown: list[str] = []
    for name in map(printable, running):
        if sum(map(len, shown)) + len(name) > NAMES:
            break
        shown.append(name)
    more = len(running) - len(shown)
    words = [", ".join(shown)] if shown else []
    if more:
        words.append(f"{more} more" if shown else counted(more, "model"))
    return f"running: {' and '.join(words)}" if words else ""


def _duration(seconds: float) -> str:
    """Return a duration in words, with no more precision than an estimate has."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


# ---- messages of hosts


class _AboveBar(io.StringIO):
    """A stream that prints whole lines above the bar."""

    def __init__(self, say: Callable[[str], None], stream: TextIO) -> None:
        super().__init__()
        self._say, self._stream, self._begun = say, stream, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            self._say(line)
        return len(text)

    def fileno(self) -> int:
        return self._stream.fileno()


@contextmanager
def messages_above(progress: Progress) -> Iterator[None]:
    """Print what hosts log and warn about above the bar, which they would break."""
    stderr = sys.stderr
    above = _AboveBar(progress.say, stderr)
    handlers = [handler for handler in _stream_handlers() if handler.stream in (stderr, sys.__stderr__)]
    before = [(handler, handler.stream) for handler in handlers]
    for handler in handlers:
        handler.setStream(above)
    sys.stderr = above
    try:
        yield
    finally:
        sys.stderr = stderr
        for handler, stream in before:
            handler.setStream(stream)


def _stream_handlers() -> Iterator["logging.StreamHandler[TextIO]"]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            follows = isinstance(getattr(type(handler), "stream", None), property)  # sys.stderr, by itself
            if isinstance(handler, logging.StreamHandler) and not follows:
                yield handler
