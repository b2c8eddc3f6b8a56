"""Twenty sweep points through MergeSession against twenty `mergekit-yaml` runs.

python tests/benchmarks/session.py [--runs 3] [--models FOLDER]

The models are those of merge_vs_mergekit.py. The points: ten lambda of Task Arithmetic and ten densities
of TIES, paper semantics, one session each. The session is measured whole: opening, checking, the live
model, ranking and all points (with and without the imports). mergekit-yaml is not run twenty times: in each of
`--runs` rounds, one session and one run of each operator are timed, with our methods and with mergekit's own.
Medians are compared, those of the runs times ten.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from merge_vs_mergekit import make_models, recipe, run

LAMBDAS = [round(0.1 * i, 1) for i in range(1, 11)]
OPERATORS = {"cpt_task_arithmetic": "task_arithmetic", "cpt_ties": "ties"}


def sweep() -> None:
    """Print the seconds of opening and of the points. Runs in a separate process, in the models' folder."""
    from mergekit_finance.merging.session import MergeSession  # imports everything before the clock starts

    for method in OPERATORS:
        start = time.perf_counter()
        with MergeSession.open(recipe(method, semantics="paper"), merged=False) as session:
            opened = time.perf_counter()
            if method == "cpt_ties":
                session.prepare(density=LAMBDAS)
            prepared = time.perf_counter()
            for value in LAMBDAS:
                session.apply(**({"lambda_": value} if "task" in method else {"density": value}))
            done = time.perf_counter()
        print(opened - start, prepared - opened, done - prepared, flush=True)


def child(folder: Path) -> tuple[float, float]:
    """Return the seconds of both sweeps, and those of their process, imports included."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--child"], cwd=folder, capture_output=True, text=True, check=True
    )
    whole, inside = time.perf_counter() - start, 0.0
    for method, line in zip(OPERATORS, done.stdout.splitlines(), strict=True):
        opened, prepared, points = map(float, line.split())
        inside += opened + prepared + points
        print(
            f"{method}: open {opened:.1f} s, prepare {prepared:.1f} s, ten points {points:.1f} s", flush=True
        )
    return inside, whole


def one_each(folder: Path) -> dict[str, float]:
    """Run one round: the session, and mergekit-yaml once for each operator, our method and mergekit's."""
    inside, whole = child(folder)
    times = {"session": inside, "process": whole}
    for ours, theirs in OPERATORS.items():
        times[ours] = run(folder, recipe(ours, semantics="paper"))[0]
        times[theirs] = run(folder, recipe(theirs))[0]
    return times


def measure(folder: Path, runs: int) -> None:
    rounds = [one_each(folder) for _ in range(runs)]
    median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    print(f"medians of {runs} interleaved rounds: the session {median['session']:.1f} s, its process with "
          f"imports {median['process']:.1f} s")  # fmt: skip
    print(
        f"{'mergekit-yaml':18}{'TA':>8}{'TIES':>8}{'twenty':>9}{'/ session':>12}{'/ process':>12}{'bar':>6}"
    )
    for label, methods, bar in (
        ("our methods", OPERATORS, "-"),
        ("mergekit's own", OPERATORS.values(), "20"),
    ):
        each = [median[method] for method in methods]
        total = 10 * sum(each)
        ratios = f"{total / median['session']:>12.1f}{total / median['process']:>12.1f}"
        print(f"{label:18}{each[0]:>8.1f}{each[1]:>8.1f}{total:>9.0f}{ratios}{bar:>6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.models or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_models(folder)
        measure(folder, options.runs)


if __name__ == "__main__":
    sweep() if sys.argv[1:2] == ["--child"] else main()
