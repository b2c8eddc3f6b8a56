"""How well processes share a lab study: two workers against two studies, four commands against four workers.

    python tests/benchmarks/sharing.py                     both, about an hour on 4 quiet cores
    python tests/benchmarks/sharing.py --only workers      one of the two: workers or commands
    python tests/benchmarks/sharing.py --limit 8 --small   a few minutes; too short for the bars

Workers, on 2 cores: two workers of one command must reach 0.9 of what two separate one-worker studies reach
together, a single run taking 10 minutes or more. Commands, on 4 cores: four commands with one worker each on
one folder may take 1.15 times as long as one command with four workers. Start-up, checks and statistics are in
all times. Each command is bound to its cores; nothing else may run on the machine. No answer may have been made
twice, and all folders must have the same bytes. Prints a table and exits 1 if a bar is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import study as helpers

GRID = {"task_arithmetic": {"lambda": [0.4, 0.6, 0.8]}, "ties": {"density": [0.2, 0.4, 0.6]}}  # 46 models
SMALL = {"task_arithmetic": {"lambda": [0.4, 0.6]}}  # 18 models
WORKERS, COMMANDS = 0.9, 1.15
MINUTES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--limit", type=int, default=120, help="items a task")
    parser.add_argument("--small", action="store_true", help="18 models in place of 46")
    parser.add_argument("--only", choices=["workers", "commands"])
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = prepared(folder, arguments)
        seconds(folder, path, [("warm up", 1)], 1, limit=8)  # fills the caches of the hosts
        if arguments.only != "commands":
            good &= two_workers(folder, path)
        if arguments.only != "workers":
            good &= four_commands(folder, path)
    sys.exit(0 if good else 1)


def two_workers(folder: Path, path: Path) -> bool:
    """Compare one command with two workers, and two studies with one worker each, on two cores."""
    apart = seconds(folder, path, [("a", 1), ("b", 1)], 2)
    shared = seconds(folder, path, [("two workers", 2)], 2)
    ratio = apart / (2 * shared)
    print(f"two studies apart    {apart:7.1f} s for twice the models")
    print(f"two workers          {shared:7.1f} s: {ratio:.2f} of their speed (bar {WORKERS})")
    if apart < 60 * MINUTES:
        print(f"a single run took less than {MINUTES} minutes: raise --limit")
    return ratio >= WORKERS and intact(folder, "a", ["b", "two workers"])


def four_commands(folder: Path, path: Path) -> bool:
    """Compare four commands on one folder, and one command with four workers, on four cores."""
    one = seconds(folder, path, [("four workers", 4)], 4)
    four = seconds(folder, path, [("four commands", 1)] * 4, 4)
    ratio = four / one
    print(f"one command          {one:7.1f} s with four workers")
    print(f"four commands        {four:7.1f} s: {ratio:.2f} times as long (bar {COMMANDS})")
    return ratio <= COMMANDS and intact(folder, "four workers", ["four commands"])


def seconds(
    folder: Path, path: Path, runs: list[tuple[str, int]], cores: int, limit: int | None = None
) -> float:
    """Run commands at the same time, each (folder, workers), on so many cores; return until the last ends."""
    if (available := len(os.sched_getaffinity(0))) < cores:
        print(f"only {available} of {cores} cores: the figures mean little")
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    options = ["--limit", str(limit)] if limit else []
    started = time.monotonic()
    running = []
    for name, workers in runs:
        command = [helpers.COMMAND, "study", str(path), "-o", str(folder / name), "--workers", str(workers)]
        log = (folder / "log").open("a")
        running.append(
            subprocess.Popen(
                [*command, *options, "--quiet"],
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, chosen),
            )
        )
    if any(process.wait() for process in running):
        sys.exit((folder / "log").read_text()[-3000:])
    return time.monotonic() - started


def prepared(folder: Path, arguments: argparse.Namespace) -> Path:
    """Write the lab's models and the study of them."""
    from mergekit_finance.cli.demo import lab_study
    from mergekit_finance.lab.copy_models import copy_models
    from mergekit_finance.study.config import dump

    copy_models(folder / "lab")
    content = dump(lab_study(folder / "lab", True))
    content |= {"operators": SMALL if arguments.small else GRID, "limit": arguments.limit}
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
    from mergekit_finance.evaluation.answers import read_part

    twice = 0
    for folder in (out / "answers").glob("*-*"):
        counts = Counter(key for path in folder.glob("*.jsonl.gz") for key in read_part(path))
        twice += sum(count - 1 for count in counts.values())
    return twice


if __name__ == "__main__":
    main()
