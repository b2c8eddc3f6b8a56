"""Blocks of flat tensors, on as many workers as torch has threads, each with a torch of one thread.

An operation that torch splits over its own threads ends when the slowest is done: for operations of 50
microseconds, which is what blocks in a cache come to, a busy machine makes that waiting cost more than the
work. Workers meet only at the interpreter's lock, the less often the wider their blocks. No result depends
on threads or block sizes.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch

ALONE = 1 << 16  # elements, a power of two: the least that a worker is called for
SHARED = 1 << 18  # elements, a power of two: half a dozen float32 buffers of it fit the L3 cache; calls and
# waiting at the interpreter's lock cost more in smaller blocks than the L2 cache saves
Result = TypeVar("Result")
_local = threading.local()


def size(count: int) -> int:
    """Elements of a block of `count`; ask on the caller's thread, not on a worker."""
    if torch.get_num_threads() == 1:
        return SHARED
    fair = count // (2 * torch.get_num_threads())  # so that workers end at about the same time
    return min(SHARED, max(ALONE, 1 << max(0, fair.bit_length() - 1)))


def each(count: int, work: Callable[[int, int], Result]) -> list[Result]:
    """`work(start, stop)` for every block of `count` elements, on any thread; results in order."""
    width = size(count)
    items = [(start, min(start + width, count)) for start in range(0, count, width)]
    threads = 1 if getattr(_local, "worker", False) else min(torch.get_num_threads(), len(items))
    if threads <= 1 and (torch.get_num_threads() == 1 or not items):
        with torch.no_grad():
            return [work(*item) for item in items]
    results: list[Result | None] = [None] * len(items)
    positions = itertools.count()

    def drain() -> None:
        with torch.no_grad():
            while (position := next(positions)) < len(items):
                results[position] = work(*items[position])

    for future in [_pool(torch.get_num_threads()).submit(drain) for _ in range(threads)]:
        future.result()
    return results  # type: ignore[return-value]


def alone(work: Callable[..., Result], *arguments: Any) -> Result:
    """`work(*arguments)` with a torch of one thread: where others compete for the cores, torch's threads
    wait for each other a hundred times longer than a short operation takes."""
    if getattr(_local, "worker", False) or torch.get_num_threads() == 1:
        return work(*arguments)
    return _pool(torch.get_num_threads()).submit(work, *arguments).result()


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
    _local.worker = True
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread's first question sets it to the default, which is 1 only now


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
