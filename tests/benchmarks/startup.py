"""Measure the time of the start-up hook: `python -c pass` with and without it, interleaved.

python tests/benchmarks/startup.py [pairs]
"""

import os
import statistics
import subprocess
import sys
import time

PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 200


def once(switch: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "pass"], env={**os.environ, "MERGEKIT_FINANCE_AUTOLOAD": switch}, check=True
    )
    return 1000 * (time.perf_counter() - start)


def imported() -> float:
    """The start-up module's own time in ms, from -X importtime."""
    text = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, text=True
    ).stderr
    line = next(x for x in text.splitlines() if "_mergekit_finance_autoload" in x)
    return int(line.split("|")[0].split(":")[1]) / 1000


pairs = [(once("1"), once("0")) for _ in range(PAIRS)]
on, off = (statistics.median(p[i] for p in pairs) for i in (0, 1))
print(f"python -c pass, medians of {PAIRS} interleaved pairs:")
print(f"with the hook {on:.2f} ms, switched off {off:.2f} ms, difference {on - off:+.2f} ms (bar: 2 ms)")
print(f"import of the module itself {statistics.median(imported() for _ in range(20)):.2f} ms")
