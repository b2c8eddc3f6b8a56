"""Blocks of flat tensors, on all threads that torch may use.

Arithmetic goes block by block on the caller's thread (`in_turn`), each operation split by torch over its
own threads: a block has BLOCK elements for each of them, so that what an operation leaves is still in a
core's cache when the next one comes. Counting and selecting are not split by torch or NumPy: whole blocks
go to workers (`each`), whose torch is single-threaded. No result depends on threads or block sizes.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

BLOCK = 1 << 17  # elements a thread; a power of two, as masks need
LARGEST = 1 << 20  # elements of a block: bounds the work space
WIDE = 1 << 18  # elements of a worker's block: fewer meetings at the interpreter's lock
Result = TypeVar("Result")
_local = threading.local()


def block() -> int:
    """Elements of a block of `in_turn` for the threads that torch has now."""
    threads = 1 << (torch.get_num_threads() - 1).bit_length()
    return max(BLOCK, min(BLOCK * threads, LARGEST))


def blocks(count: int, size: int) -> list[tuple[int, int]]:
    """[start, stop) of the blocks of `count` elements."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def in_turn(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """`work(start, stop)` for every block, one after the other."""
    with torch.no_grad():
        return [work(start, stop) for start, stop in blocks(count, block())]


def each(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """`work(start, stop)` for every block of WIDE, in any order and on any thread; results in order."""
    items = blocks(count, WIDE)
    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1 or getattr(_local, "worker", False):
        with torch.no_grad():
            return [work(*item) for item in items]
    results: list[Result | None] = [None] * len(items)
    positions = itertools.count()

    def drain() -> None:
        with torch.no_grad():
            while (position := next(positions)) < len(items):
                results[position] = work(*items[position])

    for future in [_pool(threads).submit(drain) for _ in range(threads)]:
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


@lru_cache(maxsize=2)
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
    _local.worker = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
