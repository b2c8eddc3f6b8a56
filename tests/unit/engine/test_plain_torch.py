"""The operators in plain torch against the CPU's blocks."""

import pytest
from helpers.implementations import compare, compare_balance, each, options, rules

from mergekit_finance.engine import plain_torch
from mergekit_finance.engine.terms import Rule


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
