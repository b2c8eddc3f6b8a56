"""DARE's keep masks: a pure function of (seed, mask_id, tensor name, element index).

Element i of a tensor is kept iff u_i < round(density * 2^32), where

    key = blake2b(json([seed, mask_id, name]))          three 32-bit words k0, k1, k2
    x   = low32(i) ^ k0 ^ low32(high32(i) * 0x9E3779B9)
    x   = (x ^ x >> 16) * 0x7FEB352D ^ k1               (>> is a logical shift, * wraps)
    x   = (x ^ x >> 15) * 0x846CA68B ^ k2
    u_i =  x ^ x >> 16

so P(keep) is exact to 2^-33. There is no state: a mask does not depend on the order of models or tensors, or
on threads, blocks or device. The constants are those of C. Wellons' `lowbias32`. The words k1 and k2 are
mixed in between its rounds, because otherwise the masks of two tensors would be permutations of each other.
"""

import hashlib
import json
from fractions import Fraction
from functools import lru_cache

import torch

from mergekit_finance.engine.terms import MaskKey

BLOCK_CPU = 1 << 17  # two int32 work buffers of this size stay in a core's L2 cache
BLOCK_GPU = 1 << 24
_HIGH_WORD = 0x9E3779B9
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def mask_key(seed: int, mask_id: str, name: str) -> MaskKey:
    """Return the key of one tensor's mask for one model. JSON gives different triples different texts."""
    text = json.dumps([int(seed), mask_id, name]).encode()
    digest = hashlib.blake2b(text, digest_size=12, person=b"cpt-dare-mask-1").digest()
    first, second, third = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8))
    return first, second, third


def threshold(density: float) -> int:
    """Return density * 2^32, rounded half to even, without float loss."""
    return round(Fraction(repr(float(density))) * 2**32)


def signed_threshold(density: float) -> int:
    """Return the int32 limit below which a word of `hash_into` means "keep". Not if all elements are kept."""
    return to_int32(threshold(density) ^ 2**31)  # with the top bit flipped, signed order is unsigned order


def keeps_all(density: float) -> bool:
    """Return whether the mask of this density drops nothing."""
    return threshold(density) >= 2**32


def keep_mask(shape: torch.Size, density: float, key: MaskKey, device: torch.device) -> torch.Tensor:
    """Return a bool tensor of `shape` on `device`, True where the element is kept."""
    keep = torch.empty(shape, dtype=torch.bool, device=device)
    if keeps_all(density):
        return keep.fill_(True)
    flat, limit = keep.view(-1), signed_threshold(density)
    block = BLOCK_CPU if device.type == "cpu" else BLOCK_GPU
    for start in range(0, flat.numel(), block):
        part = flat[start : start + block]
        torch.lt(hash_words(start, part.numel(), key, block, device), limit, out=part)
    return keep


def keep_at(index: torch.Tensor, density: float, key: MaskKey) -> torch.Tensor:
    """Return the mask at the flat indices `index` (int64), bool."""
    if keeps_all(density):
        return torch.ones_like(index, dtype=torch.bool)
    x = (index & 0xFFFFFFFF) ^ key[0] ^ ((index >> 32) * _HIGH_WORD & 0xFFFFFFFF)
    x = ((x ^ x >> 16) * _FIRST & 0xFFFFFFFF) ^ key[1]  # overflow of int64 affects only the discarded bits
    x = ((x ^ x >> 15) * _SECOND & 0xFFFFFFFF) ^ key[2]
    return (x ^ x >> 16) < threshold(density)


def hash_words(start: int, count: int, key: MaskKey, block: int, device: torch.device) -> torch.Tensor:
    """Return u_i with its top bit flipped, int32, of `count` elements from `start`, a multiple of `block`."""
    x, shifted = torch.empty(2, count, dtype=torch.int32, device=device)
    return hash_into(x, shifted, start, key, block)


def hash_into(
    x: torch.Tensor, shifted: torch.Tensor, start: int, key: MaskKey, block: int = BLOCK_CPU
) -> torch.Tensor:
    """Write the words of `hash_words` into `x` (int32); `shifted` is scratch. `block` is a power of two."""
    # `start` and the lanes have no common bits, so their XOR equals their sum.
    offset = (start & 0xFFFFFFFF) ^ key[0] ^ ((start >> 32) * _HIGH_WORD & 0xFFFFFFFF)
    torch.bitwise_xor(_lanes(block, x.device)[: x.numel()], to_int32(offset), out=x)
    _fold(x, 16, shifted).mul_(to_int32(_FIRST)).bitwise_xor_(to_int32(key[1]))
    _fold(x, 15, shifted).mul_(to_int32(_SECOND)).bitwise_xor_(to_int32(key[2]))
    return _fold(x, 16, shifted).bitwise_xor_(to_int32(2**31))


def _fold(x: torch.Tensor, bits: int, shifted: torch.Tensor) -> torch.Tensor:
    """Do x ^= x >> bits in place. torch shifts int32 arithmetically, so copied sign bits are masked out."""
    torch.bitwise_right_shift(x, bits, out=shifted)
    return x.bitwise_xor_(shifted.bitwise_and_((1 << (32 - bits)) - 1))


@lru_cache(maxsize=8)
def _lanes(block: int, device: torch.device) -> torch.Tensor:
    return torch.arange(block, dtype=torch.int32, device=device)


def to_int32(word: int) -> int:
    """Return the int32 with the bits of a 32-bit word."""
    return word - 2**32 if word >= 2**31 else word
