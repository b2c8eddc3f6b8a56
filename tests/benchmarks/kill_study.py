"""`kill -9` at moments spread over a lab study, each time resumed; prints a table and exits 1 on any difference.

    python tests/benchmarks/kill_study.py                   20 moments, one worker
    python tests/benchmarks/kill_study.py --moments 4 --workers 2
    python tests/benchmarks/kill_study.py --jobs 5          five kills side by side, on a machine with cores to spare

The study has 12 points of the 18 tasks on the lab's trained models. A moment is a share of the measured
duration of an undisturbed run, start-up of the hosts included; that run is the second of two (the first
fills the caches), and must have the first one's bytes. After each resume all files but timings must have the
undisturbed run's bytes, and what was stored at the kill must have kept its timings: none was made twice.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import study as helpers

GRID = {"task_arithmetic": {"lambda": [0.4, 0.6]}, "ties": {"density": [0.2, 0.6]}}  # 4 of 3 combinations: 12
MODELS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--limit", type=int, default=12, help="items a task")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = prepared(folder, arguments.limit)
        duration = undisturbed(folder, path, arguments.workers)
        print("killed at   stored then   workers died   same bytes   made twice", flush=True)
        moments = [(k + 0.5) / arguments.moments for k in range(arguments.moments)]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            good = list(pool.map(lambda m: one(folder, path, duration * m, arguments.workers), moments))
    print(f"{sum(good)} of {len(good)} as undisturbed")
    sys.exit(0 if all(good) else 1)


def prepared(folder: Path, limit: int) -> Path:
    """The lab's models and the study of them."""
    from mergekit_finance.lab.copy_models import copy_models

    copy_models(folder / "lab")
    evaluation = {"batch_size": 32, "max_gen_toks": 32}
    return helpers.write(
        folder / "study.yml",
        folder / "lab",
        operators=GRID,
        tasks=["finance_bench"],
        limit=limit,
        evaluation=evaluation,
    )


def undisturbed(folder: Path, path: Path, workers: int) -> float:
    """Two whole runs; the second one's duration."""
    for name in ("first", "whole"):
        started = time.monotonic()
        helpers.finish(path, folder / name, folder / "log", "--workers", workers)
        duration = time.monotonic() - started
        print(f"undisturbed: {duration:.1f} s", flush=True)
    if helpers.normal(folder / "first") != helpers.normal(folder / "whole"):
        sys.exit("two undisturbed runs differ")
    return duration


def one(folder: Path, path: Path, moment: float, workers: int) -> bool:
    """Kill at a moment, resume, compare, print a row."""
    out, log = folder / f"killed {moment:.2f}", folder / f"log {moment:.2f}"
    process = helpers.start(path, out, log, "--workers", workers)
    time.sleep(moment)
    died = helpers.kill(process)
    before = helpers.stamps(out)
    helpers.finish(path, out, log, "--workers", workers)
    after = helpers.stamps(out)
    twice = sum(after.get(name) != stamp for name, stamp in before.items())
    same = helpers.normal(out) == helpers.normal(folder / "whole") and len(after) == MODELS
    row = (f"{moment:.1f} s", f"{len(before)} of {MODELS}", f"{died:.2f} s", "yes" if same else "NO", twice)
    print("{:<11} {:<13} {:<14} {:<12} {}".format(*row), flush=True)
    return same and not twice


if __name__ == "__main__":
    main()
