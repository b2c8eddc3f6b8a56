"""Histograms, counts and cuts of task vectors tau = theta_t - theta_0 that are never held whole.

    pass 1   histogram of the upper 16 bits of |tau|                 serves every density
    pass 2   histogram of the lower 16 bits in the bins asked for    serves every density
    pass 3   where the ties at a cut end                             only if not all of them are kept

A single cut of a single large tensor needs one pass: a sample bounds it (sampled_cut).
On the CPU every pass goes through blocks in a core's cache; on a GPU through whole tensors.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from mergekit_finance.engine import parallel, select
from mergekit_finance.engine.blocks import Cut

ALL_TIES = 1 << 62  # a flat index past every tensor's end
SAMPLE = 1 << 14  # elements
Bits = Callable[[torch.Tensor, torch.Tensor], Any]


def _pass(base: torch.Tensor, expert: torch.Tensor, work: Bits) -> list[Any]:
    """`work` on the magnitude bits of tau, int32, and work space of the same size, a block at a time."""
    base, expert = base.reshape(-1), expert.reshape(-1)
    if base.device.type != "cpu":
        bits = select.magnitude_bits(expert.to(torch.float32, copy=True).sub_(base))
        return [work(bits, torch.empty_like(bits))]

    def on_block(start: int, stop: int) -> Any:
        spare, tau, _ = parallel.buffers(3, stop - start)
        tau.copy_(expert[start:stop]).sub_(spare.copy_(base[start:stop]))
        return work(tau.view(torch.int32).bitwise_and_(0x7FFFFFFF), spare.view(torch.int32))

    return parallel.each(base.numel(), on_block)


def high_counts(base: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
    """Histogram of the upper 16 bits, int64 [HIGH_BINS], on the CPU."""
    totals: dict[int, torch.Tensor] = {}  # one for each thread

    def work(bits: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
        own = totals.get(threading.get_ident())
        if own is None:
            own = totals[threading.get_ident()] = torch.zeros(select.HIGH_BINS, dtype=torch.int64)
        counts = torch.bincount(torch.bitwise_right_shift(bits, 16, out=spare)).cpu()
        own[: len(counts)] += counts
        return own

    _pass(base, expert, work)
    total = torch.zeros(select.HIGH_BINS, dtype=torch.int64, device="cpu")
    for own in totals.values():
        total += own
    return total


def low_counts(base: torch.Tensor, expert: torch.Tensor, bins: Iterable[int]) -> dict[int, torch.Tensor]:
    """For each of `bins`: the histogram of the lower 16 bits of what lies in it, int64 [LOW_BINS]."""
    wanted = sorted(bins)
    parts = _pass(base, expert, _inside(wanted))
    keys = torch.from_numpy(np.concatenate([*parts, np.zeros(0, np.int32)]))  # an empty tensor has no parts
    total = torch.bincount(keys, minlength=len(wanted) * select.LOW_BINS)
    return dict(zip(wanted, total.view(len(wanted), select.LOW_BINS), strict=True))


def _inside(bins: list[int]) -> Bits:
    """Of a block, the numbers [which bin, lower 16 bits] of what lies in one of the bins, int32.

    NumPy compares and extracts small blocks several times faster than torch. A few bins are compared one
    by one, many are looked up.
    """
    table = np.full(select.HIGH_BINS, -1, np.int32)
    table[bins] = np.arange(len(bins)) << 16
    lookup = torch.from_numpy(table)

    def on_device(bits: torch.Tensor, spare: torch.Tensor) -> "np.ndarray[Any, Any]":
        first = lookup.to(bits.device)[bits >> 16]
        return (first + (bits & 0xFFFF))[first >= 0].cpu().numpy()

    def compared(bits: torch.Tensor, spare: torch.Tensor) -> "np.ndarray[Any, Any]":
        values, offsets, found = bits.numpy().view(np.uint32), spare.numpy().view(np.uint32), []
        for i, high in enumerate(bins):
            np.subtract(values, np.uint32(high << 16), out=offsets)  # what is below the bin wraps around
            found.append(_where(offsets < 1 << 16, offsets).view(np.int32) + (i << 16))
        return np.concatenate(found) if found else np.zeros(0, np.int32)

    def looked_up(bits: torch.Tensor, spare: torch.Tensor) -> "np.ndarray[Any, Any]":
        values, upper = bits.numpy(), spare.numpy()
        np.right_shift(values, 16, out=upper)
        first = torch.index_select(lookup, 0, spare).numpy()  # NumPy's take would hold the lock
        np.bitwise_and(values, 0xFFFF, out=upper)
        return _where(first >= 0, np.bitwise_or(first, upper, out=upper))

    def work(bits: torch.Tensor, spare: torch.Tensor) -> "np.ndarray[Any, Any]":
        if bits.device.type != "cpu":
            return on_device(bits, spare)
        return (compared if len(bins) <= 3 else looked_up)(bits, spare)

    return work


def _where(mask: "np.ndarray[Any, Any]", values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """values[mask], without a branch an element.

    NumPy searches a mask with at most a tenth set byte by byte, which is slow for more than a few
    hundredths: the rest of that tenth is set behind its end.
    """
    count, size = int(np.count_nonzero(mask)), mask.size
    if size // 32 < count <= size // 10:
        mask = np.concatenate([mask, np.ones(size // 8 + 1, dtype=bool)])
    return values.take(np.flatnonzero(mask)[:count])


def equal_counts(base: torch.Tensor, expert: torch.Tensor, wanted: Iterable[int]) -> dict[int, list[int]]:
    """For each of the bit patterns: how many magnitudes of each block equal it."""
    patterns = list(dict.fromkeys(wanted))

    def work(found: torch.Tensor, spare: torch.Tensor) -> list[int]:
        if found.device.type != "cpu":
            return [int((found == bits).sum()) for bits in patterns]
        return [int(np.count_nonzero(found.numpy() == bits)) for bits in patterns]

    return {
        bits: list(n) for bits, n in zip(patterns, zip(*_pass(base, expert, work), strict=True), strict=False)
    }


def ties_end(
    base: torch.Tensor, expert: torch.Tensor, bits: int, ties: int | None, equal: list[int] | None = None
) -> int:
    """The flat index before which the first `ties` magnitudes that equal `bits` lie (None: all).

    `equal` is what equal_counts would find, where it is known.
    """
    if ties is None:
        return ALL_TIES
    if ties == 0:
        return 0
    size = parallel.size(base.numel()) if base.device.type == "cpu" else base.numel()
    for i, count in enumerate(equal_counts(base, expert, [bits]).get(bits, []) if equal is None else equal):
        if count >= ties:
            first, last = i * size, min((i + 1) * size, base.numel())
            return first + 1 + parallel.alone(_position, base, expert, first, last, bits, ties)
        ties -= count
    return ALL_TIES


def _position(base: torch.Tensor, expert: torch.Tensor, first: int, last: int, bits: int, nth: int) -> int:
    """Of the nth magnitude (from 1 on) that equals `bits` among the elements first..last, from first on."""
    # Not in place: a float32 slice is a view of the model's own weights.
    tau = expert.reshape(-1)[first:last].float() - base.reshape(-1)[first:last].float()
    found = select.magnitude_bits(tau) == bits
    if found.device.type == "cpu":
        return int(np.flatnonzero(found.numpy())[nth - 1])
    return int(found.nonzero()[nth - 1])


def cuts(
    base: torch.Tensor, expert: torch.Tensor, counts: Sequence[int], high: torch.Tensor | None = None
) -> list[Cut]:
    """For each k in `counts` (1 <= k <= n) the cut that keeps exactly k elements of one tensor.

    `high` is what high_counts would find, where it is known.
    """
    if high is None and base.device.type == "cpu" and base.numel() <= 8 * SAMPLE:
        return [_cut_at_once(base, expert, k) for k in counts]
    if len(counts) == 1 and high is None and (cut := sampled_cut(base, expert, counts[0])):
        return [cut]
    high = high_counts(base, expert) if high is None else high
    bins = [select.kth_bin(high, k) for k in counts]
    low = low_counts(base, expert, {bin_ for bin_, _ in bins})
    found = [select.cut_at(bin_, low[bin_], rest) for bin_, rest in bins]
    split = {cut.bits for cut in found if cut.splits_ties}
    equal = equal_counts(base, expert, split) if split else {}
    return [
        Cut(c.bits, ties_end(base, expert, c.bits, c.ties if c.splits_ties else None, equal.get(c.bits)))
        for c in found
    ]


def _cut_at_once(base: torch.Tensor, expert: torch.Tensor, k: int) -> Cut:
    """The cut of a small tensor, by a partial sort."""
    values = select.magnitude_bits(expert.float() - base.float()).numpy()
    bits = int(np.partition(values, values.size - k)[values.size - k])
    ties = k - int(np.count_nonzero(values > bits))
    equal = np.flatnonzero(values == bits)
    return Cut(bits, int(equal[ties - 1]) + 1 if ties < equal.size and bits else ALL_TIES)


def sampled_cut(base: torch.Tensor, expert: torch.Tensor, k: int) -> Cut | None:
    """The cut that keeps exactly k, in one pass: a sample bounds it, and what lies between is selected.

    None where a sample does not help: few elements, a GPU, bounds that miss or hold too much.
    """
    n, base, expert = base.numel(), base.reshape(-1), expert.reshape(-1)
    if base.device.type != "cpu" or n <= 8 * SAMPLE:
        return None
    bounds = _sampled_bounds(base, expert, k)
    if bounds is None:
        return None
    low, high = bounds

    def work(bits: torch.Tensor, spare: torch.Tensor) -> tuple[int, Any]:
        values, offsets = bits.numpy().view(np.uint32), spare.numpy().view(np.uint32)
        above = int(np.count_nonzero(values >= high))
        np.subtract(values, np.uint32(low), out=offsets)
        return above, _where(offsets < high - low, offsets)

    found = _pass(base, expert, work)
    rest = k - sum(above for above, _ in found)
    inside = np.concatenate([between for _, between in found])
    if not 0 < rest <= inside.size:
        return None
    offset, ties = _largest(inside, rest, high - low)
    equal = [int(np.count_nonzero(between == offset)) for _, between in found]
    bits = low + offset
    splits = ties < sum(equal) and bits > 0
    return Cut(bits, ties_end(base, expert, bits, ties if splits else None, equal))


def _largest(values: "np.ndarray[Any, Any]", k: int, limit: int) -> tuple[int, int]:
    """The k-th largest of uint32 numbers below `limit`, and k less how many are larger; by histograms."""
    shift, known = max(0, limit.bit_length() - 15), 0
    while True:
        from_top = np.cumsum(np.bincount(values >> shift)[::-1])
        position = int(np.searchsorted(from_top, k))
        k -= int(from_top[position - 1]) if position else 0
        digit = from_top.size - 1 - position
        known += digit << shift
        if shift == 0:
            return known, k
        values = _where(values >> shift == digit, values) & ((1 << shift) - 1)
        shift = max(0, shift - 15)


def _sampled_bounds(base: torch.Tensor, expert: torch.Tensor, k: int) -> tuple[int, int] | None:
    """Bits [low, high) that hold the k-th magnitude, but for one case in 10,000; multiples of 2^16."""
    n = base.numel()
    step = n // SAMPLE | 1  # odd: not a multiple of a row
    sample = select.magnitude_bits(expert[::step].float() - base[::step].float()).numpy()
    share, size = k / n, sample.size
    margin = 4 * (share * (1 - share) * size) ** 0.5 + 2
    first, last = int(share * size - margin), int(share * size + margin) + 1
    up_to = np.cumsum(np.bincount(sample >> 16, minlength=select.HIGH_BINS))
    # From the top: the sample's ranks first and last, the bins that hold them included.
    high = int(np.searchsorted(up_to, size - first)) + 1 if first >= 0 else select.HIGH_BINS
    low = int(np.searchsorted(up_to, size - last)) if last < size else 0
    held = up_to[high - 1] - (up_to[low - 1] if low else 0)
    return (low << 16, high << 16) if held <= size // 8 else None
