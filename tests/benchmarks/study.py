"""Measure the share of a lab study that is neither evaluation nor merging; the limit is 5 %.

    python tests/benchmarks/study.py                 one worker, a few points, 60 items a task
    python tests/benchmarks/study.py --workers 2 --limit 120
    python tests/benchmarks/study.py --full          all 210 points of recipes/lab/study.yml

The share is 1 - (merge + evaluate) / (workers x wall), sums from OUT/timings.json: with start-up (the whole
command, hosts imported in every worker) and without (from the first model on to summary.json; with several
workers their own imports are still in it).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import study as helpers

SMALL = {"task_arithmetic": {"lambda": [0.4, 0.6, 0.8]}, "ties": {"density": [0.2, 0.4, 0.6]}}
BAR = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--limit", type=int, help="items a task  [default: 60; with --full the recipe's]")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        command, out = prepared(Path(name), arguments)
        started = time.monotonic()
        subprocess.run(command, check=True, env=os.environ | {"TQDM_DISABLE": "1"})
        show(json.loads((out / "timings.json").read_text()), time.monotonic() - started, arguments.workers)


def prepared(folder: Path, arguments: argparse.Namespace) -> tuple[list[str], Path]:
    """The lab, a study of it, and the command that runs it."""
    from mergekit_finance.cli.demo import lab_study
    from mergekit_finance.lab.copy_models import copy_models
    from mergekit_finance.study.config import dump

    copy_models(folder / "lab")
    content = dump(lab_study(folder / "lab", True, arguments.workers))
    if not arguments.full:
        content |= {"operators": SMALL, "limit": 60}
    if arguments.limit:
        content["limit"] = arguments.limit
    (folder / "study.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return [helpers.COMMAND, "study", str(folder / "study.yml"), "-o", str(folder / "out")], folder / "out"


def show(spent: dict[str, float], whole: float, workers: int) -> None:
    used = spent["merge"] + spent["evaluate"]
    print(f"\nmerge {spent['merge']:.1f} s, evaluate {spent['evaluate']:.1f} s, {workers} workers")
    for label, wall in (("with start-up", whole), ("without", spent["wall_of_last_run"])):
        share = 1 - used / (workers * wall)
        print(f"{label:<14} wall {wall:7.1f} s, other work {100 * share:5.1f} % (bar {100 * BAR:.0f} %)")


if __name__ == "__main__":
    main()
