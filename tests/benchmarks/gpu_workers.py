"""Time a study with different numbers of worker processes per GPU; the default must be within 10 % of the best.

    python tests/benchmarks/gpu_workers.py study.yml                    1, 2, 3, 4 and 6 workers, and the default
    python tests/benchmarks/gpu_workers.py study.yml --workers 1 2 --limit 20 --device cuda:0

STUDY.YML names models that are on this machine, and has four models or more for each of the workers. Every run
evaluates all of it in a folder of its own. Prints the machine and a table:

    models/min   in steady state: from the time when each worker has stored a model, which pays its start-up and
                 captures, to the time when the first of them has nothing left to take
    whole        seconds of the command, start-up, checks and statistics included
    memory       the most of the GPU's memory that all its processes used, in GiB; `planned` beside it is what
                 the default reckons with

Exits 1 if the default's models per minute are less than 1 / 1.1 of the best.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from helpers import study as helpers
from machine import machine

BAR = 1.1
GIB = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4, 6])
    parser.add_argument("--limit", type=int, help="items a task")
    parser.add_argument("--device", default="cuda:0")
    arguments = parser.parse_args()
    default, planned = reckoned(arguments.study, arguments.device)
    print(machine(arguments.device), f"default {default} workers", sep="\n", flush=True)
    print("workers   models/min     whole    memory   planned", flush=True)
    speeds = {}
    for workers in dict.fromkeys([default, *arguments.workers]):
        with tempfile.TemporaryDirectory() as out:
            whole, memory = run(arguments, Path(out), workers)
            speeds[workers] = steady(stored_at(Path(out)), workers)
        print(
            f"{workers:7d}  {speeds[workers]:11.2f}  {whole:6.1f} s  {memory:8.1f}  {workers * planned:8.1f}",
            flush=True,
        )
    ratio = max(speeds.values()) / speeds[default]
    print(f"the best number of workers is {ratio:.2f} times as fast as the default (bar {BAR})")
    sys.exit(0 if ratio <= BAR else 1)


def reckoned(study: str, device: str) -> tuple[int, float]:
    """Return the default number of workers on a device, and the GiB that it reckons with for each."""
    from mergekit_finance.study.config import load_study
    from mergekit_finance.study.run import StudyRun

    checked = load_study(study).model_copy(update={"workers": None})
    run = StudyRun(checked, Path("unused"), device, quiet=True)
    return len(run.executor.devices(run.worker)), run.executor.need.total / GIB


def run(arguments: argparse.Namespace, out: Path, workers: int) -> tuple[float, float]:
    """Run the study with so many workers. Returns its seconds, and the most GiB of the GPU that were used."""
    command = [helpers.COMMAND, "study", arguments.study, "-o", str(out), "--device", arguments.device]
    command += ["--workers", str(workers), "--quiet"]
    command += ["--limit", str(arguments.limit)] if arguments.limit else []
    started = time.monotonic()
    with most_memory(arguments.device) as used:
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.monotonic() - started, max(used, default=0.0)


@contextmanager
def most_memory(device: str) -> Iterator[list[float]]:
    """Yield a list to which the used GiB of a GPU are appended every second; of other devices none."""
    used: list[float] = []
    ended = threading.Event()
    number = device.partition(":")[2] or "0"
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", f"--id={number}"]

    def watch() -> None:
        while device.startswith("cuda") and not ended.wait(1.0):
            done = subprocess.run(query, capture_output=True, text=True)
            used.append(float(done.stdout) / 1024 if done.returncode == 0 else 0.0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield used
    finally:
        ended.set()
        thread.join()


def stored_at(out: Path) -> list[float]:
    """Return when each model was stored, in order."""
    return sorted(path.stat().st_mtime for path in out.glob("points/[!.]*/timings.json"))


def steady(times: list[float], workers: int) -> float:
    """Return models per minute after the first and before the last of each worker."""
    if len(times) < 3 * workers + 1:
        sys.exit(f"{len(times)} models are too few for {workers} workers: use {4 * workers} or more")
    first, last = times[workers - 1], times[-workers - 1]
    return 60 * (len(times) - 2 * workers) / (last - first)


if __name__ == "__main__":
    main()
