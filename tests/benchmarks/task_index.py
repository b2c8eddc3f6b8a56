"""Measure the time of the task index: `TaskManager(include_defaults=False)` with our tasks in it.

python tests/benchmarks/task_index.py [runs]
"""

import statistics
import sys
import time

from lm_eval.tasks import TaskManager

from mergekit_finance import registration

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
BAR = 150


def once() -> float:
    start = time.perf_counter()
    manager = TaskManager(include_defaults=False)
    assert "finance_bench" in manager.all_groups
    return 1000 * (time.perf_counter() - start)


registration.register()
first, *times = [once() for _ in range(RUNS + 1)]
print(
    f"TaskManager(include_defaults=False): first {first:.1f} ms, "
    f"then median of {RUNS} {statistics.median(times):.1f} ms, worst {max(times):.1f} ms (bar: {BAR} ms)"
)
