"""Run a function over blocks of a flat tensor, on as many workers as torch has threads.

In each worker, torch uses a single thread. If torch split each operation over its threads, every operation
would wait for the slowest one; an operation on a block in the cache takes 50 microseconds, and on a busy
machine the waiting would take longer. Workers share only the interpreter's lock, which they need less often
for larger blocks. No result depends on threads or block sizes.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

ALONE = 1 << 16  # smallest block with several workers, in elements; a power of two
# Largest block, in elements; a power of two. Six float32 buffers of this size fit in the L3 cache. For
# smaller blocks, calls and waiting for the interpreter's lock would cost more time than the L2 cache saves.
SHARED = 1 << 18
Result = TypeVar("Result")
_local = threading.local()


def block_size(count: int) -> int:
    """Return the number of elements per block for `count` elements. Must not be called by a worker."""
    if torch.get_num_threads() == 1:
        return SHARED
    fair = count // (2 * torch.get_num_threads())  # so that workers end at about the same time
    return min(SHARED, max(ALONE, 1 << fair.bit_length() >> 1))  # a power of two, at most `fair`


def each(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """Return the results of `work(start, stop)` for every block of `count` elements, run on any thread."""
    width = block_size(count)
    items = [(start, min(start + width, count)) for start in range(0, count, width)]
    threads = 1 if getattr(_local, "worker", False) else min(torch.get_num_threads(), len(items))
    if threads <= 1 and (torch.get_num_threads() == 1 or not items):
        with torch.no_grad():
            return [work(*item) for item in items]
    results: dict[int, Result] = {}
    positions = itertools.count()

    def drain() -> None:
        with torch.no_grad():
            while (position := next(positions)) < len(items):
                results[position] = work(*items[position])

    for future in [_pool(torch.get_num_threads()).submit(drain) for _ in range(threads)]:
        future.result()
    return [results[position] for position in range(len(items))]


def single_threaded(work: Callable[[], Result]) -> Result:
    """Call `work()` while torch uses one thread, and return its result.

    If other processes use the cores, torch's threads wait for each other a hundred times longer than a short
    operation takes.
    """
    if getattr(_local, "worker", False) or torch.get_num_threads() == 1:
        return work()
    return _pool(torch.get_num_threads()).submit(work).result()


def buffers(count: int, size: int) -> list[torch.Tensor]:
    """Return float32 scratch tensors of this thread: `count` of `size` elements, with arbitrary content.

    The next call in this thread returns the same memory.
    """
    scratch: list[torch.Tensor] = getattr(_local, "buffers", [])
    if scratch and scratch[0].numel() < size:
        scratch = []
    width = max(size, scratch[0].numel() if scratch else 0)
    scratch += [torch.empty(width, device="cpu") for _ in range(count - len(scratch))]
    _local.buffers = scratch
    return [buffer[:size] for buffer in scratch[:count]]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return workers in which torch uses one thread; the caller's setting does not change."""
    pool = ThreadPoolExecutor(threads, "merge-engine", initializer=_init_worker)
    before = torch.get_num_threads()
    started = threading.Barrier(threads)
    for future in [pool.submit(started.wait) for _ in range(threads)]:
        future.result()
    # The setting of a thread also becomes the default of threads that start later, so it is restored.
    torch.set_num_threads(before)
    return pool


def _init_worker() -> None:
    _local.worker = True
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first call in a thread sets its number to the default, which is 1 only now


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
