"""Properties of the merge methods that hold for any tensors."""

from typing import Any

import pytest
import torch
from helpers.merging import call, raw
from hypothesis import given, settings
from hypothesis import strategies as st
from mergekit.common import ModelReference
from mergekit.merge_methods import TensorGroup

from mergekit_finance.merge_methods.all_methods import METHODS
from mergekit_finance.merge_methods.parameters import Context

numbers = st.floats(-4, 4, width=32, allow_subnormal=False) | st.sampled_from([0.0, 1.0, -1.0, 0.5])
semantics = st.sampled_from(["paper", "mergekit"])
methods = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.spec.name)
quick = settings(max_examples=60, deadline=None)


class Untrimmed:
    """The whole vector of a model that is this one tensor, at density 1."""

    def trim(self, name: str, model: Any, vector: torch.Tensor) -> torch.Tensor:
        return vector

    def sign_balance(self) -> int:
        return 1


PLAIN = Context(Untrimmed(), rounds_later=False)


@st.composite
def groups(draw: st.DrawFn, experts: int | None = None) -> TensorGroup:
    count = draw(st.integers(1, 4)) if experts is None else experts
    size = draw(st.integers(1, 9))
    rows = [torch.tensor(draw(st.lists(numbers, min_size=size, max_size=size))) for _ in range(count + 1)]
    ids = [ModelReference.parse(f"./{name}") for name in ("base", *"abcd"[:count])]
    return TensorGroup.from_tensors(rows, ids=ids, base_index=0, name="w")


def has(method: Any, parameter: str) -> bool:
    return parameter in {spec.name for spec in method.spec.parameters}


@methods
@quick
@given(groups(), semantics)
def test_lambda_zero_gives_the_base(method: Any, group: TensorGroup, semantics: str) -> None:
    assert torch.equal(
        call(method, group, lambda_=0.0, semantics=semantics, context=PLAIN), group.base.tensor
    )


@methods
@quick
@given(groups(experts=1), semantics)
def test_one_expert_adds_lambda_times_its_task_vector(
    method: Any, group: TensorGroup, semantics: str
) -> None:
    base, expert = group.tensors
    merged = call(method, group, lambda_=0.5, semantics=semantics, context=PLAIN)
    assert torch.equal(merged, base + (expert - base) * 0.5)


@methods
@quick
@given(groups(), semantics)
def test_density_one_trims_nothing(method: Any, group: TensorGroup, semantics: str) -> None:
    if has(method, "density"):
        plain = call(method, group, semantics=semantics, context=PLAIN)
        assert raw(call(method, group, density=1.0, semantics=semantics, context=PLAIN)) == raw(plain)
    else:
        assert method.spec.name == "cpt_task_arithmetic"  # which trims nothing


@methods
@quick
@given(groups(experts=1), st.sampled_from([2, 4]))
def test_copies_of_one_expert_equal_one_expert(method: Any, group: TensorGroup, copies: int) -> None:
    base, expert = group.tensors
    ids = [ModelReference.parse(f"./{name}") for name in ("base", *"abcd"[:copies])]
    many = TensorGroup.from_tensors([base, *[expert] * copies], ids=ids, base_index=0, name="w")
    # A mean of copies is the copy; a sum needs weights of 1/n. Powers of two round nowhere.
    weight = 1 / copies if not has(method, "density") else 1.0
    merged = call(method, many, weight=weight, context=PLAIN)
    assert torch.equal(merged, call(method, group, context=PLAIN))


@methods
@quick
@given(groups(experts=3), st.floats(-2, 2), st.floats(0.1, 1))
def test_three_copies_equal_one_expert_up_to_rounding(
    method: Any, group: TensorGroup, scale: float, d: float
) -> None:
    base, expert = group.tensors[:2]
    ids = [entry.id for entry in group.entries]
    many = TensorGroup.from_tensors([base, expert, expert, expert], ids=ids, base_index=0, name="w")
    one = TensorGroup.from_tensors([base, expert], ids=ids[:2], base_index=0, name="w")
    weight = 1 / 3 if not has(method, "density") else 1.0
    merged = call(method, many, weight=weight, lambda_=scale, context=PLAIN)
    torch.testing.assert_close(merged, call(method, one, lambda_=scale, context=PLAIN), rtol=1e-6, atol=1e-6)


@methods
@quick
@given(groups(), st.randoms(), st.floats(0.1, 1), st.integers(0, 9))
def test_order_of_models_changes_no_byte_in_paper_semantics(
    method: Any, group: TensorGroup, random: Any, density: float, seed: int
) -> None:
    shuffled = list(group.entries)
    random.shuffle(shuffled)
    parameters: dict[str, Any] = {"context": PLAIN}
    parameters |= {"density": density} if has(method, "density") else {}
    parameters |= {"seed": seed} if has(method, "seed") else {}
    other = TensorGroup(tuple(shuffled), group.metadata)
    assert raw(call(method, other, **parameters)) == raw(call(method, group, **parameters))


@quick
@given(groups(experts=2), st.floats(0.1, 0.9), st.integers(0, 99))
def test_dare_values_are_dropped_or_rescaled(group: TensorGroup, density: float, seed: int) -> None:
    from mergekit_finance.merge_methods.dare_ties import cpt_dare_ties

    one = TensorGroup(group.entries[:2], group.metadata)
    base, expert = one.tensors
    merged = call(cpt_dare_ties, one, density=density, seed=seed)
    rescaled = base + (expert - base) * (1.0 / density)
    assert bool(((merged == base) | (merged == rescaled)).all())


@methods
@pytest.mark.parametrize("which", ["paper", "mergekit"])
def test_the_default_device_of_torch_changes_nothing(method: Any, which: str) -> None:
    # mergekit's GPU threads make their GPU the current device; inputs may be elsewhere.
    rows = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    ids = [ModelReference.parse(f"./{name}") for name in ("base", "a", "b")]
    group = TensorGroup.from_tensors(list(rows), ids=ids, base_index=0, name="w")
    parameters: dict[str, Any] = {"semantics": which, "context": PLAIN}
    parameters |= {"density": 0.5} if has(method, "density") else {}
    expected = call(method, group, **parameters)
    with torch.device("meta"):
        assert raw(call(method, group, **parameters)) == raw(expected)
