"""The lab's whole study with `engine: auto` and with `engine: hf`, side by side: auto must be 1.5 times as fast.

    python tests/benchmarks/demo_engines.py                  the study of `demo --full`: about an hour on 2 cores
    python tests/benchmarks/demo_engines.py --short          that of `demo`, 11 models; too short for the bar
    python tests/benchmarks/demo_engines.py --cores 4        each command on 4 cores  [default: half of all]
    python tests/benchmarks/demo_engines.py --out FOLDER     keep both studies in FOLDER/hf and FOLDER/auto

Both commands run at the same time, each on cores of its own, with a worker a core. Start-up, checks and
statistics are in the times. While the slower one ends, nothing runs beside it, which favors it. Prints the
machine, the ratio, where the time of each went, and how many items of all models have another score; exits 1 if
the bar is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from helpers import study as helpers
from machine import machine

from mergekit_finance.study.times import in_words, study_times

BAR = 1.5
ENGINES = ("hf", "auto")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one setting of each combination")
    parser.add_argument("--limit", type=int, help="items a task  [default: the study's, 32]")
    parser.add_argument("--cores", type=int, help="cores of each command")
    parser.add_argument("--out", type=Path, help="a new folder  [default: a temporary one]")
    arguments = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    count = arguments.cores or max(1, len(available) // 2)
    if len(available) < 2 * count:
        sys.exit(f"{2 * count} cores are needed, there are {len(available)}")
    print(f"{machine()}; {count} cores for each command", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.out or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        spent = side_by_side(folder, arguments, [available[:count], available[count : 2 * count]])
        for engine in ENGINES:
            print(f"engine {engine:<5} {in_words(study_times(folder / engine))}")
        print(differences(*(folder / engine for engine in ENGINES)))
    ratio = spent["hf"] / spent["auto"]
    print(f"engine auto is {ratio:.2f} times as fast as hf (bar {BAR})")
    sys.exit(0 if ratio >= BAR else 1)


def side_by_side(folder: Path, arguments: argparse.Namespace, cores: list[list[int]]) -> dict[str, float]:
    """Run both studies at the same time; return the seconds of each."""
    started, running, spent = time.monotonic(), {}, {}
    for engine, own in zip(ENGINES, cores, strict=True):
        path = prepared(folder, arguments, engine)
        command = [helpers.COMMAND, "study", str(path), "-o", str(folder / engine), "--device", "cpu"]
        running[engine] = start(
            [*command, "--workers", str(len(own)), "--quiet"], own, folder / f"{engine}.log"
        )
    while running:
        time.sleep(0.2)
        for engine in [one for one, process in running.items() if process.poll() is not None]:
            spent[engine] = time.monotonic() - started
            print(f"engine {engine:<5} {spent[engine]:8.1f} s", flush=True)
            if running.pop(engine).returncode:
                for process in running.values():
                    process.terminate()
                sys.exit((folder / f"{engine}.log").read_text()[-3000:])
    return spent


def start(command: list[str], cores: Sequence[int], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )


def prepared(folder: Path, arguments: argparse.Namespace, engine: str) -> Path:
    """Write the lab's models and the study of the demo with this engine."""
    from mergekit_finance.cli.demo import lab_study
    from mergekit_finance.lab.copy_models import copy_models
    from mergekit_finance.study.config import dump

    if not (folder / "lab").exists():
        copy_models(folder / "lab")
    content = dump(lab_study(folder / "lab", not arguments.short))
    content["evaluation"] = {**content["evaluation"], "engine": engine}
    content |= {"limit": arguments.limit} if arguments.limit else {}
    path = folder / f"{engine}.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def differences(first: Path, second: Path) -> str:
    """Return in words how many items of all models have another score in two studies."""
    different = total = 0
    one, other = scores(first), scores(second)
    for key, values in one.items():
        total += len(values)
        different += sum(x != y for x, y in zip(values, other[key], strict=True))
    return f"items with another score: {different} of {total} ({100 * different / total:.2f} %)"


def scores(out: Path) -> dict[tuple[str, str], list[float]]:
    """Return the scores of all items by model and task."""
    index = json.loads((out / "index.json").read_text())
    folders = {name: entry["folder"] for name, entry in index["models"].items()}
    folders |= {entry["name"]: entry["folder"] for entry in index["points"]}
    return {
        (name, task): columns["score"]
        for name, folder in folders.items()
        for task, columns in json.loads((out / "points" / folder / "scores.json").read_text()).items()
    }


if __name__ == "__main__":
    main()
