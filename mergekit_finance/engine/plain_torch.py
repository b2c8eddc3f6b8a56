"""The merge operators in plain torch, one chunk at a time, for devices without Triton. Math: terms.py.

The results have the bits of blocks.py if the device rounds as in IEEE 754 and does not fuse operations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from mergekit_finance.engine import blocks
from mergekit_finance.engine.masks import hash_into, keep_at, signed_threshold
from mergekit_finance.engine.terms import DEFAULT_OPTIONS, Mask, PassOptions, PassResult, Rule, Term
from mergekit_finance.engine.top_k import magnitude_bits

CHUNK = 1 << 24  # elements of a pass; this bounds the memory of its float32 temporaries


def merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    options: PassOptions = DEFAULT_OPTIONS,
) -> PassResult:
    """Merge tensors on any device: see `terms.Implementation.merge`."""
    flat_out, results = out.view(-1), []
    for part, chunk, vectors in _chunks(base, terms):
        delta, result = _combine(vectors, terms, rule, options.zero_sign)
        flat_out[part].copy_(delta.mul_(rule.scale).add_(chunk))
        if result.contested is not None:
            located = result.contested + part.start if options.report == "contested" else None
            result = replace(result, contested=located)
        results.append(result)
    return PassResult() if options.report == "nothing" else PassResult.joined(results)


def sign_balance(base: torch.Tensor, terms: Sequence[Term]) -> int:
    """Return sum_p sgn(sum_t v_tp), without merging."""
    balance = 0
    for _, chunk, vectors in _chunks(base, terms):
        total = torch.zeros_like(chunk)
        for vector in vectors:
            total += vector
        balance += int(total.sign().sum(dtype=torch.float64))
    return balance


def merge_contested(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    zero_sign: int,
    contested: torch.Tensor,
) -> None:
    """Merge the elements at the flat indices `contested` again, with another sign for sums of exactly 0.

    The sum of their vectors is 0. The vectors with the sign `zero_sign` are merged; none if it is 0. Any
    device.
    """
    base_values = base.reshape(-1)[contested].float()
    total, count = torch.zeros_like(base_values), torch.zeros_like(base_values)
    for term in terms:
        agreeing = (_vector_at(term, base_values, contested) * zero_sign).clamp_(min=0.0)
        total += agreeing
        count += agreeing > 0
    delta = total / count.clamp_(min=1) * zero_sign + 0.0
    out.view(-1)[contested] = (base_values + delta * rule.scale).to(out.dtype)


def _vector_at(term: Term, base: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return v_t at the flat indices `index`; `base` has the base's values at these indices."""
    v = term.tensor.reshape(-1)[index].float() - base
    if term.cut is not None:
        bits = magnitude_bits(v)
        v = v.masked_fill((bits < term.cut.bits) | ((bits == term.cut.bits) & (index >= term.cut.until)), 0.0)
    if term.mask is not None:
        v = v.masked_fill(~keep_at(index, term.mask.density, term.mask.key), 0.0)
    return v * term.factor * term.weight


def _chunks(
    base: torch.Tensor, terms: Sequence[Term]
) -> Iterator[tuple[slice, torch.Tensor, list[torch.Tensor]]]:
    """Yield the position, the base and the vectors v_t of every chunk, float32."""
    flat_base, flat = base.reshape(-1), [term.tensor.reshape(-1) for term in terms]
    for start in range(0, flat_base.numel(), CHUNK):
        part = slice(start, min(start + CHUNK, flat_base.numel()))
        chunk = flat_base[part].float()
        yield (
            part,
            chunk,
            [_vector(tensor[part].float() - chunk, t, start) for tensor, t in zip(flat, terms, strict=True)],
        )


def _vector(v: torch.Tensor, term: Term, start: int) -> torch.Tensor:
    """Return w_t * factor_t * trim_or_drop(v) of a chunk that begins at flat index `start`."""
    if term.cut is not None:
        bits = magnitude_bits(v)
        index = torch.arange(start, start + v.numel(), device=v.device)
        keep = (bits > term.cut.bits) | ((bits == term.cut.bits) & (index < term.cut.until))
        v = v.masked_fill(~keep, 0.0)
    if term.mask is not None:
        v = v.masked_fill(~_keep(term.mask, start, v), 0.0)
    return v * term.factor * term.weight


def _keep(mask: Mask, start: int, v: torch.Tensor) -> torch.Tensor:
    words, shifted = torch.empty(2, v.numel(), dtype=torch.int32, device=v.device)
    return hash_into(words, shifted, start, mask.key, CHUNK) < signed_threshold(mask.density)


def _combine(
    vectors: list[torch.Tensor], terms: Sequence[Term], rule: Rule, zero_sign: int
) -> tuple[torch.Tensor, PassResult]:
    total = vectors[0].clone()
    for vector in vectors[1:]:
        total += vector
    if rule.kind == "sum":
        return _sum(total, terms, rule), PassResult()
    mean, zero = rule.kind == "mean", total == 0
    sign = total.sign() if mean else (total >= 0).float() * 2 - 1
    balance = int(sign.sum(dtype=torch.float64)) if mean else 0
    sign = sign + zero * float(zero_sign) if mean else sign
    summed, count, moved = torch.zeros_like(total), torch.zeros_like(total), torch.zeros_like(zero)
    for vector, term in zip(vectors, terms, strict=True):
        agrees = vector * sign > 0
        summed += vector.masked_fill(~agrees, 0.0)
        count += agrees * (1.0 if mean else term.weight)
        moved |= vector != 0
    if mean or rule.normalize:
        summed /= count.masked_fill(count == 0, 1.0)
    contested = (moved & zero).nonzero().view(-1) if mean and zero_sign else None
    return summed, PassResult(balance, contested if contested is not None and len(contested) else None)


def _sum(total: torch.Tensor, terms: Sequence[Term], rule: Rule) -> torch.Tensor:
    if rule.host:
        total = total + 0.0
    if not rule.normalize:
        return total
    divisor = blocks.weight_column(terms).sum(dim=0).to(total.device)
    return total / divisor.masked_fill(divisor.abs() < 1e-8, 1.0)
