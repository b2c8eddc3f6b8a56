"""How well processes share a lab study: two workers against two studies, four commands against four workers.

    python tests/benchmarks/sharing.py                           both: about an hour on 4 quiet cores
    python tests/benchmarks/sharing.py --only workers            one of the two: workers or commands
    python tests/benchmarks/sharing.py --minutes 30              a single one-worker run takes about 30 minutes
    python tests/benchmarks/sharing.py --together                all runs at the same time, on 12 cores; with
                                                                 --only workers, on 4
    python tests/benchmarks/sharing.py --settings 2 --limit 8    a few minutes; too short for the bars

Workers, on 2 cores: two workers of one command must reach 0.9 of what two separate one-worker studies reach
together, a single run taking 10 minutes or more. Commands, on 4 cores: four commands with one worker each on
one folder may take 1.15 times as long as one command with four workers. Start-up, checks and statistics are in
all times. Each command is bound to its cores; nothing else may run on the machine. With --together, the cores of a
run that has ended are kept busy until all have ended: on a machine whose cores are slower while others compute,
the longest run would otherwise have fast cores for a part of its time, and seem to gain less from workers.
The CPU seconds beside each time do not depend on waiting. No answer may have been made twice, and all folders
must have the same bytes. Two short runs measure how large a study takes so many minutes. Prints the machine and
a table, and exits 1 if a bar is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from helpers import study as helpers
from machine import machine

COMBINATIONS, UNMERGED = 7, 4
MOST_SETTINGS, MOST_ITEMS = 20, 240  # of the lab's rows
WORKERS, COMMANDS = 0.9, 1.15
MINUTES = 10
MARGIN = 1.2  # the runs that are compared are faster than the measured ones where caches are warm
keeping_busy: list[subprocess.Popen[bytes]] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of a single one-worker run")
    parser.add_argument("--settings", type=int, help="settings of each combination  [default: by --minutes]")
    parser.add_argument("--limit", type=int, default=100, help="items a task")
    parser.add_argument("--only", choices=["workers", "commands"])
    parser.add_argument(
        "--together", action="store_true", help="each run on cores of its own, at the same time"
    )
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    pairs, fours = (cores[:2], cores[2:4]), (cores[4:8], cores[8:12])
    needed = 4 if arguments.only == "workers" else 12
    if not arguments.together:
        pairs, fours = (cores[:2],) * 2, (cores[:4],) * 2
    elif len(cores) < needed:
        sys.exit(f"--together needs {needed} cores, there are {len(cores)}")
    comparisons: list[Callable[[], bool]] = []
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = sized(folder, arguments)
        if arguments.only != "commands":
            comparisons.append(lambda: two_workers(folder, path, arguments.minutes, pairs))
        if arguments.only != "workers":
            comparisons.append(lambda: four_commands(folder, path, fours))
        try:
            with ThreadPoolExecutor(len(comparisons) if arguments.together else 1) as threads:
                good = list(threads.map(lambda compare: compare(), comparisons))
        finally:
            for process in keeping_busy:
                process.kill()
    sys.exit(0 if all(good) else 1)


def sized(folder: Path, arguments: argparse.Namespace) -> Path:
    """Write the lab's models and a study of them that takes one worker so many minutes."""
    path = prepared(folder, 2, 8)
    short = seconds(folder, path, [("warm up", 1)])  # fills the caches of the hosts
    settings, limit = arguments.settings, arguments.limit
    if settings is None:
        short = seconds(folder, path, [("short", 1)])
        longer = seconds(folder, prepared(folder, 2, 40), [("longer", 1)])
        settings, limit = size(60 * MARGIN * arguments.minutes, short, longer, limit)
    print(f"{UNMERGED + COMBINATIONS * settings} models, {limit} items a task", flush=True)
    return prepared(folder, settings, limit)


def size(target: float, short: float, longer: float, limit: int) -> tuple[int, int]:
    """Return how many settings and items a run of `target` seconds has.

    Args:
        target: seconds.
        short, longer: seconds of runs of two settings with 8 and with 40 items of every task.
        limit: items of every task; more are used if all settings do not suffice.
    """
    models = UNMERGED + 2 * COMBINATIONS
    per_item = max(longer - short, 1e-3) / (models * 32)
    for settings in range(2, MOST_SETTINGS + 1, 2):
        if per_item * (UNMERGED + COMBINATIONS * settings) * limit >= target:
            return settings, limit
    most = UNMERGED + COMBINATIONS * MOST_SETTINGS
    return MOST_SETTINGS, min(MOST_ITEMS, round(target / (per_item * most)))


def two_workers(folder: Path, path: Path, minutes: float, cores: Sequence[list[int]]) -> bool:
    """Compare one command with two workers, and two studies with one worker each, on two cores."""
    apart, shared = both(folder, path, [[("a", 1), ("b", 1)], [("two workers", 2)]], cores)
    ratio = apart.wall / (2 * shared.wall)
    print(f"two studies apart    {apart} for twice the models")
    print(f"two workers          {shared}: {ratio:.2f} of their speed (bar {WORKERS})")
    if apart.wall < 60 * minutes:
        print(f"a single run took less than {minutes:g} minutes: raise --minutes")
    return ratio >= WORKERS and intact(folder, "a", ["b", "two workers"])


def four_commands(folder: Path, path: Path, cores: Sequence[list[int]]) -> bool:
    """Compare four commands on one folder, and one command with four workers, on four cores."""
    one, four = both(folder, path, [[("four workers", 4)], [("four commands", 1)] * 4], cores)
    ratio = four.wall / one.wall
    print(f"one command          {one} with four workers")
    print(f"four commands        {four}: {ratio:.2f} times as long (bar {COMMANDS})")
    return ratio <= COMMANDS and intact(folder, "four workers", ["four commands"])


def both(
    folder: Path, path: Path, runs: Sequence[list[tuple[str, int]]], cores: Sequence[list[int]]
) -> "tuple[Spent, Spent]":
    """Return the times of two sets of runs: at the same time if they have cores of their own."""
    together = cores[0] != cores[1]

    def timed(one: tuple[list[tuple[str, int]], list[int]]) -> Spent:
        measured = spent(folder, path, *one)
        if together:
            keep_busy(one[1])
        return measured

    with ThreadPoolExecutor(2 if together else 1) as threads:
        first, second = threads.map(timed, zip(runs, cores, strict=True))
    return first, second


def keep_busy(cores: Sequence[int]) -> None:
    """Compute something on each of these cores until the benchmark ends."""
    for core in cores:
        command = [sys.executable, "-c", "while True: sum(range(1000))"]
        busy = subprocess.Popen(command, preexec_fn=lambda core=core: os.sched_setaffinity(0, [core]))
        keeping_busy.append(busy)


@dataclass(frozen=True)
class Spent:
    """The time of runs that began together, until the last one ended: seconds, and seconds of CPU time."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:7.1f} s ({self.cpu:.0f} CPU s)"


def seconds(folder: Path, path: Path, runs: list[tuple[str, int]]) -> float:
    """Run commands at the same time on one core; return the seconds until the last ends."""
    return spent(folder, path, runs).wall


def spent(folder: Path, path: Path, runs: list[tuple[str, int]], cores: Sequence[int] = ()) -> Spent:
    """Run commands at the same time, each (folder, workers), on these cores."""
    chosen = cores or sorted(os.sched_getaffinity(0))[:1]
    if len(chosen) < sum(workers for _, workers in runs):
        print(f"only {len(chosen)} cores: the figures mean little")
    started = time.monotonic()
    running = []
    for name, workers in runs:
        command = [helpers.COMMAND, "study", str(path), "-o", str(folder / name), "--workers", str(workers)]
        log = (folder / "log").open("a")
        running.append(
            subprocess.Popen(
                [*command, "--quiet"],
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, chosen),
            )
        )
    ended = [os.wait4(process.pid, 0) for process in running]
    if any(status for _, status, _ in ended):
        sys.exit((folder / "log").read_text()[-3000:])
    cpu = sum(usage.ru_utime + usage.ru_stime for _, _, usage in ended)
    return Spent(time.monotonic() - started, cpu)


def prepared(folder: Path, settings: int, limit: int) -> Path:
    """Write the lab's models and a study of them.

    Args:
        folder: where to write.
        settings: how many settings each combination has, an even number: of Task Arithmetic and of TIES.
        limit: items of every task.
    """
    from mergekit_finance.cli.demo import lab_study
    from mergekit_finance.lab.copy_models import copy_models
    from mergekit_finance.study.config import dump

    if not (folder / "lab").exists():
        copy_models(folder / "lab")
    values = [round(0.1 * (k + 1), 1) for k in range(max(1, settings // 2))]
    content = dump(lab_study(folder / "lab", True))
    content |= {"operators": {"task_arithmetic": {"lambda": values}, "ties": {"density": values}}}
    content |= {"limit": limit}
    (folder / "study.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "study.yml"


def intact(folder: Path, first: str, others: list[str]) -> bool:
    """Return whether folders have the same bytes, and no answer was made twice; print what is wrong."""
    expected = helpers.normal(folder / first)
    different = [name for name in others if helpers.normal(folder / name) != expected]
    repeated = {name: answers_made_twice(folder / name) for name in (first, *others)}
    print(
        f"answers made twice   {sum(repeated.values())}; different folders: {', '.join(different) or 'none'}"
    )
    return not different and not any(repeated.values())


def answers_made_twice(out: Path) -> int:
    """Return how many answers of all models are stored more than once."""
    from mergekit_finance.evaluation.answer_store import read_part

    twice = 0
    for folder in (out / "answers").glob("*-*"):
        counts = Counter(key for path in folder.glob("*.jsonl.gz") for key in read_part(path))
        twice += sum(count - 1 for count in counts.values())
    return twice


if __name__ == "__main__":
    main()
