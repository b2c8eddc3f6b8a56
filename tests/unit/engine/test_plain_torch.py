"""The operators in plain torch against the CPU's blocks."""

import pytest
import torch
from helpers.implementations import compare, compare_balance, each, options, rules

from mergekit_finance.engine import plain_torch
from mergekit_finance.engine.terms import Rule, Term


@each
@options
@rules
def test_plain_torch_gives_the_bits_of_the_blocks(
    experts: int, option: str, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_torch, "CHUNK", 1 << 11)
    for majority in (-1, 0, 1):
        compare(plain_torch.merge, experts, rule, option, majority)


@each
@options
def test_plain_torch_counts_the_same_sign_balance(
    experts: int, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_torch, "CHUNK", 1 << 11)
    compare_balance(plain_torch.sign_balance, experts, option)


@pytest.mark.parametrize(("sign", "expected"), [(1, 12.0), (-1, 6.0), (0, 10.0)])
def test_a_sum_of_zero_takes_the_mean_of_the_vectors_with_the_given_sign(sign: int, expected: float) -> None:
    """Vectors 1, 3 and -4 at the base 10: their mean with the sign + is 2, and with the sign - it is -4."""
    base, out = torch.tensor([5.0, 10.0]), torch.tensor([7.0, 7.0])
    terms = [Term(torch.tensor([5.0, 10.0 + vector]), 1.0) for vector in (1.0, 3.0, -4.0)]
    plain_torch.merge_contested(out, base, terms, Rule("mean", 1.0), sign, torch.tensor([1]))
    assert out.tolist() == [7.0, expected]
