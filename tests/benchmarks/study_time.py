"""Where the CPU time of a study goes with lm-eval's `hf` and with the default engine, as a table and as bars.

    python tests/benchmarks/study_time.py                              18 models, 5 items a task: a few minutes
    python tests/benchmarks/study_time.py --settings 4 --limit 20 --svg docs/study-time.svg

A study of the lab's models is run twice, each time in one process with one thread. All times are CPU seconds of
that process, which other programs on the machine change little; start-up begins when Python and the package are
loaded. Prints the machine and a table; --svg writes the bars.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from machine import machine
from sharing import prepared

ENGINES = {"hf": "engine: hf (before)", "auto": "engine: auto (after)"}
LEFT, WIDTH, BAR, ROW = 20, 860, 44, 92  # of the drawing, in its units
SMALL = 0.02  # of the longer study; smaller kinds of work are shown as one
NAMED = 40  # units; narrower segments have no room for their seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--settings", type=int, default=2, help="settings of each combination")
    parser.add_argument("--limit", type=int, default=5, help="items a task")
    parser.add_argument("--svg", type=Path, help="where to write the bars")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_in_cpu_time(*map(Path, arguments.run))
        return
    print(machine(), flush=True)
    spent = {}
    with tempfile.TemporaryDirectory() as name:
        path = prepared(Path(name), arguments.settings, arguments.limit)
        content = yaml.safe_load(path.read_text())
        for engine in ENGINES:
            content["evaluation"]["engine"] = engine
            path.write_text(yaml.safe_dump(content, sort_keys=False))
            command = [sys.executable, __file__, "--run", str(path), str(Path(name) / engine)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            spent[engine] = seconds_by_kind(Path(name) / engine)
            print(engine, {kind: round(seconds, 1) for kind, seconds in spent[engine].items()}, flush=True)
    if arguments.svg:
        arguments.svg.write_text(bars(spent), encoding="utf-8")


def run_in_cpu_time(study: Path, out: Path) -> None:
    """Run a study in this process, whose CPU time takes the place of the clock that times are read from."""
    time.monotonic = time.process_time  # before the modules are imported that read it
    from mergekit_finance.study.run import run_study

    run_study(study, out, device="cpu", workers=1, quiet=True)


def seconds_by_kind(out: Path) -> dict[str, float]:
    """Return the seconds of a study by kind of work."""
    from mergekit_finance.study.times import study_times

    return dict(study_times(out).seconds)


def bars(spent: Mapping[str, Mapping[str, float]]) -> str:
    """Return one bar for each engine as SVG, on one scale, with a legend."""
    from mergekit_finance.report.time_bar import COLORS, LIGHT
    from mergekit_finance.study.times import KINDS

    longest = max(sum(of.values()) for of in spent.values())
    large = [kind for kind in KINDS if any(of.get(kind, 0) >= SMALL * longest for of in spent.values())]
    colors = {**COLORS, "others": "#bbbbbb"}
    parts = []
    for number, (engine, of) in enumerate(spent.items()):
        top, x = 34 + number * ROW, float(LEFT)
        total = sum(of.values())
        parts.append(
            f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{ENGINES[engine]}: {total:.0f} CPU seconds</text>'
        )
        shown = {kind: of.get(kind, 0.0) for kind in large}
        shown["others"] = total - sum(shown.values())
        for kind, seconds in shown.items():
            width = WIDTH * seconds / longest
            parts.append(
                f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{BAR}" fill="{colors[kind]}"/>'
            )
            if width >= NAMED:
                ink = "#000" if colors[kind] in (*LIGHT, "#bbbbbb") else "#fff"
                parts.append(f'<text x="{x + 6:.1f}" y="{top + 28}" fill="{ink}">{seconds:.0f} s</text>')
            x += width
    top = 34 + len(spent) * ROW - 10
    for number, kind in enumerate([*large, "others"]):
        x, y = LEFT + (number % 3) * 290, top + (number // 3) * 24
        words = KINDS.get(kind, "everything else").partition(":")[0]
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{colors[kind]}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 12}">{words}</text>')
    height = top + (len(large) // 3 + 1) * 24 + 10
    style = '<rect width="100%" height="100%" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" font-family="sans-serif" '
    return f'{head}font-size="15">{style}{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
