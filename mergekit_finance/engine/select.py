"""The exact k-th magnitude, without sorting and in bounded memory.

The bits of |x| as an int32 order like |x|. Two histograms find the k-th largest: one over the upper
16 bits, one over the lower 16 bits inside the bin that holds it. Both add up over tensors, so a whole
model is ranked while one tensor at a time is in memory.

Tie rule: exactly k elements are kept; of those equal to the k-th magnitude, the ones with the lowest
flat index (over several tensors: in sorted name order).
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

import torch

HIGH_BINS = 1 << 15  # the sign bit is cleared
LOW_BINS = 1 << 16


@dataclass(frozen=True)
class Cut:
    """Keep magnitudes above `bits`, and `ties` of the `tied` elements that equal it."""

    bits: int
    ties: int
    tied: int

    @property
    def splits_ties(self) -> bool:
        """Whether it matters which of the equal elements are kept (equal zeros are zero anyway)."""
        return self.ties < self.tied and self.bits > 0


def exact_count(density: float, n: int) -> int:
    """density * n rounded half to even, with the density as written: 0.29 * 100 is 29."""
    return round(Fraction(repr(float(density))) * n)


def float_of(bits: int) -> float:
    """The float32 with these bits."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def magnitude_bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bits of |tensor| (float32) as int32, flat."""
    return tensor.contiguous().view(torch.int32).reshape(-1).bitwise_and(0x7FFFFFFF)


def high_counts(bits: torch.Tensor) -> torch.Tensor:
    """Histogram of the upper 16 bits, int64 [HIGH_BINS], on the CPU."""
    return torch.bincount(bits >> 16, minlength=HIGH_BINS).cpu()


def low_counts(bits: torch.Tensor, high: int) -> torch.Tensor:
    """Histogram of the lower 16 bits of the elements whose upper 16 are `high`, int64 [LOW_BINS]."""
    inside = bits[bits >> 16 == high]
    return torch.bincount(inside & 0xFFFF, minlength=LOW_BINS).cpu()


def kth_bin(counts: torch.Tensor, k: int) -> tuple[int, int]:
    """The bin with the k-th largest element, and k less the elements in the bins above it."""
    from_top = counts.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, from_top.new_tensor(k)))
    above = int(from_top[position - 1]) if position else 0
    return len(counts) - 1 - position, k - above


def cut_at(high: int, low: torch.Tensor, rest: int) -> Cut:
    """The cut, given the upper bits, the histogram inside their bin and the rank inside it."""
    bin_, ties = kth_bin(low, rest)
    return Cut(bits=high << 16 | bin_, ties=ties, tied=int(low[bin_]))


def cut_of(bits: torch.Tensor, k: int) -> Cut:
    """The cut that keeps exactly k >= 1 elements of one tensor."""
    high, rest = kth_bin(high_counts(bits), k)
    return cut_at(high, low_counts(bits, high), rest)


def kept(bits: torch.Tensor, cut_bits: int, ties: int | None) -> torch.Tensor:
    """Flat bool mask: above the cut, and the first `ties` elements equal to it (None: all of them)."""
    if ties is None:
        return bits >= cut_bits
    keep = bits > cut_bits
    keep[(bits == cut_bits).nonzero().view(-1)[:ties]] = True
    return keep


def trim(tensor: torch.Tensor, cut_bits: int, ties: int | None) -> torch.Tensor:
    """`tensor` (float32) with everything below the cut set to +0."""
    return tensor.masked_fill(~kept(magnitude_bits(tensor), cut_bits, ties).view(tensor.shape), 0.0)
