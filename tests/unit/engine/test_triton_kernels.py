"""The Triton kernel in Triton's interpreter, against the CPU's blocks.

TRITON_INTERPRET=1 pytest tests/unit/engine/test_triton_kernels.py, where Triton is installed; skipped elsewhere.

Outputs are float32: the interpreter truncates to bfloat16 instead of rounding. On a GPU,
tests/benchmarks/gpu_engine.py compares the bits of bfloat16 outputs.
"""

import contextlib
import importlib.util
import os
from types import ModuleType

import pytest
import torch
from helpers.implementations import N, compare, compare_balance, each, options, rules
from helpers.merging import raw

from mergekit_finance.engine import blocks
from mergekit_finance.engine.terms import PassOptions, Rule, Term


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs Triton, and TRITON_INTERPRET=1 before anything imports it")
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    from mergekit_finance.engine import triton_kernels

    return triton_kernels


@each
@options
@rules
def test_the_kernel_gives_the_bits_of_the_blocks(
    kernels: ModuleType, experts: int, option: str, rule: Rule
) -> None:
    for majority in (-1, 0, 1):
        compare(kernels.merge, experts, rule, option, majority)


@each
@options
def test_the_kernel_counts_signs_with_and_without_merging(
    kernels: ModuleType, experts: int, option: str
) -> None:
    """The kernel counts alone and while it merges, and writes only the statistics that are requested."""
    if experts == 1:
        pytest.skip("a single vector needs no majority, so none is counted")
    rule = Rule("mean", 0.7)

    def alone(base: torch.Tensor, terms: list[Term]) -> int | torch.Tensor:
        before = raw(base)
        balance = kernels.sign_balance(base, terms)
        assert raw(base) == before
        return balance

    def beside(base: torch.Tensor, terms: list[Term]) -> int | torch.Tensor:
        out, expected = torch.empty(N), torch.empty(N)
        blocks.merge(expected, base, terms, rule)
        result = kernels.merge(out, base, terms, rule, PassOptions(report="balance"))
        assert raw(out) == raw(expected) and result.contested is None
        return result.balance

    for balance in (alone, beside):
        compare_balance(balance, experts, option)
