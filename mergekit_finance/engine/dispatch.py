"""Merge one output tensor with the implementation for its device.

    CPU              blocks.py
    CUDA             triton_kernels.py, if Triton is installed and the kernel supports the merge
    anything else    plain_torch.py

All implementations give the same bits: none fuses products with sums, and all divide with correct rounding.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch

from mergekit_finance.engine import blocks, plain_torch
from mergekit_finance.engine.masks import keep_mask
from mergekit_finance.engine.terms import DEFAULT_OPTIONS, Implementation, PassOptions, PassResult, Rule, Term

MAX_KERNEL_EXPERTS = 4


def merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    options: PassOptions = DEFAULT_OPTIONS,
) -> PassResult:
    """Merge with the implementation for the device of `base`: see `terms.Implementation.merge`."""
    return _implementation(base, terms, rule).merge(out, base, terms, rule, options)


def sign_balance(base: torch.Tensor, terms: Sequence[Term]) -> int | torch.Tensor:
    """Return sum_p sgn(sum_t v_tp), as `merge` with rule `mean` reports it, without merging.

    On a GPU, the result is a tensor that is computed asynchronously; `total_balance` waits for it.
    """
    return _implementation(base, terms, Rule("mean")).sign_balance(base, terms)


def total_balance(balances: Sequence[int | torch.Tensor]) -> int:
    """Return the sum of sign balances, waiting for each GPU once."""
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for balance in balances:
        if isinstance(balance, torch.Tensor):
            by_device.setdefault(balance.device, []).append(balance)
    counted = sum(balance for balance in balances if not isinstance(balance, torch.Tensor))
    return counted + sum(int(torch.stack(pending).sum()) for pending in by_device.values())


def keep_norm(base: torch.Tensor, term: Term) -> Term:
    """Return what `blocks.keep_norm` returns, with the norms summed on the device of `base`."""
    if base.device.type == "cpu":
        return blocks.keep_norm(base, term, torch.empty(base.numel(), device="cpu"))
    assert term.mask is not None
    tau = term.tensor.to(torch.float32, copy=True).sub_(base).abs_().view(-1)  # one float32 copy, not two
    keep = keep_mask(tau.shape, term.mask.density, term.mask.key, tau.device)
    before, after = tau.sum(), tau.mul_(keep).sum()
    return term if before < 1e-7 or after < 1e-7 else replace(term, factor=float(before / after))


def implementation(device: str | torch.device) -> str:
    """Return the name of the implementation that runs on a device: blocks, triton or torch."""
    if torch.device(device).type == "cpu":
        return "blocks"
    return "triton" if torch.device(device).type == "cuda" and has_triton() else "torch"


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Return whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def _implementation(base: torch.Tensor, terms: Sequence[Term], rule: Rule) -> Implementation:
    if base.device.type == "cpu":
        return blocks
    if _kernel_takes(base, terms, rule):
        # Imported here: Triton is not installed on every machine.
        from mergekit_finance.engine import triton_kernels

        return triton_kernels
    return plain_torch


def _kernel_takes(base: torch.Tensor, terms: Sequence[Term], rule: Rule) -> bool:
    """Return whether the Triton kernel supports this merge: it cannot divide by weights other than 1."""
    return (
        base.device.type == "cuda"
        and has_triton()
        and len(terms) <= MAX_KERNEL_EXPERTS
        and not (rule.normalize and any(term.weight != 1 for term in terms))
        and all(term.tensor.is_contiguous() for term in terms)
        and base.is_contiguous()
    )
