"""Compute float64 sums over fixed blocks of tensors, from which all measures are derived.

A tensor is divided into spans and a span into blocks, at positions that do not depend on the number of
threads. One thread computes the sums of a block, and the sums of blocks, spans and tensors are added in a
fixed order: on one machine, the result is the same to the last bit for any number of threads.
"""

import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import combinations
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from mergekit_finance.errors import ModelError

LOG = logging.getLogger(__name__)
ReadSlice = Callable[
    [int, int], torch.Tensor
]  # (start, stop) -> those elements of one flat tensor, any dtype
Reals = NDArray[np.float64]
Counts = NDArray[np.int64]

BINS = 1 << 15  # bins for the upper 16 bits of |x| as float32, of which 8 are exponent and 7 mantissa
# Elements of a block, whose float64 rows (1 MB each) stay in the last-level cache. Blocks of the size of the
# second-level cache are faster with one thread, but slower with two, which wait for the interpreter's lock.
BLOCK = 1 << 17
SPAN = 1 << 19  # elements that one thread takes at a time
GPU_SPAN = 1 << 22  # less than 2**24, up to which counts in float32 are exact


@dataclass
class Sums:
    """Sums over a set of elements, for m models (the base first) and their m - 1 task vectors.

    The sums of a union of sets are the sum of their sums.
    """

    count: int
    weights: Reals  # [m, m]: sum_p theta_ip theta_jp
    squares: Reals  # [m, m]: sum_p (theta_ip - theta_jp)^2
    vectors: Reals  # [m - 1, m - 1]: sum_p tau_ip tau_jp
    unequal: Counts  # [m, m]: elements in which models i and j differ
    moved: Counts  # [m - 1, m - 1]: elements in which tau_i and tau_j are both non-zero
    signs: Counts  # [m - 1, m - 1], i != j: of those, elements of equal minus elements of opposite sign
    histograms: Counts  # [m - 1, BINS]: of |tau_i|; [m - 1, 0] if not requested

    @classmethod
    def zero(cls, models: int, bins: int = 0) -> "Sums":
        """Return the sums of no elements."""
        t = models - 1
        return cls(
            count=0,
            weights=np.zeros((models, models)),
            squares=np.zeros((models, models)),
            vectors=np.zeros((t, t)),
            unequal=np.zeros((models, models), dtype=np.int64),
            moved=np.zeros((t, t), dtype=np.int64),
            signs=np.zeros((t, t), dtype=np.int64),
            histograms=np.zeros((t, bins), dtype=np.int64),
        )

    def __iadd__(self, other: "Sums") -> "Sums":
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


class Workspace:
    """The buffers of one thread, and the sums of the blocks computed in them.

    The float64 rows of a block are the m models, then the differences of all pairs of models, starting with
    the differences from the base (the task vectors). Distances and cosines are computed from the squared
    norms of these rows:

        2 x.y = |x|^2 + |y|^2 - |x - y|^2,

    so that equal models have a cosine of exactly 1. If norms differ by a factor r, the error of the cosine is
    about 1e-14 r, which is negligible for weights of related models. The norms of task vectors may differ
    more: their inner products are computed directly, except if two vectors are close to each other.
    """

    def __init__(self, models: int, span: int, block: int, device: str, everything: bool) -> None:
        self.models, self.block, self.everything = models, min(block, span), everything
        self.pairs = list(combinations(range(models), 2))
        self.rows = torch.empty(models + len(self.pairs), self.block, dtype=torch.float64, device=device)
        vectors, counted = (models - 1, len(self.pairs)) if everything else (0, 0)
        self.single = torch.empty(counted, self.block, device=device)
        self.bits = torch.empty(vectors, self.block, dtype=torch.int32, device=device)
        self.magnitudes = torch.empty(vectors, span, dtype=torch.int16, device=device)
        self.histograms = np.zeros((vectors, BINS), dtype=np.int64)
        self.expert_pairs = list(combinations(range(vectors), 2))  # pairs whose signs are counted
        self.vector_pairs = list(combinations(range(models - 1), 2))
        self.squares = torch.zeros(len(self.rows), dtype=torch.float64, device=device)
        self.products = torch.zeros(len(self.vector_pairs), dtype=torch.float64, device=device)  # tau_i tau_j
        self.unequal = torch.zeros(counted, dtype=torch.float64, device=device)
        # Sums of s_i s_j and |s_i s_j|, where s are the signs of two task vectors.
        self.signs = torch.zeros(2, len(self.expert_pairs), dtype=torch.float64, device=device)

    def span(self, sources: Sequence[ReadSlice], start: int, stop: int) -> Sums:
        """Return the sums of elements start..stop of one tensor, without its histogram."""
        for total in (self.squares, self.products, self.unequal, self.signs):
            total.zero_()
        for low in range(start, stop, self.block):
            high = min(low + self.block, stop)
            self._block([source(low, high) for source in sources], low - start, high - low)
        for histogram, bits in zip(self.histograms, self.magnitudes, strict=True):
            histogram += torch.bincount(bits[: stop - start], minlength=BINS).cpu().numpy()
        return self._sums(stop - start)

    def take_histograms(self) -> Counts:
        """Return the histograms of all spans since the last call. They may be added in any order."""
        counted, self.histograms = self.histograms, np.zeros_like(self.histograms)
        return counted

    def _block(self, tensors: Sequence[torch.Tensor], offset: int, size: int) -> None:
        """Add one block's sums. Differences of bfloat16 or float16 numbers are exact in float64."""
        rows = self.rows[:, :size]
        for i, tensor in enumerate(tensors):
            rows[i].copy_(tensor)
        first = self.models
        for i in range(self.models - 1):
            others = rows[i + 1 : self.models]
            torch.sub(others, rows[i], out=rows[first : first + len(others)])
            first += len(others)
        norms = torch.linalg.vector_norm(rows, dim=1)
        self.squares.addcmul_(norms, norms)
        if self.vector_pairs:
            vectors = rows[self.models :]
            self.products += torch.stack([torch.dot(vectors[i], vectors[j]) for i, j in self.vector_pairs])
        if self.everything:
            self._count(rows[self.models :], offset, size)

    def _count(self, differences: torch.Tensor, offset: int, size: int) -> None:
        """Count with signs -1, 0, 1, whose dot products are exact in float32 below 2**24 elements."""
        single, bits = self.single[:, :size], self.bits[:, :size]
        single.copy_(differences)
        vectors = single[: len(bits)]
        torch.bitwise_right_shift(vectors.view(torch.int32), 16, out=bits)
        torch.bitwise_and(bits, 0x7FFF, out=bits)
        self.magnitudes[:, offset : offset + size].copy_(bits)
        torch.sign(single, out=single)
        self.unequal += torch.stack([torch.dot(signs, signs) for signs in single])
        for total in self.signs if self.expert_pairs else ():  # products of signs, then of their magnitudes
            total += torch.stack([torch.dot(vectors[i], vectors[j]) for i, j in self.expert_pairs])
            vectors.abs_()

    def _sums(self, size: int) -> Sums:
        sums, models = Sums.zero(self.models), self.models
        sums.count = size
        squares = self.squares.tolist()
        norms = np.array(squares[:models])
        _fill(sums.squares, self.pairs, squares[models:])
        sums.weights = _products(norms, sums.squares)
        _fill(sums.vectors, self.vector_pairs, self.products.tolist())
        norms, between = sums.squares[0, 1:], sums.squares[1:, 1:]
        near = between <= np.minimum.outer(norms, norms)  # also true on the diagonal and for equal vectors
        sums.vectors = np.where(near, _products(norms, between), sums.vectors)
        if self.everything:
            _fill(sums.unequal, self.pairs, self.unequal.tolist())
            _fill(sums.signs, self.expert_pairs, self.signs[0].tolist())
            _fill(sums.moved, self.expert_pairs, self.signs[1].tolist())
            np.fill_diagonal(sums.moved, sums.unequal[0, 1:])
        return sums


def _fill(matrix: Reals | Counts, pairs: Sequence[tuple[int, int]], values: Sequence[float]) -> None:
    """Write the value of each pair on both sides of the diagonal."""
    for (i, j), value in zip(pairs, values, strict=True):
        matrix[i, j] = matrix[j, i] = value


def _products(norms: Reals, distances: Reals) -> Reals:
    """Return inner products [n, n] from squared norms [n] and squared distances [n, n] (polarization)."""
    with np.errstate(invalid="ignore"):  # Inf - Inf of a broken checkpoint, which `_check_finite` refuses
        return (norms[:, None] + norms[None, :] - distances) / 2


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Limit torch to one thread, because its number of threads changes how it splits sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Accumulator:
    """Measures tensors one after the other, from files or from a merge.

        measured = Accumulator("base", ["finance", "math"])
        measured.add("model.norm.weight", base_tensor, {"finance": a, "math": b})
        entries.result(measured)

    Args:
        base: name of the base.
        models: names of the other models.
        device: the device that computes sums.
        threads: number of threads, by default torch's, or 2 on a GPU. It does not change the result.
        everything: False leaves out equal elements, sign conflicts and quantiles.
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
        """Measure one tensor of all models. The tensors are not stored.

        Args:
            name: the tensor's name.
            base: the base's tensor.
            tensors: the other models' tensors of the same shape, by model.

        Raises:
            ModelError: shapes differ, or a tensor holds NaN or Inf.
        """
        ordered = [base, *(tensors[model] for model in self.models)]
        for model, tensor in zip(self.names, ordered, strict=True):
            if tensor.shape != base.shape:
                raise different_shapes(name, model, tensor.shape, self.base, base.shape)
        flat = [tensor.detach().reshape(-1) for tensor in ordered]
        self.add_sources(name, tuple(base.shape), [_slices_of(tensor) for tensor in flat])

    def add_sources(
        self,
        name: str,
        shape: tuple[int, ...],
        sources: Sequence[ReadSlice],
        progress: Callable[[int], object] = lambda elements: None,
    ) -> None:
        """Measure one tensor, reading each element once, from one source per model (the base first).

        Args:
            progress: called with the number of elements done since the last call.
        """
        size = prod(shape)
        starts = range(0, size, self._span)
        sums = Sums.zero(len(self.names))
        with _single_threaded_torch():
            parts = self._pool.map(lambda low: self._measure_span(sources, low, size), starts)
            for part in parts:
                sums += part
                progress(part.count)
        if self.everything:
            sums.histograms = np.sum([space.take_histograms() for space in self._spaces], axis=0)
        self._check_finite(name, sums)
        self.tensors[name], self.shapes[name] = sums, shape

    @property
    def names(self) -> list[str]:
        """The base, then the other models."""
        return [self.base, *self.models]

    def _workspaces(self, count: int) -> list[Workspace]:
        """Allocate buffers. If a device runs out of memory, reduce the span, down to that of a CPU."""
        sizes = len(self.names), self._span, self._block, self._device, self.everything
        try:
            return [Workspace(*sizes) for _ in range(count)]
        except torch.OutOfMemoryError:
            if self._span <= SPAN:
                raise
        self._span = self._block = max(SPAN, self._span // 4)
        LOG.warning("%s ran out of memory: measuring %d elements at a time", self._device, self._span)
        return self._workspaces(count)

    def _measure_span(self, sources: Sequence[ReadSlice], low: int, size: int) -> Sums:
        space = self._free.get()
        try:
            return space.span(sources, low, min(low + self._span, size))
        finally:
            self._free.put(space)

    def _check_finite(self, name: str, sums: Sums) -> None:
        for model, norm in zip(self.names, np.diag(sums.weights), strict=True):
            if not np.isfinite(norm):
                raise ModelError(
                    f"{model}: tensor {name} holds NaN or Inf, or numbers too large to square.",
                    id="model.not-finite",
                )


def _slices_of(flat: torch.Tensor) -> ReadSlice:
    return lambda start, stop: flat[start:stop]


def different_shapes(
    name: str, model: str, shape: Sequence[int], other: str, expected: Sequence[int]
) -> ModelError:
    """Return the error for tensors of the same name whose shapes differ between two models."""
    return ModelError(
        f"{model}: tensor {name} has shape {list(shape)}, {other} has {list(expected)}. "
        "They cannot be compared element by element.",
        id="model.shape",
    )
