"""The operators in blocks against the operators on whole tensors: every bit, every edge case."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.engine import VALUES, rows, shrink_blocks
from helpers.merging import raw
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.engine import blocks, plain_torch, reference, top_k
from mergekit_finance.engine.masks import keep_mask, mask_key
from mergekit_finance.engine.terms import Cut, Mask, PassOptions, Rule, Term

CPU = torch.device("cpu")
weights = st.sampled_from([1.0, 0.5, 2.0, -0.7, 0.3, 0.0])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shrink_blocks(monkeypatch, 16)
    yield


def vectors(base: torch.Tensor, terms: list[Term]) -> list[torch.Tensor]:
    """w_t tau^_t by whole-tensor operations."""
    computed = []
    for term in terms:
        v = term.tensor.float() - base.float()
        if term.cut is not None:
            bits = top_k.magnitude_bits(v)
            index = torch.arange(v.numel())
            keep = (bits > term.cut.bits) | ((bits == term.cut.bits) & (index < term.cut.until))
            v = v.masked_fill(~keep, 0.0)
        if term.mask is not None:
            v = v.masked_fill(~keep_mask(v.shape, term.mask.density, term.mask.key, CPU), 0.0)
        computed.append(v * term.factor * term.weight)
    return computed


def expected(base: torch.Tensor, terms: list[Term], rule: Rule, majority: int) -> torch.Tensor:
    weighted = vectors(base, terms)
    if rule.kind == "mean":
        delta = reference.disjoint_mean(weighted, reference.elect(weighted, lambda: majority))
    elif rule.kind == "sum" and not rule.host:
        delta = reference.running_sum(weighted)
    else:
        plain = [v / 1 for v in vectors(base, [Term(t.tensor, 1.0, t.cut, t.mask, t.factor) for t in terms])]
        stack = reference.weighted_stack(plain, [t.weight for t in terms])
        function = reference.plain_sum if rule.kind == "sum" else reference.consensus_sum
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
def test_blocks_give_the_bits_of_the_reference(case: Any) -> None:
    base, terms, rule, majority = case
    out = torch.full((40,), float("nan"))
    with pytest.MonkeyPatch.context() as patch:
        shrink_blocks(patch, 16)
        result = blocks.merge(out, base, terms, rule, PassOptions(majority))
    assert raw(out) == raw(expected(base, terms, rule, majority))
    if rule.kind == "mean" and len(terms) > 1:
        total = reference.running_sum(vectors(base, terms))
        assert result.balance == reference.sign_balance(total)
        if majority:
            contested = torch.stack(vectors(base, terms)).ne(0).any(0) & (total == 0)
            assert (result.contested is not None) == bool(contested.any())
            if result.contested is not None:
                assert result.contested.tolist() == contested.nonzero().view(-1).tolist()
                for other in (-majority, 0, majority):
                    plain_torch.merge_contested(out, base, terms, rule, other, result.contested)
                    assert raw(out) == raw(expected(base, terms, rule, other))


@pytest.mark.parametrize("kind", ["sum", "mean", "consensus"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_merge_is_the_same_for_any_block_size_and_thread_count(
    kind: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    base, *experts = torch.randn(4, 70_001, generator=generator).to(dtype)
    cut = Cut(int(top_k.magnitude_bits(torch.tensor([0.7]))), 900)
    masks = [Mask(mask_key(0, str(i), "w"), 0.6) for i in range(3)]
    terms = [Term(e, 0.3 + i, cut if i else None, masks[i], 1.1) for i, e in enumerate(experts)]
    threads, results = torch.get_num_threads(), set()
    try:
        for block, count in ((1 << 10, 1), (1 << 10, 3), (1 << 12, 5), (1 << 16, 2), (1 << 20, 1)):
            shrink_blocks(monkeypatch, block)
            torch.set_num_threads(count)
            out = torch.empty(70_001, dtype=dtype)
            blocks.merge(out, base, terms, Rule(kind, 0.5, host=True))
            results.add(raw(out))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert len(results) == 1


def test_inputs_may_be_strided_and_of_mixed_dtypes() -> None:
    base = torch.randn(10, 9, generator=torch.Generator().manual_seed(0)).bfloat16().t()
    expert = torch.randn(9, 10, generator=torch.Generator().manual_seed(1)).half()
    out = torch.empty(9, 10)
    blocks.merge(out, base, [Term(expert)], Rule("sum", 0.5))
    assert torch.equal(out, base.float() + (expert.float() - base.float()) * 0.5)


@pytest.mark.parametrize("density", [0.2, 0.9])
def test_dropping_can_keep_the_l1_norm(density: float) -> None:
    base, expert = torch.randn(2, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = Mask(mask_key(3, "a", "w"), density)
    term = blocks.keep_norm(base, Term(expert, mask=mask), torch.empty(300))
    out, tau = torch.empty(300), expert.float() - base.float()
    blocks.merge(out, torch.zeros(300), [Term(tau, mask=term.mask, factor=term.factor)], Rule("sum"))
    keep = keep_mask(tau.shape, density, mask.key, CPU)
    assert torch.equal(out, reference.drop_and_keep_norm(tau, keep) + 0.0)


@pytest.mark.parametrize("zero_sign", [-1, 0, 1])
def test_what_is_reported_changes_no_bit_of_the_merge(zero_sign: int) -> None:
    base = torch.zeros(64)
    experts = [torch.tensor([1.0, -1.0, 2.0, 0.5] * 16), torch.tensor([-1.0, 1.0, 1.0, 0.5] * 16)]
    terms, outputs, results = [Term(expert) for expert in experts], {}, {}
    for report in ("nothing", "balance", "contested"):
        out = torch.full((64,), float("nan"))
        results[report] = blocks.merge(out, base, terms, Rule("mean"), PassOptions(zero_sign, report))
        outputs[report] = raw(out)
    assert len(set(outputs.values())) == 1
    # Of every four elements, two cancel and two are positive.
    assert [results[report].balance for report in results] == [0, 32, 32]
    cancelled = [i for i in range(64) if i % 4 < 2]
    assert results["nothing"].contested is None and results["balance"].contested is None
    contested = results["contested"].contested
    assert (contested is None) if zero_sign == 0 else (contested.tolist() == cancelled)
