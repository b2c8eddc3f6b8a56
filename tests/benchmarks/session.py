"""Twenty sweep points through MergeSession against twenty `mergekit-yaml` runs.

python tests/benchmarks/session.py [--runs 3] [--models FOLDER]

The models are those of merge_vs_mergekit.py. The points: ten lambda of Task Arithmetic and ten densities
of TIES, paper semantics, one session each. The session is measured whole: opening, checking, the live
model, ranking and all points (with and without the interpreter's imports). Twenty runs of mergekit-yaml
are NOT made: `--runs` of each operator are, with our methods and with mergekit's own, and their median
times ten is what is compared with.
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
    """In a process of its own, in the models' folder: prints seconds of opening and of the points."""
    import mergekit_finance.engine.opening  # noqa: F401  everything imported before the clock starts
    from mergekit_finance.engine.session import MergeSession

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


def measure(folder: Path, runs: int) -> None:
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, __file__, "--child"], cwd=folder, capture_output=True, text=True, check=True
    )
    whole = time.perf_counter() - start
    inside = 0.0
    for method, line in zip(OPERATORS, child.stdout.splitlines(), strict=True):
        opened, prepared, points = map(float, line.split())
        inside += opened + prepared + points
        print(f"{method}: open {opened:.1f} s, prepare {prepared:.1f} s, ten points {points:.1f} s")
    print(f"the session {inside:.1f} s, its process with imports {whole:.1f} s")
    print(
        f"{'mergekit-yaml':18}{'TA':>8}{'TIES':>8}{'twenty':>9}{'/ session':>16}{'/ its process':>16}{'bar':>6}"
    )
    for label, methods in (("our methods", OPERATORS), ("mergekit's own", OPERATORS.values())):
        medians = []
        for method in methods:
            extra = {"semantics": "paper"} if method.startswith("cpt_") else {}
            medians.append(statistics.median(run(folder, recipe(method, **extra))[0] for _ in range(runs)))
        total, bar = 10 * sum(medians), "20" if methods is not OPERATORS else "-"
        print(
            f"{label:18}{medians[0]:>8.1f}{medians[1]:>8.1f}{total:>9.0f}{total / inside:>16.1f}"
            f"{total / whole:>16.1f}{bar:>6}",
            flush=True,
        )


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
