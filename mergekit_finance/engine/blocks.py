"""The operators' arithmetic on the CPU, fused over blocks that stay in a core's cache.

    v_t    = w_t * trim_or_drop(theta_t - theta_0)              per model, float32
    sum        delta = sum_t v_t                                (Task Arithmetic)
    mean       delta = mean of {v_t : v_t != 0, sgn(v_t) = g}    g = sgn(sum_t v_t), 0: the majority's
    consensus  delta = sum of {v_t : sgn(v_t) = g}               g = sgn(sum_t v_t), 0 counts as +
    out    = theta_0 + lambda * delta                           rounded once, into out's dtype

Bit for bit what merge_methods/kernels.py computes on whole tensors, out of operations that torch
vectorises: a comparison that gives bools, a masked fill or a `where` costs ten times a product. So
signs are bits to flip: g * v_t > 0 says that v_t agrees, and relu(g * v_t) is what it adds. Rounding is
symmetric, so that taking the sign out of a sum and putting it back changes no bit. Every -0 that this
could leave in delta is made +0, as it is there. All inputs are finite and flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from mergekit_finance.engine import parallel
from mergekit_finance.engine.masks import Key, hash_into, keep_at, signed_threshold
from mergekit_finance.engine.select import float_of, magnitude_bits


@dataclass(frozen=True)
class Cut:
    """Keep magnitudes whose bits are above `bits`, and those that equal it before flat index `until`."""

    bits: int
    until: int

    def limits(self, start: int, stop: int) -> list[tuple[int, int, float | None]]:
        """(from, to, limit): in this part of a block, only |v| > limit is kept; None: all is."""
        middle = min(max(self.until, start), stop) - start
        below = float_of(self.bits - 1) if self.bits else None
        parts = [(0, middle, below), (middle, stop - start, float_of(self.bits))]
        return [part for part in parts if part[0] < part[1]]


@dataclass(frozen=True)
class Mask:
    """DARE's mask of one tensor of one model; `drawn` holds it where it was drawn already (int8)."""

    key: Key
    density: float
    drawn: torch.Tensor | None = None


@dataclass(frozen=True)
class Term:
    """One model's part in one output tensor."""

    tensor: torch.Tensor  # flat, any floating dtype
    weight: float = 1.0
    cut: Cut | None = None
    mask: Mask | None = None
    factor: float = 1.0  # DARE's rescaling, before the weight


@dataclass(frozen=True)
class Rule:
    """How the terms become one."""

    kind: Literal["sum", "mean", "consensus"]
    scale: float = 1.0  # lambda
    host: bool = False  # sums start from 0, as mergekit's do: no -0 comes out of them
    normalize: bool = False


@dataclass(frozen=True, eq=False)
class Elected:
    """What a pass with rule `mean` found out: where sums cancelled, and the majority."""

    balance: int | torch.Tensor = 0  # sum_p sgn(sum_t v_tp); of a GPU that nobody waited for, a tensor
    contested: torch.Tensor | None = None  # flat indices, sorted, where the sum is 0 and a vector is not

    @property
    def cancelled(self) -> bool:
        return self.contested is not None

    @classmethod
    def joined(cls, parts: "Sequence[Elected]") -> "Elected":
        contested = [part.contested for part in parts if part.contested is not None]
        return cls(sum(part.balance for part in parts), torch.cat(contested) if contested else None)


def merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    majority: int = 1,
    settled: bool = False,
    where: bool = True,
) -> Elected:
    """Write the merged tensor into `out` (contiguous, any dtype).

    With rule `mean`, `majority` (-1, 0 or 1) is the sign that sums of exactly 0 take. Where it was a wrong
    guess, `settle` mends what it decided; `settled=True` says that it is none, and nothing is reported;
    with `where=False` only the balance is. With 0, nothing is contested.
    """
    flat_out, flat_base = out.view(-1), base.reshape(-1)
    terms = [replace(term, tensor=term.tensor.reshape(-1)) for term in terms]

    def work(start: int, stop: int) -> Elected:
        b, work_, *vectors = parallel.buffers(len(terms) + 5, stop - start)
        b.copy_(flat_base[start:stop])
        for term, vector in zip(terms, vectors, strict=False):
            _vector(vector, term, b, start, stop, (work_, vectors[-1]))
        delta, elected = _MERGES[rule.kind](terms, vectors, rule, work_, majority, settled, where)
        if rule.scale != 1:
            delta.mul_(rule.scale)
        flat_out[start:stop].copy_(delta.add_(b))
        if elected.contested is not None:
            elected = replace(elected, contested=elected.contested + start)
        return elected

    return Elected.joined(parallel.each(flat_out.numel(), work))


def settle(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    majority: int,
    contested: torch.Tensor,
) -> None:
    """Merge the elements at the flat indices `contested` again, by another majority; any device.

    Their vectors cancel: v_t of one sign is what agrees with it, and with no majority nothing is merged.
    """
    b = base.reshape(-1)[contested].float()
    total, count = torch.zeros_like(b), torch.zeros_like(b)
    for term in terms:
        agreeing = (_vector_at(term, b, contested) * majority).clamp_(min=0.0)
        total += agreeing
        count += agreeing > 0
    delta = total / count.clamp_(min=1) * majority + 0.0
    out.view(-1)[contested] = (b + delta * rule.scale).to(out.dtype)


def _vector_at(term: Term, base: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """v at some flat indices."""
    v = term.tensor.reshape(-1)[index].float() - base
    if term.cut is not None:
        bits = magnitude_bits(v)
        v = v.masked_fill((bits < term.cut.bits) | ((bits == term.cut.bits) & (index >= term.cut.until)), 0.0)
    if term.mask is not None:
        v = v.masked_fill(~keep_at(index, term.mask.density, term.mask.key), 0.0)
    return v * term.factor * term.weight


def sign_balance(base: torch.Tensor, terms: Sequence[Term]) -> int:
    """sum_p sgn(sum_t v_tp)."""
    flat_base = base.reshape(-1)
    terms = [replace(term, tensor=term.tensor.reshape(-1)) for term in terms]

    def work(start: int, stop: int) -> int:
        b, *work_ = parallel.buffers(len(terms) + 3, stop - start)
        b.copy_(flat_base[start:stop])
        vectors, spare = work_[:-2], (work_[-2], work_[-1])
        for term, vector in zip(terms, vectors, strict=True):
            _vector(vector, term, b, start, stop, spare)
        return int(_total(vectors, vectors[0]).sign_().sum())

    return sum(parallel.each(flat_base.numel(), work))


def _vector(
    v: torch.Tensor,
    term: Term,
    base: torch.Tensor,
    start: int,
    stop: int,
    work: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """v = w * trim_or_drop(theta_t - theta_0)."""
    v.copy_(term.tensor[start:stop]).sub_(base)
    if term.cut is not None:
        for first, last, limit in term.cut.limits(start, stop):
            if limit is not None:
                torch.ops.aten.hardshrink.out(v[first:last], limit, out=v[first:last])
    if term.mask is not None:
        v.view(torch.int32).bitwise_and_(_keep(term.mask, start, stop, work))
    if term.factor != 1:
        v.mul_(term.factor)
    if term.weight != 1:
        v.mul_(term.weight)


def _keep(mask: Mask, start: int, stop: int, work: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """All bits set where an element is kept, none where it is dropped; int32, in the first of `work`."""
    words, shifted = (w.view(torch.int32) for w in work)
    if mask.drawn is not None:
        words.copy_(mask.drawn[start:stop])
    else:
        hash_into(words, shifted, start, mask.key, max(parallel.SHARED, parallel.ALONE)).lt_(
            signed_threshold(mask.density)
        )
    return words.neg_()


def _sum(
    terms: Sequence[Term],
    vectors: list[torch.Tensor],
    rule: Rule,
    work: torch.Tensor,
    majority: int,
    settled: bool,
    where: bool,
) -> tuple[torch.Tensor, Elected]:
    total = _total(vectors[: len(terms)], vectors[0])
    if rule.host:
        total.add_(0.0)
    if rule.normalize:
        divisor = weight_column(terms).sum(dim=0)
        total.div_(divisor.masked_fill(divisor.abs() < 1e-8, 1.0))
    return total, Elected()


def _mean(
    terms: Sequence[Term],
    vectors: list[torch.Tensor],
    rule: Rule,
    work: torch.Tensor,
    majority: int,
    settled: bool,
    where: bool,
) -> tuple[torch.Tensor, Elected]:
    count, (flips, signs, total) = len(terms), vectors[-3:]
    _total(vectors[:count], total)
    if not settled or not majority:
        torch.sign(total, out=signs)
    balance = 0 if settled else int(signs.sum())  # exact: a block has less than 2^24 elements
    if count == 1:  # a lone vector agrees with itself: its mean is the vector, its zeros +0
        return total.add_(0.0), Elected(balance)
    _elect(total, majority or 1, flips)
    divisor, total = _agreeing(vectors[:count], flips, total, work, None)
    if not majority:  # no sign is elected where the sum is 0
        total.mul_(signs.abs_())
    contested = _contested(signs, divisor) if where and majority and not settled else None
    return _signed(total.div_(divisor.clamp_(min=1)), flips), Elected(balance, contested)


def _contested(signs: torch.Tensor, agreeing: torch.Tensor) -> torch.Tensor | None:
    """Where a sum is 0 and a vector agrees with the majority; both tensors hold small whole numbers.

    Sums of them are exact, and equal unless there is such a place. `signs` is used up.
    """
    if agreeing.sum() == torch.dot(signs.abs_(), agreeing):
        return None
    return torch.from_numpy(np.flatnonzero(signs.numpy() < agreeing.clamp(max=1).numpy()))


def _consensus(
    terms: Sequence[Term],
    vectors: list[torch.Tensor],
    rule: Rule,
    work: torch.Tensor,
    majority: int,
    settled: bool,
    where: bool,
) -> tuple[torch.Tensor, Elected]:
    count, (flips, spare, total) = len(terms), vectors[-3:]
    _elect(_total(vectors[:count], total), 1, flips)
    weights = [term.weight for term in terms] if rule.normalize else []
    unit = all(weight == 1 for weight in weights)
    divisor, total = _agreeing(vectors[:count], flips, total, work, None if weights and unit else weights)
    if rule.normalize:
        # Where nothing agrees the sum is 0, whatever divides it.
        total.div_(divisor.clamp_(min=1) if unit else divisor.add_(spare.copy_(divisor).eq_(0.0)))
    return _signed(total, flips), Elected()


_MERGES = {"sum": _sum, "mean": _mean, "consensus": _consensus}


def _total(vectors: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    """sum_t v_t from left to right, into `out` (which may be the first of them)."""
    if len(vectors) == 1:
        return out if out is vectors[0] else out.copy_(vectors[0])
    torch.add(vectors[0], vectors[1], out=out)
    for vector in vectors[2:]:
        out.add_(vector)
    return out


_SIGN = -(1 << 31)  # the sign bit of a float32


def _elect(total: torch.Tensor, majority: int, flips: torch.Tensor) -> None:
    """The elected signs into `flips`: the sign bit where it is -. Sums of 0 take the majority's (1 or -1).

    A sum is -0 only where all vectors are 0, and then the sign is nobody's.
    """
    bits = flips.view(torch.int32)
    if majority > 0:
        torch.bitwise_and(total.view(torch.int32), _SIGN, out=bits)
    else:
        torch.neg(total, out=flips).add_(0.0)
        bits.bitwise_not_().bitwise_and_(_SIGN)


def _signed(magnitudes: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """The elected signs put back, every zero +0; in place."""
    magnitudes.view(torch.int32).bitwise_xor_(flips.view(torch.int32))
    return magnitudes.add_(0.0)


def _agreeing(
    vectors: list[torch.Tensor],
    flips: torch.Tensor,
    total: torch.Tensor,
    count: torch.Tensor,
    weights: list[float] | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many agree (or their weights; [] asks for neither), and the sum of their magnitudes."""
    for vector in vectors:
        vector.view(torch.int32).bitwise_xor_(flips.view(torch.int32))
        vector.clamp_(min=0.0)
    _total(vectors, total)
    if weights == []:
        return count, total
    for i, vector in enumerate(vectors):
        vector.sign_()
        if weights and weights[i] != 1:
            vector.mul_(weights[i])
    return _total(vectors, count), total


def weight_column(terms: Sequence[Term]) -> torch.Tensor:
    """The weights as mergekit stacks them, float32 [models, 1]."""
    return torch.tensor([term.weight for term in terms], dtype=torch.float32, device="cpu").view(-1, 1)


def keep_norm(base: torch.Tensor, term: Term, work: torch.Tensor) -> Term:
    """`term` with its mask drawn and the factor that keeps the L1 norm (1 where a norm is under 1e-7).

    `work` is a float32 tensor of the same size. The norms are torch's sums over the whole vector: their
    last bits depend on torch's number of threads, as mergekit's do.
    """
    flat_base, flat, mask = base.reshape(-1), term.tensor.reshape(-1), term.mask
    assert mask is not None
    drawn = torch.empty(flat.numel(), dtype=torch.int8, device="cpu")

    def magnitudes(start: int, stop: int) -> None:
        (b,) = parallel.buffers(1, stop - start)
        b.copy_(flat_base[start:stop])
        work[start:stop].copy_(flat[start:stop]).sub_(b).abs_()

    def drop(start: int, stop: int) -> None:
        keep = _keep(mask, start, stop, tuple(parallel.buffers(2, stop - start)))
        drawn[start:stop].copy_(keep).neg_()
        work[start:stop].view(torch.int32).bitwise_and_(keep)

    parallel.each(flat.numel(), magnitudes)
    before = work.sum()
    parallel.each(flat.numel(), drop)
    after = work.sum()
    factor = 1.0 if before < 1e-7 or after < 1e-7 else float(before / after)
    return replace(term, mask=replace(mask, drawn=drawn), factor=factor)


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether nothing in `tensor` is NaN, Inf or too large for float32. A finite sum proves it."""
    flat = tensor.reshape(-1)

    def work(start: int, stop: int) -> bool:
        (buffer,) = parallel.buffers(1, stop - start)
        buffer.copy_(flat[start:stop])
        return bool(torch.isfinite(buffer.sum())) or bool(torch.isfinite(buffer).all())

    return all(parallel.each(flat.numel(), work))
