"""Cuts of task vectors against a sort: every edge case."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from helpers.engine import rows, shrink_blocks
from helpers.merging import raw
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.engine import cuts, top_k
from mergekit_finance.engine.terms import Cut

quick = settings(max_examples=80, deadline=None)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shrink_blocks(monkeypatch, 16)
    yield


def by_sorting(tau: torch.Tensor, k: int) -> list[bool]:
    keep = np.zeros(tau.numel(), dtype=bool)
    keep[np.argsort(-tau.abs().numpy(), kind="stable")[:k]] = True
    return keep.tolist()


def kept(tau: torch.Tensor, cut: Cut) -> list[bool]:
    bits, index = top_k.magnitude_bits(tau), torch.arange(tau.numel())
    return ((bits > cut.bits) | ((bits == cut.bits) & (index < cut.until))).tolist()


def assert_selects(base: torch.Tensor, expert: torch.Tensor, counts: list[int]) -> None:
    tau = expert.float() - base.float()
    before = raw(base), raw(expert)
    for k, cut in zip(counts, cuts.exact_cuts(base, expert, counts), strict=True):
        if cut.bits:
            assert kept(tau, cut) == by_sorting(tau, k)
        else:  # a zero stays zero whether it is kept or not
            assert int((tau != 0).sum()) <= k
    assert (raw(base), raw(expert)) == before  # the inputs are unchanged


@quick
@given(rows, rows, st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_cuts_keep_what_a_stable_sort_keeps(
    base: list[float], expert: list[float], counts: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shrink_blocks(patch, 16)
        assert_selects(torch.tensor(base), torch.tensor(expert), counts)


def bf16_with_zeros(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(n, generator=generator) * 0.02).bfloat16()
    expert = (base.float() + torch.randn(n, generator=generator) * 1e-4).bfloat16()
    assert float((expert == base).float().mean()) > 0.3
    return base, expert


EDGES = {
    "all equal": (torch.zeros(1000), torch.full((1000,), -0.5)),
    "halves over a base": (torch.arange(1000.0), torch.arange(1000.0) + torch.arange(1000) % 7 / 2.0),
    "all zero": (torch.ones(1000), torch.ones(1000)),
    "many zeros": (torch.zeros(1000), (torch.arange(1000) % 10 == 0).float() * torch.arange(1000)),
    "subnormals": (torch.zeros(1000), torch.arange(1000) * 1e-45),
    "signed zeros": (torch.tensor([0.0, -0.0] * 500), torch.tensor([-0.0, 0.0, 1e-45, 0.0] * 250)),
    "huge": (torch.full((1000,), -1.6e38), torch.linspace(-1e38, 1.6e38, 1000)),
    "bf16, 30 % zeros": bf16_with_zeros(5000),
}


@pytest.mark.parametrize("edge", EDGES)
def test_cuts_of_edge_cases_keep_what_a_stable_sort_keeps(edge: str) -> None:
    base, expert = EDGES[edge]
    n = base.numel()
    assert_selects(base, expert, [1, 2, n // 10, n // 3, n // 2, n - 1, n])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            cuts, "SAMPLE", 64
        )  # smaller than the tensors: cuts are found by histograms and from a sample
        shrink_blocks(patch, 128)
        assert_selects(base, expert, [1, 2, n // 10, n // 3, n // 2, n - 1, n])
        for k in (2, n // 3, n // 2):
            assert_selects(base, expert, [k])


def test_cuts_do_not_depend_on_blocks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    base, expert = bf16_with_zeros(70_000)
    threads, results = torch.get_num_threads(), []
    try:
        for block, count in ((1 << 10, 1), (1 << 12, 3), (1 << 20, 2)):
            shrink_blocks(monkeypatch, block)
            torch.set_num_threads(count)
            results.append(cuts.exact_cuts(base, expert, [70, 7000, 35_000]))
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


SAMPLED = {
    "normal": lambda g, n: (torch.zeros(n), torch.randn(n, generator=g)),
    "bf16": lambda g, n: bf16_with_zeros(n),
    "halves": lambda g, n: (torch.zeros(n), torch.randint(-9, 9, (n,), generator=g) / 2.0),
    "halves over a base": lambda g, n: (
        torch.arange(n) / 4,
        torch.arange(n) / 4 + torch.randint(-9, 9, (n,), generator=g) / 2.0,
    ),
    "periodic": lambda g, n: (torch.zeros(n), (torch.arange(n) % 64).float()),
    "sorted": lambda g, n: (torch.zeros(n), torch.linspace(-1, 2, n)),
}


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_sampled_cut_equals_the_exact_cut(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SAMPLE", 1 << 9)
    shrink_blocks(monkeypatch, 1 << 10)
    n = 20_011
    base, expert = SAMPLED[kind](torch.Generator().manual_seed(0), n)
    sampled_cuts, before = 0, (raw(base), raw(expert))
    for k in (1, 7, n // 5, n // 2, n - 9, n):
        (exact,) = cuts.exact_cuts(base, expert, [k], cuts.high_counts(base, expert))
        sampled = cuts.sampled_cut(base, expert, k)
        assert sampled is None or sampled == exact
        sampled_cuts += sampled is not None
    assert sampled_cuts >= 3 or kind in ("halves", "halves over a base", "bf16", "periodic")
    assert (raw(base), raw(expert)) == before
