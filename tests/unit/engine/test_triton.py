"""The Triton kernel in Triton's interpreter, against the CPU's blocks.

TRITON_INTERPRET=1 pytest tests/unit/test_engine_triton.py, where Triton is installed; skipped elsewhere.

Outputs are float32: the interpreter cuts bfloat16 off instead of rounding it. On a GPU,
tests/benchmarks/gpu_engine.py compares the bits of bfloat16 outputs.
"""

import contextlib
import importlib.util
import os
from typing import Any

import pytest
import torch
from helpers.merging import raw

from mergekit_finance.engine import blocks, dispatch, plain_torch
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


def found(elected: PassResult) -> tuple[int, list[int]]:
    return elected.balance, [] if elected.contested is None else elected.contested.tolist()


def compare(merge: Any, experts: int, rule: Rule, option: str, majority: int) -> None:
    base, tensors = models(experts)
    weights = [1.0 if rule.normalize else 1.0 - 0.3 * i for i in range(experts)]
    terms = [Term(t, w, **OPTIONS[option]) for t, w in zip(tensors, weights, strict=True)]
    out, expected = torch.empty(N), torch.empty(N)
    theirs = blocks.merge(expected, base, terms, rule, PassOptions(majority))
    ours = merge(out, base, terms, rule, PassOptions(majority))
    assert raw(out) == raw(expected)
    if rule.kind == "mean" and experts > 1 and majority:
        assert found(ours) == found(theirs)


def compare_balance(balance: Any, experts: int, option: str) -> None:
    base, tensors = models(experts)
    terms = [Term(t, 1.0 - 0.3 * i, **OPTIONS[option]) for i, t in enumerate(tensors)]
    assert int(balance(base, terms)) == blocks.sign_balance(base, terms)


each = pytest.mark.parametrize("experts", [1, 2, 3, 4])
options = pytest.mark.parametrize("option", OPTIONS)
rules = pytest.mark.parametrize("rule", RULES, ids=str)


@each
@options
@rules
def test_plain_torch(experts: int, option: str, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_torch, "CHUNK", 1 << 11)
    for majority in (-1, 0, 1):
        compare(plain_torch.merge, experts, rule, option, majority)


@each
@options
def test_plain_election(experts: int, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_torch, "CHUNK", 1 << 11)
    compare_balance(plain_torch.sign_balance, experts, option)


def test_a_total_of_counts_here_and_there() -> None:
    assert dispatch.total_balance([3, torch.tensor(-5), 0, torch.tensor(7)]) == 5


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs Triton, and TRITON_INTERPRET=1 before anything imports it")
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    from mergekit_finance.engine import triton_kernels

    return triton_kernels


@each
@options
@rules
def test_the_kernel(kernels: Any, experts: int, option: str, rule: Rule) -> None:
    for majority in (-1, 0, 1):
        compare(kernels.merge, experts, rule, option, majority)


@each
@options
def test_the_kernels_election(kernels: Any, experts: int, option: str) -> None:
    """Alone, and beside a merge that waits for nothing; what is not asked for is not written."""
    if experts == 1:
        return  # a lone vector's majority decides nothing, and is not counted
    rule = Rule("mean", 0.7)

    def alone(base: torch.Tensor, terms: list[Term]) -> Any:
        before = raw(base)
        balance = kernels.sign_balance(base, terms)
        assert raw(base) == before
        return balance

    def beside(base: torch.Tensor, terms: list[Term]) -> Any:
        out, expected = torch.empty(N), torch.empty(N)
        blocks.merge(expected, base, terms, rule)
        elected = kernels.merge(out, base, terms, rule, PassOptions(report="balance"))
        assert raw(out) == raw(expected) and elected.contested is None
        return elected.balance

    for balance in (alone, beside):
        compare_balance(balance, experts, option)
