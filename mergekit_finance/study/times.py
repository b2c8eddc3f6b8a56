"""Where a study's time goes: each process writes OUT/timings/<id>.json with its seconds by kind of work.

Nothing is computed from these files, and they differ between any two runs: they are in no hash and in no
comparison of results.
"""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mergekit_finance.errors import DataError
from mergekit_finance.files import file_name, write_json
from mergekit_finance.study.read_files import optional_model
from mergekit_finance.study.schema import ProcessTimes

FOLDER = "timings"
MOST_FILES = 10_000  # that are read; a run on a cluster has one per process
KINDS = {  # kind of work -> what it is, in words
    "start_up": "start-up: imports, checks, loading of tasks",
    "merging": "loading models and merging",
    "choices": "log-likelihoods of choices",
    "generate": "generated answers",
    "rolling": "rolling log-likelihoods",
    "scoring": "requests and scores",
    "storing": "writing results",
    "waiting": "waiting for other processes",
    "similarity": "similarity",
    "statistics": "statistics",
}
REQUESTS = {"loglikelihood": "choices", "generate_until": "generate", "loglikelihood_rolling": "rolling"}


@dataclass
class TimeLog:
    """The seconds of this process by kind of work, and how many models it evaluated.

    Attributes:
        out: the output folder of the study.
        device: the device of this process.
    """

    out: Path
    device: str = ""
    models: int = 0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}")

    def add(self, kind: str, seconds: float) -> None:
        """Add seconds of a kind of work, one of KINDS."""
        self.seconds[kind] += max(0.0, seconds)

    @contextmanager
    def spent(self, kind: str) -> Iterator[None]:
        """Add the seconds that pass in this context."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(kind, time.monotonic() - started)

    def write(self) -> None:
        """Write the file of this process, if the disk has room: results do not depend on it."""
        content = ProcessTimes(device=self.device, models=self.models, seconds=dict(self.seconds))
        with suppress(OSError):
            write_json(self.out / FOLDER / f"{file_name(self._name)}.json", content.as_json(), indent=1)


@dataclass(frozen=True)
class StudyTimes:
    """The seconds of all processes of a study by kind of work; kinds without any are left out.

    Attributes:
        seconds: in the order of KINDS.
        processes: processes that evaluated models.
    """

    seconds: Mapping[str, float]
    processes: int

    @property
    def total(self) -> float:
        """The seconds of all kinds."""
        return sum(self.seconds.values())

    def shares(self) -> list[tuple[str, float]]:
        """Return each kind and its share of the total, largest first."""
        largest = sorted(self.seconds.items(), key=lambda one: -one[1])
        return [(kind, seconds / self.total) for kind, seconds in largest]


def study_times(out: Path) -> StudyTimes:
    """Return where the time of a study went. Files that were edited or lost count as nothing."""
    stored = []
    for path in sorted((out / FOLDER).glob("[!.]*.json"))[:MOST_FILES]:
        with suppress(DataError):
            stored += [one for one in [optional_model(ProcessTimes, path)] if one]
    sums = {kind: sum(one.seconds.get(kind, 0.0) for one in stored) for kind in KINDS}
    return StudyTimes({k: s for k, s in sums.items() if s > 0}, sum(one.models > 0 for one in stored))


def in_words(times: StudyTimes) -> str:
    """Return one line: how much work there was, and the largest kinds."""
    if not times.total:
        return "no times are stored"
    shares = ", ".join(
        f"{kind.replace('_', '-')} {100 * share:.0f} %" for kind, share in times.shares() if share >= 0.01
    )
    many = "process" if times.processes == 1 else "processes"
    return f"{duration(times.total)} of work of {times.processes} {many}: {shares}"


def duration(seconds: float) -> str:
    """Return seconds as `12.3 s`, `4.5 min` or `6.7 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
