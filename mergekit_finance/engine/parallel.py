"""Runs a function over blocks of a flat tensor, on as many workers as torch has threads.

Each worker's torch has a single thread. If torch split each operation over its own threads, every operation
would wait for the slowest of them: for operations of 50 microseconds, the size of a block in the cache, that
waiting costs more than the work on a busy machine. Workers only share the interpreter's lock, and the wider
the blocks, the less often they need it. No result depends on threads or block sizes.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

ALONE = 1 << 16  # smallest block of several workers; elements, a power of two
# Largest block; elements, a power of two. Half a dozen float32 buffers of it fit the L3 cache; in smaller
# blocks, calls and waiting for the interpreter's lock cost more than the L2 cache saves.
SHARED = 1 << 18
Result = TypeVar("Result")
_local = threading.local()


def block_size(count: int) -> int:
    """Return the elements of a block when `count` are processed. Not to be called by a worker."""
    if torch.get_num_threads() == 1:
        return SHARED
    fair = count // (2 * torch.get_num_threads())  # so that workers end at about the same time
    return min(SHARED, max(ALONE, 1 << fair.bit_length() >> 1))  # a power of two, at most `fair`


def each(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """Call `work(start, stop)` for every block of `count` elements, on any thread; results are in order."""
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
    """Call `work()` with a torch of one thread.

    Where other processes compete for the cores, torch's threads wait for each other a hundred times longer
    than a short operation takes.
    """
    if getattr(_local, "worker", False) or torch.get_num_threads() == 1:
        return work()
    return _pool(torch.get_num_threads()).submit(work).result()


def buffers(count: int, size: int) -> list[torch.Tensor]:
    """Return float32 scratch tensors of this thread: `count` of `size` elements, with arbitrary content.

    The next call returns the same memory.
    """
    kept: list[torch.Tensor] = getattr(_local, "buffers", [])
    if kept and kept[0].numel() < size:
        kept = []
    width = max(size, kept[0].numel() if kept else 0)
    kept += [torch.empty(width, device="cpu") for _ in range(count - len(kept))]
    _local.buffers = kept
    return [buffer[:size] for buffer in kept[:count]]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return workers whose torch is single-threaded; the caller's setting stays as it is."""
    pool = ThreadPoolExecutor(threads, "merge-engine", initializer=_init_worker)
    before = torch.get_num_threads()
    started = threading.Barrier(threads)
    for future in [pool.submit(started.wait) for _ in range(threads)]:
        future.result()
    # A thread's setting also becomes the default of threads that start later: restore that.
    torch.set_num_threads(before)
    return pool


def _init_worker() -> None:
    _local.worker = True
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread's first call sets its number to the default, which is 1 only now


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
