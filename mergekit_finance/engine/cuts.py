"""Trim thresholds ("cuts") of task vectors tau = theta_t - theta_0 that are never held in memory as a whole.

    pass 1   histogram of the upper 16 bits of |tau|                 serves every density
    pass 2   histogram of the lower 16 bits in the required bins     serves every density
    pass 3   position of the last tie that is kept                   only if not all ties are kept

One cut of one large tensor takes a single pass, because a sample gives bounds for it (`sampled_cut`).
On the CPU, every pass runs over blocks that fit in a core's cache; on a GPU, over whole tensors.

In all functions, `base` is a tensor of theta_0 and `expert` the tensor of theta_t with the same name: equal
number of elements, any floating dtype, on one device.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mergekit_finance.engine import parallel, top_k
from mergekit_finance.engine.terms import Cut

ALL_TIES = 1 << 62  # a flat index past the end of every tensor
SAMPLE = 1 << 14  # elements

Words = NDArray[np.int32]
Worked = TypeVar("Worked")


def high_counts(base: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
    """Return the histogram of the upper 16 bits of |tau|: int64 [HIGH_BINS], on the CPU."""
    totals: dict[int, torch.Tensor] = {}  # one for each thread

    def count(bits: torch.Tensor, spare: torch.Tensor) -> None:
        total = totals.get(threading.get_ident())
        if total is None:
            total = totals[threading.get_ident()] = torch.zeros(top_k.HIGH_BINS, dtype=torch.int64)
        counts = torch.bincount(torch.bitwise_right_shift(bits, 16, out=spare)).cpu()
        total[: len(counts)] += counts

    _for_each_block(base, expert, count)
    sum_of_threads = torch.zeros(top_k.HIGH_BINS, dtype=torch.int64, device="cpu")
    for total in totals.values():
        sum_of_threads += total
    return sum_of_threads


def low_counts(base: torch.Tensor, expert: torch.Tensor, bins: Iterable[int]) -> dict[int, torch.Tensor]:
    """Return the histogram of the lower 16 bits inside each of `bins`: int64 [LOW_BINS], on the CPU."""
    sorted_bins = sorted(bins)
    parts = _for_each_block(base, expert, _numbers_inside(sorted_bins))
    numbers = torch.from_numpy(
        np.concatenate([*parts, np.zeros(0, np.int32)])
    )  # an empty tensor has no parts
    total = torch.bincount(numbers, minlength=len(sorted_bins) * top_k.LOW_BINS)
    return dict(zip(sorted_bins, total.view(len(sorted_bins), top_k.LOW_BINS), strict=True))


def equal_counts(base: torch.Tensor, expert: torch.Tensor, patterns: Iterable[int]) -> dict[int, list[int]]:
    """Return the number of magnitudes in each block that equal a bit pattern, by pattern."""
    distinct = list(dict.fromkeys(patterns))

    def count(bits: torch.Tensor, spare: torch.Tensor) -> list[int]:
        if bits.device.type != "cpu":
            return [int((bits == pattern).sum()) for pattern in distinct]
        return [int(np.count_nonzero(bits.numpy() == pattern)) for pattern in distinct]

    blocks = _for_each_block(base, expert, count)
    return {
        pattern: list(counts) for pattern, counts in zip(distinct, zip(*blocks, strict=True), strict=False)
    }


def ties_end(
    base: torch.Tensor, expert: torch.Tensor, bits: int, ties: int | None, equal: list[int] | None = None
) -> int:
    """Return the flat index up to which magnitudes equal to `bits` are kept.

    Args:
        ties: the number of equal magnitudes to keep; None: all of them.
        equal: the result of `equal_counts` for `bits`, if it was computed before.
    """
    if ties is None:
        return ALL_TIES
    if ties == 0:
        return 0
    size = parallel.block_size(base.numel()) if base.device.type == "cpu" else base.numel()
    counts = equal_counts(base, expert, [bits]).get(bits, []) if equal is None else equal
    first = 0
    for count in counts:
        if count >= ties:
            break
        ties -= count
        first += size
    else:
        return ALL_TIES
    last, nth = min(first + size, base.numel()), ties
    return first + 1 + parallel.single_threaded(lambda: _nth_equal(base, expert, first, last, bits, nth))


def exact_cuts(
    base: torch.Tensor, expert: torch.Tensor, counts: Sequence[int], high: torch.Tensor | None = None
) -> list[Cut]:
    """Return one cut for each k in `counts` (1 <= k <= n); it keeps exactly k elements of the tensor.

    Args:
        high: the result of `high_counts`, if it was computed before.
    """
    if high is None and base.device.type == "cpu" and base.numel() <= 8 * SAMPLE:
        return [_cut_by_partial_sort(base, expert, k) for k in counts]
    if len(counts) == 1 and high is None and (cut := sampled_cut(base, expert, counts[0])):
        return [cut]
    high = high_counts(base, expert) if high is None else high
    places = [top_k.kth_bin(high, k) for k in counts]
    low = low_counts(base, expert, {bin_ for bin_, _ in places})
    thresholds = [top_k.threshold_in_bin(bin_, low[bin_], rank) for bin_, rank in places]
    split = {threshold.bits for threshold in thresholds if threshold.splits_ties}
    equal = equal_counts(base, expert, split) if split else {}
    return [
        Cut(t.bits, ties_end(base, expert, t.bits, t.ties if t.splits_ties else None, equal.get(t.bits)))
        for t in thresholds
    ]


def sampled_cut(base: torch.Tensor, expert: torch.Tensor, k: int) -> Cut | None:
    """Return the cut that keeps exactly k elements, in one pass: a sample gives bounds, then elements between
    them are selected.

    Returns None if a sample does not help: for few elements, on a GPU, or if the cut is outside the bounds or
    too many elements are inside.
    """
    n, base, expert = base.numel(), base.reshape(-1), expert.reshape(-1)
    if base.device.type != "cpu" or n <= 8 * SAMPLE:
        return None
    bounds = _sampled_bounds(base, expert, k)
    if bounds is None:
        return None
    low, high = bounds

    def count_and_collect(bits: torch.Tensor, spare: torch.Tensor) -> tuple[int, NDArray[np.uint32]]:
        values, offsets = bits.numpy().view(np.uint32), spare.numpy().view(np.uint32)
        above = int(np.count_nonzero(values >= high))
        np.subtract(values, np.uint32(low), out=offsets)
        return above, _take_where(offsets < high - low, offsets)

    blocks = _for_each_block(base, expert, count_and_collect)
    rank = k - sum(above for above, _ in blocks)
    inside = np.concatenate([between for _, between in blocks])
    if not 0 < rank <= inside.size:
        return None
    offset, ties = _kth_largest_below(inside, rank, high - low)
    equal = [int(np.count_nonzero(between == offset)) for _, between in blocks]
    bits = low + offset
    splits = ties < sum(equal) and bits > 0
    return Cut(bits, ties_end(base, expert, bits, ties if splits else None, equal))


def _for_each_block(
    base: torch.Tensor, expert: torch.Tensor, work: Callable[[torch.Tensor, torch.Tensor], Worked]
) -> list[Worked]:
    """Call `work(bits, spare)` on every block, with the magnitude bits of tau and scratch space, as int32."""
    base, expert = base.reshape(-1), expert.reshape(-1)
    if base.device.type != "cpu":
        bits = top_k.magnitude_bits(expert.to(torch.float32, copy=True).sub_(base))
        return [work(bits, torch.empty_like(bits))]

    def on_block(start: int, stop: int) -> Worked:
        spare, tau, _ = parallel.buffers(3, stop - start)
        tau.copy_(expert[start:stop]).sub_(spare.copy_(base[start:stop]))
        return work(tau.view(torch.int32).bitwise_and_(0x7FFFFFFF), spare.view(torch.int32))

    return parallel.each(base.numel(), on_block)


def _numbers_inside(bins: list[int]) -> Callable[[torch.Tensor, torch.Tensor], Words]:
    """Return a function from a block to the numbers (position of the bin << 16 | lower 16 bits), as int32.

    Elements outside the bins are skipped. NumPy is used because it compares and extracts small blocks several
    times faster than torch. A few bins are compared one by one; many bins are looked up in a table.
    """
    table = np.full(top_k.HIGH_BINS, -1, np.int32)
    table[bins] = np.arange(len(bins)) << 16
    lookup = torch.from_numpy(table)

    def on_device(bits: torch.Tensor, spare: torch.Tensor) -> Words:
        first = lookup.to(bits.device)[bits >> 16]
        return (first + (bits & 0xFFFF))[first >= 0].cpu().numpy()

    def compared(bits: torch.Tensor, spare: torch.Tensor) -> Words:
        values, offsets, parts = bits.numpy().view(np.uint32), spare.numpy().view(np.uint32), []
        for i, high in enumerate(bins):
            np.subtract(values, np.uint32(high << 16), out=offsets)  # values below the bin wrap around
            parts.append(_take_where(offsets < 1 << 16, offsets).view(np.int32) + (i << 16))
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def looked_up(bits: torch.Tensor, spare: torch.Tensor) -> Words:
        values, upper = bits.numpy(), spare.numpy()
        np.right_shift(values, 16, out=upper)
        first = torch.index_select(lookup, 0, spare).numpy()  # NumPy's take would hold the interpreter's lock
        np.bitwise_and(values, 0xFFFF, out=upper)
        return _take_where(first >= 0, np.bitwise_or(first, upper, out=upper))

    def work(bits: torch.Tensor, spare: torch.Tensor) -> Words:
        if bits.device.type != "cpu":
            return on_device(bits, spare)
        return (compared if len(bins) <= 3 else looked_up)(bits, spare)

    return work


AnyNumber = TypeVar("AnyNumber", np.int32, np.uint32)


def _take_where(mask: NDArray[np.bool_], values: NDArray[AnyNumber]) -> NDArray[AnyNumber]:
    """Return values[mask], without a branch for each element.

    If at most a tenth of a mask is set, NumPy searches it byte by byte, which is slow unless very few
    elements are set. Set elements are therefore appended to the mask until more than a tenth is set.
    """
    count, size = int(np.count_nonzero(mask)), mask.size
    if size // 32 < count <= size // 10:
        mask = np.concatenate([mask, np.ones(size // 8 + 1, dtype=bool)])
    return values.take(np.flatnonzero(mask)[:count])


def _nth_equal(base: torch.Tensor, expert: torch.Tensor, first: int, last: int, bits: int, nth: int) -> int:
    """Return the offset from `first` of the nth magnitude (counted from 1) in first..last equal to `bits`."""
    # Not in place: a float32 slice is a view of the model's weights.
    tau = expert.reshape(-1)[first:last].float() - base.reshape(-1)[first:last].float()
    equal = top_k.magnitude_bits(tau) == bits
    if equal.device.type == "cpu":
        return int(np.flatnonzero(equal.numpy())[nth - 1])
    return int(equal.nonzero()[nth - 1])


def _cut_by_partial_sort(base: torch.Tensor, expert: torch.Tensor, k: int) -> Cut:
    """Return the cut of a small CPU tensor."""
    values = top_k.magnitude_bits(expert.float() - base.float()).numpy()
    bits = int(np.partition(values, values.size - k)[values.size - k])
    ties = k - int(np.count_nonzero(values > bits))
    equal = np.flatnonzero(values == bits)
    return Cut(bits, int(equal[ties - 1]) + 1 if ties < equal.size and bits else ALL_TIES)


def _kth_largest_below(values: NDArray[np.uint32], k: int, limit: int) -> tuple[int, int]:
    """Return the k-th largest of numbers below `limit` and its rank among equal numbers, from histograms."""
    shift, prefix = max(0, limit.bit_length() - 15), 0
    while True:
        from_top = np.cumsum(np.bincount(values >> shift)[::-1])
        position = int(np.searchsorted(from_top, k))
        k -= int(from_top[position - 1]) if position else 0
        digit = from_top.size - 1 - position
        prefix += digit << shift
        if shift == 0:
            return prefix, k
        values = _take_where(values >> shift == digit, values) & np.uint32((1 << shift) - 1)
        shift = max(0, shift - 15)


def _sampled_bounds(base: torch.Tensor, expert: torch.Tensor, k: int) -> tuple[int, int] | None:
    """Return bounds [low, high), multiples of 2^16, that miss the k-th magnitude in 1 of 10,000 cases."""
    n = base.numel()
    step = n // SAMPLE | 1  # odd: not a multiple of a row
    sample = top_k.magnitude_bits(expert[::step].float() - base[::step].float()).numpy()
    share, size = k / n, sample.size
    margin = 4 * (share * (1 - share) * size) ** 0.5 + 2
    first, last = int(share * size - margin), int(share * size + margin) + 1
    up_to = np.cumsum(np.bincount(sample >> 16, minlength=top_k.HIGH_BINS))
    # The bins that contain the sample's ranks `first` and `last`, counted from the largest.
    high = int(np.searchsorted(up_to, size - first)) + 1 if first >= 0 else top_k.HIGH_BINS
    low = int(np.searchsorted(up_to, size - last)) if last < size else 0
    inside = up_to[high - 1] - (up_to[low - 1] if low else 0)
    return (low << 16, high << 16) if inside <= size // 8 else None
