"""Bits of other implementations of the operators, compared with those of the CPU's blocks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from helpers.merging import raw
from mergekit_finance.engine import blocks
from mergekit_finance.engine.terms import Cut, Mask, PassOptions, PassResult, Rule, Term

N = 5001
RULES = [Rule("sum", 0.7), Rule("sum", 0.7, True, True), Rule("mean", 0.7), Rule("consensus", -0.7, True)]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cut": {"cut": Cut(0x39A00000, 1700)},
    "mask": {"mask": Mask((2**32 - 5, 17, 2**31 + 3), 0.3), "factor": 1 / 0.3},
}


def models(count: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(count)
    base = (torch.randn(N, generator=generator) * 0.02).bfloat16()
    noise = torch.randn(count, N, generator=generator) * 3e-4
    return base, [(base.float() + row).bfloat16() for row in noise]


def counted(result: PassResult) -> tuple[int, list[int]]:
    return int(result.balance), [] if result.contested is None else result.contested.tolist()


def compare(merge: Callable[..., PassResult], experts: int, rule: Rule, option: str, majority: int) -> None:
    """Merge with `merge` and with the blocks, and compare every bit and count."""
    base, tensors = models(experts)
    weights = [1.0 if rule.normalize else 1.0 - 0.3 * i for i in range(experts)]
    terms = [Term(t, w, **OPTIONS[option]) for t, w in zip(tensors, weights, strict=True)]
    out, expected = torch.empty(N), torch.empty(N)
    theirs = blocks.merge(expected, base, terms, rule, PassOptions(majority))
    ours = merge(out, base, terms, rule, PassOptions(majority))
    assert raw(out) == raw(expected)
    if rule.kind == "mean" and experts > 1 and majority:
        assert counted(ours) == counted(theirs)


def compare_balance(balance: Callable[..., int | torch.Tensor], experts: int, option: str) -> None:
    """Compare a sign balance with that of the blocks."""
    base, tensors = models(experts)
    terms = [Term(t, 1.0 - 0.3 * i, **OPTIONS[option]) for i, t in enumerate(tensors)]
    assert int(balance(base, terms)) == blocks.sign_balance(base, terms)


each = pytest.mark.parametrize("experts", [1, 2, 3, 4])
options = pytest.mark.parametrize("option", OPTIONS)
rules = pytest.mark.parametrize("rule", RULES, ids=str)
