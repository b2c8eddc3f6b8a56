"""Time a study with different numbers of worker processes per GPU; the default must be within 10 % of the best.

    python tests/benchmarks/gpu_workers.py study.yml                    1, 2, 3, 4 and 6 workers, and the default
    python tests/benchmarks/gpu_workers.py study.yml --workers 1 2 --limit 20 --device cuda:0

STUDY.YML names models that are on this machine. Every run evaluates all of it in a folder of its own, start-up
included. Prints the machine and a table; exits 1 if the default takes more than 1.1 times as long as the best.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from helpers import study as helpers
from machine import machine

BAR = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4, 6])
    parser.add_argument("--limit", type=int, help="items a task")
    parser.add_argument("--device", default="cuda:0")
    arguments = parser.parse_args()
    options = ["--device", arguments.device, "--quiet"]
    options += ["--limit", str(arguments.limit)] if arguments.limit else []
    print(machine(arguments.device), flush=True)
    spent = {}
    for workers in ["default", *arguments.workers]:
        chosen = [] if workers == "default" else ["--workers", str(workers)]
        spent[workers] = seconds([helpers.COMMAND, "study", arguments.study, *options, *chosen])
        print(f"workers {workers!s:<8} {spent[workers]:7.1f} s", flush=True)
    ratio = spent["default"] / min(spent.values())
    print(f"the default takes {ratio:.2f} times as long as the best (bar {BAR})")
    sys.exit(0 if ratio <= BAR else 1)


def seconds(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as out:
        started = time.monotonic()
        done = subprocess.run([*command, "-o", out], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        return time.monotonic() - started


if __name__ == "__main__":
    main()
