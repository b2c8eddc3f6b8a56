"""mergekit semantics equals mergekit's own methods bit for bit: float32, one thread, no magnitude ties."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.merging import call, raw
from mergekit import merge_methods
from mergekit.merge_methods import TensorGroup

from mergekit_finance.merge_methods.all_methods import METHODS
from mergekit_finance.merging.compare import OPERATORS, our_masks

OURS = {method.spec.name: method for method in METHODS}
SHAPES = [(), (1,), (7,), (33, 65), (2, 3, 5), (300, 300)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # L1 norms are sums whose order depends on the threads
    yield
    torch.set_num_threads(threads)


def random_group(shape: tuple[int, ...], experts: int, seed: int) -> TensorGroup:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    others = [base + torch.randn(shape, generator=generator) * 10.0**-i for i in range(experts)]
    return TensorGroup.from_tensors(
        [base, *others], ids=["base", *"abcdef"[:experts]], base_index=0, name="w"
    )


def host(name: str, group: TensorGroup, **parameters: Any) -> torch.Tensor:
    with our_masks("w", iter(str(entry.id) for entry in group.non_base)):
        (merged,) = merge_methods.get(name)([group], parameters=parameters)
    return merged


def per_model(group: TensorGroup, values: list[float]) -> merge_methods.PerInputValues:
    return merge_methods.PerInputValues([(e.id, v) for e, v in zip(group.non_base, values, strict=True)])


@pytest.mark.parametrize("experts", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("normalize", [None, True, False])
@pytest.mark.parametrize("ours", OURS)
def test_mergekit_semantics_gives_mergekits_bits(
    ours: str, normalize: bool | None, shape: tuple[int, ...], experts: int
) -> None:
    group = random_group(shape, experts, seed=experts)
    weights = [1.0, 0.3, -0.7, 2.0, 0.1, 1e-3][:experts]
    densities = [0.29, 1.0, 0.5, 0.01, 0.9, 0.2][:experts]
    theirs, mine = {"lambda": 0.7}, {"lambda_": 0.7, "weight": weights, "semantics": "mergekit"}
    theirs["weight"] = per_model(group, weights)
    if normalize is not None:
        theirs["normalize"] = mine["normalize"] = normalize
    if "density" in {spec.name for spec in OURS[ours].spec.parameters}:
        mine["density"], theirs["density"] = densities, per_model(group, densities)
    expected = host(OPERATORS[ours][0], group, **theirs)
    assert raw(call(OURS[ours], group, **mine)) == raw(expected)


def test_another_density_gives_other_bits() -> None:
    group = random_group((33, 65), 2, seed=0)
    weights = per_model(group, [1.0, 1.0])
    expected = host("ties", group, weight=weights, density=per_model(group, [0.5, 0.5]))
    merged = call(OURS["cpt_ties"], group, semantics="mergekit", density=0.49)
    assert raw(merged) != raw(expected)


def test_mergekit_itself_draws_other_masks() -> None:
    group = random_group((33, 65), 2, seed=0)
    parameters = {"weight": per_model(group, [1.0, 1.0]), "density": per_model(group, [0.5, 0.5])}
    (theirs,) = merge_methods.get("dare_ties")([group], parameters=parameters)
    assert raw(host("dare_ties", group, **parameters)) != raw(theirs)
