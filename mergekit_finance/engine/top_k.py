"""Find the exact k-th largest magnitude, without sorting and in bounded memory.

The bits of |x| as an int32 have the same order as |x|. Two histograms locate the k-th largest: one of the
upper 16 bits, and one of the lower 16 bits inside its bin. Histograms of several tensors can be added, so
that a whole model is ranked with one tensor in memory at a time.

Exactly k elements are kept. Among elements equal to the k-th magnitude, those with the lowest flat index are
kept (with several tensors, in sorted order of their names).
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

import torch

HIGH_BINS = 1 << 15  # bins for the upper 16 bits, whose sign bit is 0
LOW_BINS = 1 << 16  # bins for the lower 16 bits


@dataclass(frozen=True)
class Threshold:
    """The k-th largest magnitude: keep larger elements, and `ties` of the `tied` elements equal to it."""

    bits: int  # the bits of the magnitude, as an int32
    ties: int
    tied: int

    @property
    def splits_ties(self) -> bool:
        """Whether only some of the equal elements are kept. False for zeros, which are 0 if kept or not."""
        return self.ties < self.tied and self.bits > 0


def exact_count(density: float, n: int) -> int:
    """Return density * n, rounded half to even, without float loss: 0.29 * 100 is 29."""
    return round(Fraction(repr(float(density))) * n)


def float_of(bits: int) -> float:
    """Return the float32 with these bits."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def magnitude_bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bits of |tensor| (float32) as int32, flat."""
    return tensor.contiguous().view(torch.int32).reshape(-1).bitwise_and(0x7FFFFFFF)


def high_counts(bits: torch.Tensor) -> torch.Tensor:
    """Return the histogram of the upper 16 bits: int64 [HIGH_BINS], on the CPU."""
    return torch.bincount(bits >> 16, minlength=HIGH_BINS).cpu()


def low_counts(bits: torch.Tensor, high: int) -> torch.Tensor:
    """Return the histogram of the lower 16 bits if the upper 16 are `high`: int64 [LOW_BINS], on the CPU."""
    inside = bits[bits >> 16 == high]
    return torch.bincount(inside & 0xFFFF, minlength=LOW_BINS).cpu()


def kth_bin(counts: torch.Tensor, k: int) -> tuple[int, int]:
    """Return the bin of the k-th largest element, and its rank (counted from 1) inside that bin."""
    from_top = counts.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, from_top.new_tensor(k)))
    above = int(from_top[position - 1]) if position else 0
    return len(counts) - 1 - position, k - above


def threshold_in_bin(high: int, low: torch.Tensor, rank: int) -> Threshold:
    """Return the threshold whose upper 16 bits are `high`.

    Args:
        low: histogram of the lower 16 bits inside that bin, int64 [LOW_BINS].
        rank: rank of the threshold inside that bin, from 1 on.
    """
    low_bits, ties = kth_bin(low, rank)
    return Threshold(bits=high << 16 | low_bits, ties=ties, tied=int(low[low_bits]))


def kth_largest(bits: torch.Tensor, k: int) -> Threshold:
    """Return the threshold that keeps exactly k >= 1 elements, given the magnitude bits of one tensor."""
    high, rank = kth_bin(high_counts(bits), k)
    return threshold_in_bin(high, low_counts(bits, high), rank)


def kept(bits: torch.Tensor, threshold: int, ties: int | None) -> torch.Tensor:
    """Return a flat bool mask of elements above `threshold` and the first `ties` equal to it (None: all)."""
    if ties is None:
        return bits >= threshold
    keep = bits > threshold
    keep[(bits == threshold).nonzero().view(-1)[:ties]] = True
    return keep


def trim(tensor: torch.Tensor, threshold: int, ties: int | None) -> torch.Tensor:
    """Return `tensor` (float32) with the elements outside the mask of `kept` set to +0."""
    return tensor.masked_fill(~kept(magnitude_bits(tensor), threshold, ties).view(tensor.shape), 0.0)
