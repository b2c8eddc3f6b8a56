"""Four commands on one folder, each killed at random moments and started again; exits 1 on any difference.

    python tests/benchmarks/kill_commands.py                       10 kills
    python tests/benchmarks/kill_commands.py --kills 30 --seed 7 --workers 2

A kill is `kill -9` of one command with all its processes, or of one of its worker processes (with two workers
or more). After the last kill the commands run to their end. All files but timings must have the bytes of an
undisturbed run, no answer may be stored twice, no stored model may have been evaluated again, and neither
claims nor temporary files may be left.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from helpers import study as helpers
from kill_study import MODELS, prepared
from machine import machine
from sharing import answers_made_twice

COMMANDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--limit", type=int, default=12, help="items a task")
    parser.add_argument(
        "--pause", type=float, default=20.0, help="longest time between two kills, in seconds"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = prepared(folder, arguments.limit)
        helpers.finish(path, folder / "whole", folder / "log whole", "--workers", 1)
        good = disturbed(folder, path, arguments, draw)
    sys.exit(0 if good else 1)


def disturbed(folder: Path, path: Path, arguments: argparse.Namespace, draw: random.Random) -> bool:
    """Run four commands, kill and restart them, and compare."""
    out = folder / "out"
    running = [start(folder, path, k, arguments.workers) for k in range(COMMANDS)]
    stored: dict[str, bytes] = {}
    again = 0
    for kill in range(arguments.kills):
        time.sleep(draw.uniform(0.2, arguments.pause))
        k = draw.randrange(COMMANDS)
        killed = kill_one(running[k], draw)
        now = helpers.stamps(out)
        again += sum(now.get(model) != stamp for model, stamp in stored.items())
        stored = now
        print(f"kill {kill + 1}: command {k + 1}, {killed}; {len(now)} of {MODELS} models stored", flush=True)
        if running[k].poll() is not None:
            running[k] = start(folder, path, k, arguments.workers)
    codes = [process.wait() for process in running]
    final = helpers.stamps(out)
    again += sum(final.get(model) != stamp for model, stamp in stored.items())
    same = helpers.normal(out) == helpers.normal(folder / "whole")
    twice, left = answers_made_twice(out), helpers.leftovers(out)
    print(f"exit codes {codes}, same bytes: {same}, models evaluated again: {again}")
    print(f"answers stored twice: {twice}, left behind: {left or 'nothing'}")
    return not any(codes) and same and not again and not twice and not left and len(final) == MODELS


def start(folder: Path, path: Path, number: int, workers: int) -> "subprocess.Popen[bytes]":
    return helpers.start(path, folder / "out", folder / f"log {number}", "--workers", workers)


def kill_one(process: "subprocess.Popen[bytes]", draw: random.Random) -> str:
    """Kill a command with its processes, or one of them; return what was killed."""
    family = sorted(helpers.children(process.pid))
    if process.poll() is not None:
        return "had ended"
    workers = [pid for pid in family if pid != process.pid and "spawn_main" in command_line(pid)]
    if workers and draw.random() < 0.5:
        os.kill(draw.choice(workers), signal.SIGKILL)
        return "a worker"
    helpers.kill(process)
    return "all of it"


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
