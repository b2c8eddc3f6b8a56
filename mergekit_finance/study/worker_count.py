"""How many worker processes a device gets, if study.yml does not say."""

import os
from dataclasses import dataclass

from mergekit_finance.checks.resources import free_gpu_memory, free_memory

SMALL_MODEL = 2 << 30  # bytes of weights; on the CPU every core's worker may hold a model up to this size
MOST = 4  # on one GPU: more processes only wait for each other
CONTEXT = 1 << 30  # bytes that a process takes on a GPU before it holds a model
HOST = 3 << 30  # bytes of main memory of a process that uses a GPU: torch, CUDA, the hosts
FILLED = 0.9  # the share of the free memory that is used: allocators leave gaps


@dataclass(frozen=True)
class Need:
    """What one worker process takes on its device, in bytes.

    Attributes:
        weights: the weights of one model.
        models: how many models are held at a time: the constituents and the merge.
        batch: what a batch takes besides (`worker_memory`).
    """

    weights: int = 0
    models: int = 1
    batch: int = 0

    @property
    def total(self) -> int:
        """Everything that a process takes on a GPU."""
        return CONTEXT + self.models * self.weights + self.batch


def processes(kind: str, need: Need, cores: int, free: int | None, memory: int | None = None) -> int:
    """Return the number of worker processes for one device: at least 1.

    Args:
        kind: `cpu`, `cuda` or another kind of device.
        need: what one process takes.
        cores: CPU cores for the processes of this device.
        free: free bytes of the device; None: unknown.
        memory: free bytes of main memory for the processes of this device; None: unknown.
    """
    if kind == "cpu":
        return max(1, cores) if need.weights < SMALL_MODEL else 1
    if kind != "cuda" or free is None:
        return 1
    bounds = [MOST, cores, int(FILLED * free) // need.total]
    if memory is not None:
        bounds.append(memory // HOST)
    return max(1, min(bounds))


def devices(device: str, workers: int | None, need: Need) -> list[str]:
    """Return the device of each worker process on this machine, one device after the other.

    Args:
        device: `cpu`, `cuda` (every GPU) or one device such as `cuda:1`.
        workers: processes per device; None: as many as `processes` says.
        need: what one process takes.
    """
    import torch  # imported here to keep --help fast: it takes 1.4 s

    kind = device.split(":")[0]
    names = [f"cuda:{k}" for k in range(torch.cuda.device_count())] if device == "cuda" else [device]
    share = max(1, len(names))
    memory = free_memory()
    counts = {
        name: workers
        or processes(
            kind,
            need,
            cores() // share,
            free_gpu_memory(name) if kind == "cuda" else None,
            memory // share if memory is not None else None,
        )
        for name in names
    }
    most = max(counts.values(), default=0)
    return [name for k in range(most) for name in names if k < counts[name]]


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
