"""The arithmetic: sums over fixed blocks of a tensor, in float64, that add up over tensors.

A tensor is cut into spans and a span into blocks, at the same places whatever the number of threads.
Every block's sums are made by one thread, and the sums of blocks, spans and tensors are added in a fixed
order: the result is the same to the last bit for any number of threads, on one machine.
"""

import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import combinations, combinations_with_replacement
from math import prod

import numpy as np
import torch

from mergekit_finance.errors import ModelError

LOG = logging.getLogger(__name__)
Source = Callable[[int, int], torch.Tensor]  # elements start..stop of one flat tensor, in any dtype

BINS = 1 << 15  # of the upper 16 bits of |x| as float32: 8 of exponent, 7 of mantissa
BLOCK = 1 << 15  # elements; its float64 rows stay in a core's second-level cache
SPAN = 1 << 18  # elements that one thread takes at a time
GPU_SPAN = 1 << 22  # below 2**24, up to which float32 counts exactly


@dataclass
class Sums:
    """What a set of elements adds up to, for m models (the base first) and their m - 1 task vectors.

    All measures come from these, and the sums of a union are the sum of the sums.
    """

    count: int
    weights: np.ndarray  # [m, m] float64: sum_p theta_ip theta_jp
    squares: np.ndarray  # [m, m] float64: sum_p (theta_ip - theta_jp)^2
    vectors: np.ndarray  # [m - 1, m - 1] float64: sum_p tau_ip tau_jp
    unequal: np.ndarray  # [m, m] int64: elements in which models i and j differ
    moved: np.ndarray  # [m - 1, m - 1] int64: elements in which tau_i and tau_j are both non-zero
    signs: np.ndarray  # [m - 1, m - 1] int64, i != j: of those, same sign less opposite sign
    histograms: np.ndarray  # [m - 1, BINS] int64: of |tau_i|; [m - 1, 0] where not asked for

    @classmethod
    def zero(cls, models: int, bins: int = 0) -> "Sums":
        real, whole = (lambda n: np.zeros((n, n))), (lambda n: np.zeros((n, n), dtype=np.int64))
        m, t = models, models - 1
        histograms = np.zeros((t, bins), dtype=np.int64)
        return cls(0, real(m), real(m), real(t), whole(m), whole(t), whole(t), histograms)

    def __iadd__(self, other: "Sums") -> "Sums":
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


class Workspace:
    """The buffers of one thread, and the sums of the blocks that went through them."""

    def __init__(self, models: int, span: int, block: int, device: str, everything: bool) -> None:
        self.models, self.block, self.everything = models, min(block, span), everything
        real = {"dtype": torch.float64, "device": device}
        self.rows = torch.empty(models, self.block, **real)
        self.delta = torch.empty(self.block, **real)
        vectors = models - 1 if everything else 0
        self.single = torch.empty(vectors, self.block, device=device)
        self.magnitudes = torch.empty(vectors, span, dtype=torch.int16, device=device)
        self.histograms = np.zeros((vectors, BINS), dtype=np.int64)
        self._name_the_sums(models - 1)
        self.total = torch.zeros(len(self.names), **real)
        self.fresh = torch.zeros_like(self.total)
        self.slots = dict(zip(self.names, self.fresh.unbind(), strict=True))

    def _name_the_sums(self, vectors: int) -> None:
        """The order of the sums in `total`: (kind, i, j), i <= j."""
        self.experts = list(combinations(range(1, vectors + 1), 2))
        self.weight_pairs = list(combinations_with_replacement(range(vectors + 1), 2))
        self.vector_pairs = list(combinations_with_replacement(range(vectors), 2))
        self.names = [("weights", *p) for p in self.weight_pairs]
        self.names += [("vectors", *p) for p in self.vector_pairs]
        self.names += [("squares", *p) for p in self.experts]
        if self.everything:
            self.names += [("unequal", *p) for p in self.experts]
            self.names += [("signs", *p) for p in combinations(range(vectors), 2)]
            self.names += [("moved", *p) for p in self.vector_pairs]

    def span(self, sources: Sequence[Source], start: int, stop: int) -> Sums:
        """The sums of elements start..stop of one tensor, but for its histogram."""
        self.total.zero_()
        for low in range(start, stop, self.block):
            high = min(low + self.block, stop)
            self._block([source(low, high) for source in sources], low - start, high - low)
        for histogram, bits in zip(self.histograms, self.magnitudes, strict=True):
            histogram += torch.bincount(bits[: stop - start], minlength=BINS).cpu().numpy()
        return self._sums(stop - start)

    def take_histograms(self) -> np.ndarray:
        """Of all spans since the last time. Apart from the sums: counts may be added in any order."""
        taken, self.histograms = self.histograms, np.zeros_like(self.histograms)
        return taken

    def _block(self, tensors: Sequence[torch.Tensor], offset: int, size: int) -> None:
        """Add one block's sums. float64 holds every difference of two bfloat16 or float16 exactly."""
        rows = [row[:size] for row in self.rows]
        for row, tensor in zip(rows, tensors, strict=True):
            row.copy_(tensor)
        for i, j in self.weight_pairs:
            torch.dot(rows[i], rows[j], out=self.slots["weights", i, j])
        self._differences(rows, self.delta[:size])
        for row in rows[1:]:
            row.sub_(rows[0])
        for i, j in self.vector_pairs:
            torch.dot(rows[i + 1], rows[j + 1], out=self.slots["vectors", i, j])
        if self.everything:
            self._count(rows[1:], offset, size)
        self.total.add_(self.fresh)

    def _differences(self, rows: Sequence[torch.Tensor], delta: torch.Tensor) -> None:
        """Between two experts; the base's are the task vectors."""
        for i, j in self.experts:
            torch.sub(rows[i], rows[j], out=delta)
            torch.dot(delta, delta, out=self.slots["squares", i, j])
            if self.everything:
                torch.sign(delta, out=delta)
                torch.dot(delta, delta, out=self.slots["unequal", i, j])

    def _count(self, vectors: Sequence[torch.Tensor], offset: int, size: int) -> None:
        """Signs as -1, 0, 1: their dot products are counts, exact in float32 below 2**24 elements."""
        signs = [row[:size] for row in self.single]
        for sign, vector, bits in zip(signs, vectors, self.magnitudes, strict=True):
            sign.copy_(vector)
            upper = sign.view(torch.int16)[1::2]  # little-endian
            torch.bitwise_and(upper, 0x7FFF, out=bits[offset : offset + size])
            torch.sign(sign, out=sign)
        for i, j in combinations(range(len(signs)), 2):
            self.slots["signs", i, j].copy_(torch.dot(signs[i], signs[j]))
        for sign in signs:
            sign.abs_()
        for i, j in self.vector_pairs:
            self.slots["moved", i, j].copy_(torch.dot(signs[i], signs[j]))

    def _sums(self, size: int) -> Sums:
        sums = Sums.zero(self.models)
        sums.count = size
        for (kind, i, j), value in zip(self.names, self.total.tolist(), strict=True):
            matrix = getattr(sums, kind)
            matrix[i, j] = matrix[j, i] = value
        own = range(self.models - 1)
        sums.squares[0, 1:] = sums.squares[1:, 0] = sums.vectors[own, own]
        sums.unequal[0, 1:] = sums.unequal[1:, 0] = sums.moved[own, own]
        return sums


@contextmanager
def _one_thread_an_operation() -> Iterator[None]:
    """Threads of ours, not of torch: how torch cuts up a sum depends on how many threads it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Accumulator:
    """Measures tensors as they come: from files, or from a merge that streams the same ones.

        measured = Accumulator("base", ["finance", "math"])
        measured.add("model.norm.weight", base_tensor, {"finance": a, "math": b})
        table.result(measured)

    `everything=False` leaves out what needs counting: equal elements, sign conflicts, quantiles.
    """

    def __init__(
        self,
        base: str,
        models: Sequence[str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        everything: bool = True,
    ) -> None:
        self.base, self.models, self.everything = base, list(models), everything
        self.tensors: dict[str, Sums] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        gpu = torch.device(device).type != "cpu"
        self._device, self._span, self._block = device, GPU_SPAN if gpu else SPAN, GPU_SPAN if gpu else BLOCK
        threads = threads or (2 if gpu else torch.get_num_threads())  # two: one reads, one computes
        self._pool = ThreadPoolExecutor(threads)
        self._spaces = self._workspaces(threads)
        self._free: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
        for space in self._spaces:
            self._free.put(space)

    def add(self, name: str, base: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
        """Measure one tensor of all models, now; nothing of it is kept."""
        ordered = [base, *(tensors[model] for model in self.models)]
        for model, tensor in zip(self.names, ordered, strict=True):
            if tensor.shape != base.shape:
                raise different_shapes(name, model, tensor.shape, self.base, base.shape)
        flat = [tensor.detach().reshape(-1) for tensor in ordered]
        self.add_sources(name, tuple(base.shape), [lambda low, high, t=t: t[low:high] for t in flat])

    def add_sources(
        self,
        name: str,
        shape: tuple[int, ...],
        sources: Sequence[Source],
        progress: Callable[[int], object] = lambda elements: None,
    ) -> None:
        """As `add`, from one source a model, the base's first; each is asked once for each element."""
        size = prod(shape)
        starts = range(0, size, self._span)
        sums = Sums.zero(len(self.names))
        with _one_thread_an_operation():
            parts = self._pool.map(lambda low: self._part(sources, low, size), starts)
            for part in parts:
                sums += part
                progress(part.count)
        if self.everything:
            sums.histograms = np.sum([space.take_histograms() for space in self._spaces], axis=0)
        self._refuse_broken(name, sums)
        self.tensors[name], self.shapes[name] = sums, shape

    @property
    def names(self) -> list[str]:
        """The base, then the models."""
        return [self.base, *self.models]

    def _workspaces(self, count: int) -> list[Workspace]:
        """As large as fit: a device that runs out of memory is given spans of a quarter, down to a CPU's."""
        sizes = len(self.names), self._span, self._block, self._device, self.everything
        try:
            return [Workspace(*sizes) for _ in range(count)]
        except torch.OutOfMemoryError:
            if self._span <= SPAN:
                raise
        self._span = self._block = max(SPAN, self._span // 4)
        LOG.warning("%s ran out of memory: measuring %d elements at a time", self._device, self._span)
        return self._workspaces(count)

    def _part(self, sources: Sequence[Source], low: int, size: int) -> Sums:
        space = self._free.get()
        try:
            return space.span(sources, low, min(low + self._span, size))
        finally:
            self._free.put(space)

    def _refuse_broken(self, name: str, sums: Sums) -> None:
        for model, norm in zip(self.names, np.diag(sums.weights), strict=True):
            if not np.isfinite(norm):
                raise ModelError(f"{model}: tensor {name} holds NaN or Inf; the checkpoint is broken")


def different_shapes(
    name: str, model: str, shape: Sequence[int], other: str, expected: Sequence[int]
) -> ModelError:
    """Two models' tensors of one name that cannot be compared element by element."""
    return ModelError(
        f"{model}: tensor {name} has shape {list(shape)}, {other} has {list(expected)}: "
        "they cannot be compared element by element"
    )
