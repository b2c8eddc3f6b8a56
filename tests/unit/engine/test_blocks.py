"""Blockwise kernels against whole-tensor ones, selection against a sort: every bit, every edge."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers.merging import raw
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.engine import blocks, cuts, parallel, plain_torch, top_k
from mergekit_finance.engine import reference as kernels
from mergekit_finance.engine.finite import all_finite
from mergekit_finance.engine.masks import keep_mask, mask_key
from mergekit_finance.engine.terms import Cut, Mask, PassOptions, Rule, Term

CPU = torch.device("cpu")
quick = settings(max_examples=80, deadline=None)
VALUES = [0.0, -0.0, 1e-45, -1e-45, 1e-39, 0.5, -0.5, 1.0, -1.0, 1.5, -3.0, 1e30, -1e30]
# The models themselves: differences of these tie, cancel and vanish all the time.
rows = st.lists(st.sampled_from(VALUES) | st.floats(-4, 4, width=32), min_size=40, max_size=40)
weights = st.sampled_from([1.0, 0.5, 2.0, -0.7, 0.3, 0.0])


def shrink(patch: pytest.MonkeyPatch, size: int) -> None:
    for name in ("ALONE", "SHARED"):
        patch.setattr(parallel, name, size)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shrink(monkeypatch, 16)
    yield


def vectors(base: torch.Tensor, terms: list[Term]) -> list[torch.Tensor]:
    """w_t tau^_t by whole-tensor operations."""
    found = []
    for term in terms:
        v = term.tensor.float() - base.float()
        if term.cut is not None:
            bits = top_k.magnitude_bits(v)
            index = torch.arange(v.numel())
            keep = (bits > term.cut.bits) | ((bits == term.cut.bits) & (index < term.cut.until))
            v = v.masked_fill(~keep, 0.0)
        if term.mask is not None:
            v = v.masked_fill(~keep_mask(v.shape, term.mask.density, term.mask.key, CPU), 0.0)
        found.append(v * term.factor * term.weight)
    return found


def expected(base: torch.Tensor, terms: list[Term], rule: Rule, majority: int) -> torch.Tensor:
    found = vectors(base, terms)
    if rule.kind == "mean":
        delta = kernels.disjoint_mean(found, kernels.elect(found, lambda: majority))
    elif rule.kind == "sum" and not rule.host:
        delta = kernels.running_sum(found)
    else:
        plain = [v / 1 for v in vectors(base, [Term(t.tensor, 1.0, t.cut, t.mask, t.factor) for t in terms])]
        stack = kernels.weighted_stack(plain, [t.weight for t in terms])
        function = kernels.plain_sum if rule.kind == "sum" else kernels.consensus_sum
        delta = function(*stack, normalize=rule.normalize)
    return base.float() + delta * rule.scale


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, list[Term], Rule, int]:
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    base = torch.tensor(draw(rows)).to(dtype)
    terms = []
    for i in range(draw(st.integers(1, 4))):
        cut = None
        if draw(st.booleans()):
            magnitude = abs(draw(st.sampled_from(VALUES)))
            bits = int(top_k.magnitude_bits(torch.tensor([magnitude])))
            cut = Cut(bits, draw(st.sampled_from([0, 7, 16, 39, 10**9])))
        mask = Mask(mask_key(0, str(i), "w"), 0.5) if draw(st.booleans()) else None
        factor = draw(st.sampled_from([1.0, 2.0, 1 / 0.3]))
        terms.append(Term(torch.tensor(draw(rows)).to(dtype), draw(weights), cut, mask, factor))
    kind = draw(st.sampled_from(["sum", "mean", "consensus"]))
    rule = Rule(kind, draw(weights), host=kind == "consensus" or draw(st.booleans()), normalize=False)
    if kind != "mean" and rule.host:
        rule = Rule(kind, rule.scale, True, draw(st.booleans()))
    return base, terms, rule, draw(st.sampled_from([-1, 0, 1]))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_blocks_compute_what_whole_tensors_do(case: Any) -> None:
    base, terms, rule, majority = case
    out = torch.full((40,), float("nan"))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, 16)
        elected = blocks.merge(out, base, terms, rule, PassOptions(majority))
    assert raw(out) == raw(expected(base, terms, rule, majority))
    if rule.kind == "mean" and len(terms) > 1:
        total = kernels.running_sum(vectors(base, terms))
        assert elected.balance == kernels.sign_balance(total)
        if majority:
            contested = torch.stack(vectors(base, terms)).ne(0).any(0) & (total == 0)
            assert (elected.contested is not None) == bool(contested.any())
            if elected.contested is not None:
                assert elected.contested.tolist() == contested.nonzero().view(-1).tolist()
                for other in (-majority, 0, majority):
                    plain_torch.merge_contested(out, base, terms, rule, other, elected.contested)
                    assert raw(out) == raw(expected(base, terms, rule, other))


@pytest.mark.parametrize("kind", ["sum", "mean", "consensus"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_block_size_and_threads_change_nothing(
    kind: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    base, *experts = torch.randn(4, 70_001, generator=generator).to(dtype)
    cut = Cut(int(top_k.magnitude_bits(torch.tensor([0.7]))), 900)
    masks = [Mask(mask_key(0, str(i), "w"), 0.6) for i in range(3)]
    terms = [Term(e, 0.3 + i, cut if i else None, masks[i], 1.1) for i, e in enumerate(experts)]
    threads, seen = torch.get_num_threads(), set()
    try:
        for block, count in ((1 << 10, 1), (1 << 10, 3), (1 << 12, 5), (1 << 16, 2), (1 << 20, 1)):
            shrink(monkeypatch, block)
            torch.set_num_threads(count)
            out = torch.empty(70_001, dtype=dtype)
            blocks.merge(out, base, terms, Rule(kind, 0.5, host=True))
            seen.add(raw(out))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1


def test_inputs_may_be_strided_and_of_mixed_dtypes() -> None:
    base = torch.randn(10, 9, generator=torch.Generator().manual_seed(0)).bfloat16().t()
    expert = torch.randn(9, 10, generator=torch.Generator().manual_seed(1)).half()
    out = torch.empty(9, 10)
    blocks.merge(out, base, [Term(expert)], Rule("sum", 0.5))
    assert torch.equal(out, base.float() + (expert.float() - base.float()) * 0.5)


@pytest.mark.parametrize("density", [0.2, 0.9])
def test_keeping_the_norm(density: float) -> None:
    base, expert = torch.randn(2, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = Mask(mask_key(3, "a", "w"), density)
    term = blocks.keep_norm(base, Term(expert, mask=mask), torch.empty(300))
    out, tau = torch.empty(300), expert.float() - base.float()
    blocks.merge(out, torch.zeros(300), [Term(tau, mask=term.mask, factor=term.factor)], Rule("sum"))
    keep = keep_mask(tau.shape, density, mask.key, CPU)
    assert torch.equal(out, kernels.drop_and_keep_norm(tau, keep) + 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_all_finite(value: float, dtype: torch.dtype) -> None:
    tensor = torch.full((10, 10), torch.finfo(dtype).max / 2, dtype=dtype)
    assert all_finite(tensor) == (dtype != torch.float64)  # float32 cannot hold the latter
    tensor = torch.zeros(10, 10, dtype=dtype)
    assert all_finite(tensor)
    tensor[9, 9] = value
    assert not all_finite(tensor)


# ---- selection


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
        else:  # zeros are zeros, kept or not
            assert int((tau != 0).sum()) <= k
    assert (raw(base), raw(expert)) == before  # nobody's weights are written to


@quick
@given(rows, rows, st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_cuts_against_a_sort(base: list[float], expert: list[float], counts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, 16)
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
def test_edges_against_a_sort(edge: str) -> None:
    base, expert = EDGES[edge]
    n = base.numel()
    assert_selects(base, expert, [1, 2, n // 10, n // 3, n // 2, n - 1, n])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "SAMPLE", 64)  # not all at once: by histograms, and by a sample
        shrink(patch, 128)
        assert_selects(base, expert, [1, 2, n // 10, n // 3, n // 2, n - 1, n])
        for k in (2, n // 3, n // 2):
            assert_selects(base, expert, [k])


def test_cuts_do_not_depend_on_blocks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    base, expert = bf16_with_zeros(70_000)
    threads, seen = torch.get_num_threads(), []
    try:
        for block, count in ((1 << 10, 1), (1 << 12, 3), (1 << 20, 2)):
            shrink(monkeypatch, block)
            torch.set_num_threads(count)
            seen.append(cuts.exact_cuts(base, expert, [70, 7000, 35_000]))
    finally:
        torch.set_num_threads(threads)
    assert seen[0] == seen[1] == seen[2]


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
def test_sampled_cuts_are_the_exact_ones(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SAMPLE", 1 << 9)
    shrink(monkeypatch, 1 << 10)
    n = 20_011
    base, expert = SAMPLED[kind](torch.Generator().manual_seed(0), n)
    found, before = 0, (raw(base), raw(expert))
    for k in (1, 7, n // 5, n // 2, n - 9, n):
        (exact,) = cuts.exact_cuts(base, expert, [k], cuts.high_counts(base, expert))
        sampled = cuts.sampled_cut(base, expert, k)
        assert sampled is None or sampled == exact
        found += sampled is not None
    assert found >= 3 or kind in ("halves", "halves over a base", "bf16", "periodic")
    assert (raw(base), raw(expert)) == before


# ---- workers


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    def work(start: int, stop: int) -> None:
        if start == 32:
            raise ValueError("this block")

    with pytest.raises(ValueError, match="this block"):
        parallel.each(100, work)


def test_results_come_in_order_and_nested_work_runs() -> None:
    def work(start: int, stop: int) -> int:
        return sum(parallel.each(32, lambda a, b: start))

    assert parallel.each(100, work) == [2 * s for s in range(0, 100, 16)]


def test_workers_have_a_torch_of_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert set(parallel.each(100, lambda start, stop: torch.get_num_threads())) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
