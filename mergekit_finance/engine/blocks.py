"""The merge operators on the CPU, fused over blocks that stay in a core's cache. See terms.py for the math.

The results have the same bits as reference.py on whole tensors, but use only operations that torch
vectorizes: a comparison that yields bools, a masked fill or a `where` takes ten times as long as a product.
Signs are therefore represented as sign bits to flip: with the elected sign g, v_t agrees if g * v_t > 0, and
its contribution is max(g * v_t, 0). Rounding is symmetric, so factoring the sign out of a sum changes no bit.
Any -0 in delta is turned into +0, as in reference.py. All inputs must be finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mergekit_finance.engine import parallel
from mergekit_finance.engine.masks import hash_into, signed_threshold
from mergekit_finance.engine.terms import DEFAULT_OPTIONS, Cut, Mask, PassOptions, PassResult, Rule, Term
from mergekit_finance.engine.top_k import float_of

_SIGN_BIT = -(1 << 31)  # the sign bit of a float32, as an int32


@dataclass(frozen=True)
class _Buffers:
    """Work space of one block: float32 tensors of the block's size, with arbitrary content."""

    base: torch.Tensor  # theta_0
    vectors: list[torch.Tensor]  # v_t, one for each term
    total: torch.Tensor
    count: torch.Tensor
    signs: torch.Tensor
    flips: torch.Tensor  # the elected sign bits

    @classmethod
    def of(cls, terms: int, size: int) -> "_Buffers":
        base, count, *vectors, flips, signs, total = parallel.buffers(terms + 5, size)
        return cls(base, vectors, total, count, signs, flips)


def merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    options: PassOptions = DEFAULT_OPTIONS,
) -> PassResult:
    """Merge tensors on the CPU: see `terms.Implementation.merge`."""
    flat_out, flat_base = out.view(-1), base.reshape(-1)
    terms = [replace(term, tensor=term.tensor.reshape(-1)) for term in terms]

    def merge_block(start: int, stop: int) -> PassResult:
        buffers = _Buffers.of(len(terms), stop - start)
        buffers.base.copy_(flat_base[start:stop])
        for term, vector in zip(terms, buffers.vectors, strict=True):
            _compute_vector(vector, term, start, buffers)
        delta, result = _combine(terms, buffers, rule, options)
        if rule.scale != 1:
            delta.mul_(rule.scale)
        flat_out[start:stop].copy_(delta.add_(buffers.base))
        if result.contested is not None:
            result = replace(result, contested=result.contested + start)
        return result

    return PassResult.joined(parallel.each(flat_out.numel(), merge_block))


def sign_balance(base: torch.Tensor, terms: Sequence[Term]) -> int:
    """Return sum_p sgn(sum_t v_tp), without merging."""
    flat_base = base.reshape(-1)
    terms = [replace(term, tensor=term.tensor.reshape(-1)) for term in terms]

    def count_block(start: int, stop: int) -> int:
        buffers = _Buffers.of(len(terms), stop - start)
        buffers.base.copy_(flat_base[start:stop])
        for term, vector in zip(terms, buffers.vectors, strict=True):
            _compute_vector(vector, term, start, buffers)
        return int(_sum_into(buffers.vectors, buffers.vectors[0]).sign_().sum())

    return sum(parallel.each(flat_base.numel(), count_block))


def keep_norm(base: torch.Tensor, term: Term, work: torch.Tensor) -> Term:
    """Return `term` with its mask and with the factor that preserves the L1 norm of its task vector.

    The factor is |tau|_1 / |mask * tau|_1, or 1 if a norm is below 1e-7 (mergekit's DARE). The norms are
    torch's sums over whole vectors: as in mergekit, their last bits depend on torch's number of threads.

    Args:
        base: theta_0.
        term: an expert with a mask.
        work: float32 scratch space with as many elements as `base`.
    """
    flat_base, flat, mask = base.reshape(-1), term.tensor.reshape(-1), term.mask
    assert mask is not None
    drawn = torch.empty(flat.numel(), dtype=torch.int8, device="cpu")

    def magnitudes(start: int, stop: int) -> None:
        (base_block,) = parallel.buffers(1, stop - start)
        base_block.copy_(flat_base[start:stop])
        work[start:stop].copy_(flat[start:stop]).sub_(base_block).abs_()

    def drop(start: int, stop: int) -> None:
        words, shifted = parallel.buffers(2, stop - start)
        keep = _keep_words(mask, start, words, shifted)
        drawn[start:stop].copy_(keep).neg_()
        work[start:stop].view(torch.int32).bitwise_and_(keep)

    parallel.each(flat.numel(), magnitudes)
    before = work.sum()
    parallel.each(flat.numel(), drop)
    after = work.sum()
    factor = 1.0 if before < 1e-7 or after < 1e-7 else float(before / after)
    return replace(term, mask=replace(mask, drawn=drawn), factor=factor)


def weight_column(terms: Sequence[Term]) -> torch.Tensor:
    """Return the weights as mergekit stacks them: float32 [models, 1]."""
    return torch.tensor([term.weight for term in terms], dtype=torch.float32, device="cpu").view(-1, 1)


# ---- one vector


def _compute_vector(vector: torch.Tensor, term: Term, start: int, buffers: _Buffers) -> None:
    """Write v_t = w_t * factor_t * trim_or_drop(theta_t - theta_0) of a block. Overwrites count and total."""
    stop = start + vector.numel()
    vector.copy_(term.tensor[start:stop]).sub_(buffers.base)
    if term.cut is not None:
        for first, last, limit in _limits(term.cut, start, stop):
            if limit is not None:
                torch.ops.aten.hardshrink.out(vector[first:last], limit, out=vector[first:last])
    if term.mask is not None:
        keep = _keep_words(term.mask, start, buffers.count, buffers.total)
        vector.view(torch.int32).bitwise_and_(keep)
    if term.factor != 1:
        vector.mul_(term.factor)
    if term.weight != 1:
        vector.mul_(term.weight)


def _limits(cut: Cut, start: int, stop: int) -> list[tuple[int, int, float | None]]:
    """Return the parts of a block as (from, to, limit): |v| > limit is kept, or everything if it is None."""
    middle = min(max(cut.until, start), stop) - start
    below = float_of(cut.bits - 1) if cut.bits else None
    parts = [(0, middle, below), (middle, stop - start, float_of(cut.bits))]
    return [part for part in parts if part[0] < part[1]]


def _keep_words(mask: Mask, start: int, words: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
    """Write DARE's mask of a block into `words` as int32: all bits set if the element is kept, else 0."""
    words, shifted = words.view(torch.int32), shifted.view(torch.int32)
    if mask.drawn is not None:
        words.copy_(mask.drawn[start : start + words.numel()])
    else:
        hashed = hash_into(words, shifted, start, mask.key, max(parallel.SHARED, parallel.ALONE))
        hashed.lt_(signed_threshold(mask.density))
    return words.neg_()


# ---- all vectors


def _combine(
    terms: Sequence[Term], buffers: _Buffers, rule: Rule, options: PassOptions
) -> tuple[torch.Tensor, PassResult]:
    """Return delta of a block (one of the buffers) and the counts for the PassResult."""
    if rule.kind == "sum":
        return _sum(terms, buffers, rule), PassResult()
    if rule.kind == "mean":
        return _mean(buffers, options)
    return _consensus(terms, buffers, rule), PassResult()


def _sum(terms: Sequence[Term], buffers: _Buffers, rule: Rule) -> torch.Tensor:
    total = _sum_into(buffers.vectors, buffers.vectors[0])
    if rule.host:
        total.add_(0.0)
    if rule.normalize:
        divisor = weight_column(terms).sum(dim=0)
        total.div_(divisor.masked_fill(divisor.abs() < 1e-8, 1.0))
    return total


def _mean(buffers: _Buffers, options: PassOptions) -> tuple[torch.Tensor, PassResult]:
    vectors, flips, signs, total = buffers.vectors, buffers.flips, buffers.signs, buffers.total
    zero_sign, counts = options.zero_sign, options.report != "nothing"
    _sum_into(vectors, total)
    if counts or not zero_sign:
        torch.sign(total, out=signs)
    balance = int(signs.sum()) if counts else 0  # exact: a block has fewer than 2^24 elements
    if len(vectors) == 1:  # the mean of one vector is the vector, with -0 replaced by +0
        return total.add_(0.0), PassResult(balance)
    _elect(total, zero_sign or 1, flips)
    divisor, total = _agreeing(vectors, flips, total, buffers.count, None)
    if not zero_sign:
        total.mul_(signs.abs_())
    contested = None
    if options.report == "contested" and zero_sign:
        contested = _contested(signs, divisor)
    return _signed(total.div_(divisor.clamp_(min=1)), flips), PassResult(balance, contested)


def _contested(signs: torch.Tensor, agreeing: torch.Tensor) -> torch.Tensor | None:
    """Return the indices where the sum is 0 and a vector agrees with the elected sign; None if none exists.

    Both tensors hold small integers, so their sums are exact; they are equal unless such an index exists.
    Overwrites `signs`.
    """
    if agreeing.sum() == torch.dot(signs.abs_(), agreeing):
        return None
    return torch.from_numpy(np.flatnonzero(signs.numpy() < agreeing.clamp(max=1).numpy()))


def _consensus(terms: Sequence[Term], buffers: _Buffers, rule: Rule) -> torch.Tensor:
    flips, spare, total = buffers.flips, buffers.signs, buffers.total
    _elect(_sum_into(buffers.vectors, total), 1, flips)
    weights = [term.weight for term in terms] if rule.normalize else []
    all_one = all(weight == 1 for weight in weights)
    divisor, total = _agreeing(
        buffers.vectors, flips, total, buffers.count, None if weights and all_one else weights
    )
    if rule.normalize:
        # If no vector agrees, the sum is 0 and the divisor does not matter.
        total.div_(divisor.clamp_(min=1) if all_one else divisor.add_(spare.copy_(divisor).eq_(0.0)))
    return _signed(total, flips)


def _sum_into(vectors: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    """Write sum_t v_t, from left to right, into `out`, which may be the first vector."""
    if len(vectors) == 1:
        return out if out is vectors[0] else out.copy_(vectors[0])
    torch.add(vectors[0], vectors[1], out=out)
    for vector in vectors[2:]:
        out.add_(vector)
    return out


def _elect(total: torch.Tensor, zero_sign: int, flips: torch.Tensor) -> None:
    """Write the elected signs, as sign bits, into `flips`. Sums of 0 get `zero_sign` (1 or -1).

    A sum is -0 only if all vectors are 0, and then the sign does not matter.
    """
    bits = flips.view(torch.int32)
    if zero_sign > 0:
        torch.bitwise_and(total.view(torch.int32), _SIGN_BIT, out=bits)
    else:
        torch.neg(total, out=flips).add_(0.0)
        bits.bitwise_not_().bitwise_and_(_SIGN_BIT)


def _signed(magnitudes: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Apply the elected signs to magnitudes, in place; every zero becomes +0."""
    magnitudes.view(torch.int32).bitwise_xor_(flips.view(torch.int32))
    return magnitudes.add_(0.0)


def _agreeing(
    vectors: list[torch.Tensor],
    flips: torch.Tensor,
    total: torch.Tensor,
    count: torch.Tensor,
    weights: list[float] | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many vectors agree with the elected sign, and the sum of their magnitudes.

    With `weights`, the first result is the sum of the agreeing weights; with [] it is not computed.
    Overwrites `vectors`.
    """
    for vector in vectors:
        vector.view(torch.int32).bitwise_xor_(flips.view(torch.int32))
        vector.clamp_(min=0.0)
    _sum_into(vectors, total)
    if weights == []:
        return count, total
    for i, vector in enumerate(vectors):
        vector.sign_()
        if weights and weights[i] != 1:
            vector.mul_(weights[i])
    return _sum_into(vectors, count), total
