"""Tensors of a merge in memory that are views of one another."""

import torch

from mergekit_finance.merging.in_memory import _without_shared_memory


def test_only_later_views_of_a_tensor_are_copied() -> None:
    first, other = torch.arange(4.0), torch.ones(2)
    tensors = _without_shared_memory({"a": first, "b": first.view(2, 2), "c": first, "d": other})
    assert tensors["a"] is first and tensors["d"] is other
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == 4
    assert torch.equal(tensors["c"], first)
