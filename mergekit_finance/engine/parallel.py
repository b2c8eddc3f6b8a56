"""Blocks of flat tensors, on workers whose torch is single-threaded.

An operation that torch splits over its own threads ends when the slowest is done, every 50 microseconds
if blocks are to stay in a core's cache: on a busy machine, that waiting costs more than the work. Workers
meet only at the interpreter's lock. Counting and selecting (`each`) go to as many of them as torch has
threads, with blocks so wide that they seldom meet. Arithmetic (`spread`) is dozens of short operations, and
two hardware threads of one core do it no faster than one: it goes to half as many. Measured with
tests/benchmarks/engine.py. No result depends on threads or block sizes.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

BLOCK = 1 << 16  # elements, a power of two: half a dozen float32 buffers of it fit a core's L2 cache
WIDE = 1 << 18  # elements, a power of two: where workers meet at the lock, they should seldom
Result = TypeVar("Result")
_local = threading.local()


def block() -> int:
    """Elements of a block of `spread`."""
    return BLOCK if _half() == 1 else WIDE


def blocks(count: int, size: int) -> list[tuple[int, int]]:
    """[start, stop) of the blocks of `count` elements."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def each(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """`work(start, stop)` for every block of WIDE, in any order and on any thread; results in order."""
    return _run(blocks(count, WIDE), work, torch.get_num_threads())


def spread(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """The same for blocks of `block()`, on half of the threads."""
    return _run(blocks(count, block()), work, _half())


def _half() -> int:
    return max(1, torch.get_num_threads() // 2)


def _run(items: list[tuple[int, int]], work: Callable[[int, int], Result], threads: int) -> list[Result]:
    if torch.get_num_threads() == 1:  # already a worker, or told to be alone
        with torch.no_grad():
            return [work(*item) for item in items]
    results: list[Result | None] = [None] * len(items)
    positions = itertools.count()

    def drain() -> None:
        with torch.no_grad():
            while (position := next(positions)) < len(items):
                results[position] = work(*items[position])

    futures = [_pool(threads).submit(drain) for _ in range(min(threads, len(items)))]
    for future in futures:
        future.result()
    return results  # type: ignore[return-value]


def buffers(count: int, size: int) -> list[torch.Tensor]:
    """float32 work space of this thread, `size` elements each, with whatever was left in it."""
    kept: list[torch.Tensor] = getattr(_local, "buffers", [])
    if kept and kept[0].numel() < size:
        kept = []
    width = max(size, kept[0].numel() if kept else 0)
    kept += [torch.empty(width, device="cpu") for _ in range(count - len(kept))]
    _local.buffers = kept
    return [buffer[:size] for buffer in kept[:count]]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Workers whose torch is single-threaded; the caller's setting stays as it is."""
    pool = ThreadPoolExecutor(threads, "merge-engine", initializer=_become_worker)
    before = torch.get_num_threads()
    started = threading.Barrier(threads)
    for future in [pool.submit(started.wait) for _ in range(threads)]:
        future.result()
    # A thread's setting is also the default of threads to come: put that back.
    torch.set_num_threads(before)
    return pool


def _become_worker() -> None:
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
