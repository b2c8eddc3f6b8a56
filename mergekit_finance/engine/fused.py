"""The operators' arithmetic on any device: blocks on the CPU, one kernel on a GPU, plain torch elsewhere.

The Triton kernel reads base and experts once, in their own dtypes, and writes the merged tensor. DARE's
masks are hashed in it, cuts are compared in it (see blocks.Cut: a tie is settled by its flat index, so
that trimming is elementwise). Multiplications and additions are not fused and divisions are correctly
rounded: 0 elements differ from the CPU.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from mergekit_finance.engine import blocks, select
from mergekit_finance.engine.blocks import Elected, Mask, Rule, Term
from mergekit_finance.engine.masks import keep_mask, signed_threshold

CHUNK = 1 << 24  # elements of a plain-torch pass: bounds its float32 temporaries
MOST_EXPERTS = 4  # that the kernel takes


def merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    majority: int = 1,
    settled: bool = False,
    where: bool = True,
) -> Elected:
    """blocks.merge on the device of `base`. All tensors are there; `out` is contiguous."""
    if base.device.type == "cpu":
        return blocks.merge(out, base, terms, rule, majority, settled, where)
    if _kernel_takes(base, terms, rule):
        from mergekit_finance.engine import triton_kernels

        return triton_kernels.merge(out, base, terms, rule, majority, settled, where)
    return plain_merge(out, base, terms, rule, majority, settled, where)


def sign_balance(base: torch.Tensor, terms: Sequence[Term]) -> int | torch.Tensor:
    """blocks.sign_balance on the device of `base`: what `merge` with rule `mean` finds, nothing written."""
    if base.device.type == "cpu":
        return blocks.sign_balance(base, terms)
    rule = Rule("mean")
    if _kernel_takes(base, terms, rule):
        from mergekit_finance.engine import triton_kernels

        return triton_kernels.merge(base, base, terms, rule, where=False, write=False).balance
    return _plain_balance(base, terms)


def total(balances: Sequence[int | torch.Tensor]) -> int:
    """Their sum; each GPU is waited for once."""
    by_device: dict[Any, list[torch.Tensor]] = {}
    for balance in balances:
        if isinstance(balance, torch.Tensor):
            by_device.setdefault(balance.device, []).append(balance)
    known = sum(balance for balance in balances if not isinstance(balance, torch.Tensor))
    return known + sum(int(torch.stack(found).sum()) for found in by_device.values())


def keep_norm(base: torch.Tensor, term: Term) -> Term:
    """blocks.keep_norm on the device of `base`. The norms are that device's sums."""
    if base.device.type == "cpu":
        return blocks.keep_norm(base, term, torch.empty(base.numel(), device="cpu"))
    assert term.mask is not None
    tau = term.tensor.to(torch.float32, copy=True).sub_(base).abs_().view(-1)  # one float32 copy, not two
    keep = keep_mask(tau.shape, term.mask.density, term.mask.key, tau.device)
    before, after = tau.sum(), tau.mul_(keep).sum()
    return term if before < 1e-7 or after < 1e-7 else replace(term, factor=float(before / after))


@lru_cache(maxsize=1)
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _kernel_takes(base: torch.Tensor, terms: Sequence[Term], rule: Rule) -> bool:
    """A weighted division by a sum of weights is left to torch: nobody sweeps it."""
    return (
        base.device.type == "cuda"
        and has_triton()
        and len(terms) <= MOST_EXPERTS
        and not (rule.normalize and any(term.weight != 1 for term in terms))
        and all(term.tensor.is_contiguous() for term in terms)
        and base.is_contiguous()
    )


def plain_merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    majority: int = 1,
    settled: bool = False,
    where: bool = True,
) -> Elected:
    """The same in plain torch, on any device, a chunk at a time."""
    flat_out, flat_base = out.view(-1), base.reshape(-1)
    flat = [term.tensor.reshape(-1) for term in terms]
    found = []
    for start in range(0, flat_base.numel(), CHUNK):
        part = slice(start, min(start + CHUNK, flat_base.numel()))
        b = flat_base[part].float()
        vectors = [
            _vector(tensor[part].float() - b, term, start) for tensor, term in zip(flat, terms, strict=True)
        ]
        delta, elected = _delta(vectors, terms, rule, majority)
        flat_out[part].copy_(delta.mul_(rule.scale).add_(b))
        if elected.contested is not None:
            elected = replace(elected, contested=elected.contested + start if where else None)
        found.append(elected)
    return Elected() if settled else Elected.joined(found)


def _plain_balance(base: torch.Tensor, terms: Sequence[Term]) -> int:
    flat_base, flat, found = base.reshape(-1), [term.tensor.reshape(-1) for term in terms], 0
    for start in range(0, flat_base.numel(), CHUNK):
        part = slice(start, min(start + CHUNK, flat_base.numel()))
        b = flat_base[part].float()
        summed = torch.zeros_like(b)
        for tensor, term in zip(flat, terms, strict=True):
            summed += _vector(tensor[part].float() - b, term, start)
        found += int(summed.sign().sum(dtype=torch.float64))
    return found


def _vector(v: torch.Tensor, term: Term, start: int) -> torch.Tensor:
    """w * trim_or_drop(tau) of a chunk that begins at flat index `start`."""
    if term.cut is not None:
        bits = select.magnitude_bits(v)
        index = torch.arange(start, start + v.numel(), device=v.device)
        keep = (bits > term.cut.bits) | ((bits == term.cut.bits) & (index < term.cut.until))
        v = v.masked_fill(~keep, 0.0)
    if term.mask is not None:
        v = v.masked_fill(~_kept(term.mask, start, v), 0.0)
    return v * term.factor * term.weight


def _kept(mask: Mask, start: int, v: torch.Tensor) -> torch.Tensor:
    from mergekit_finance.engine.masks import hash_into

    words, shifted = torch.empty(2, v.numel(), dtype=torch.int32, device=v.device)
    return hash_into(words, shifted, start, mask.key, CHUNK) < signed_threshold(mask.density)


def _delta(
    vectors: list[torch.Tensor], terms: Sequence[Term], rule: Rule, majority: int
) -> tuple[torch.Tensor, Elected]:
    total = vectors[0].clone()
    for vector in vectors[1:]:
        total += vector
    if rule.kind == "sum":
        divisor = blocks.weight_column(terms).sum(dim=0).to(total.device)
        total = total + 0.0 if rule.host else total
        return (total / divisor.masked_fill(divisor.abs() < 1e-8, 1.0) if rule.normalize else total), (
            Elected()
        )
    mean, zero = rule.kind == "mean", total == 0
    sign = total.sign() if mean else (total >= 0).float() * 2 - 1
    balance = int(sign.sum(dtype=torch.float64)) if mean else 0
    sign = sign + zero * float(majority) if mean else sign
    summed, count, contested = torch.zeros_like(total), torch.zeros_like(total), torch.zeros_like(zero)
    for vector, term in zip(vectors, terms, strict=True):
        agrees = vector * sign > 0
        summed += vector.masked_fill(~agrees, 0.0)
        count += agrees * (1.0 if mean else term.weight)
        contested |= vector != 0
    if mean or rule.normalize:
        summed /= count.masked_fill(count == 0, 1.0)
    where = (contested & zero).nonzero().view(-1) if mean and majority else None
    return summed, Elected(balance, where if where is not None and len(where) else None)


def describe(device: Any) -> str:
    """Which of the three runs on a device."""
    if torch.device(device).type == "cpu":
        return "blocks"
    return "triton" if torch.device(device).type == "cuda" and has_triton() else "torch"
