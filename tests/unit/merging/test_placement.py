"""On which device the inputs of each output tensor are held."""

import logging

import pytest
import torch
from mergekit.merge_methods import TensorGroup

from mergekit_finance.errors import ModelError
from mergekit_finance.merging import placement
from mergekit_finance.merging.placement import OutputTensor, place, usable_device, use_less_memory

GPUS = [torch.device("cuda", i) for i in (0, 1)]


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> list[OutputTensor]:
    """Four output tensors of 80, 160, 240 and 320 bytes of inputs; nothing is moved to a GPU."""
    monkeypatch.setattr(placement, "moved", lambda group, device: group)
    groups = [
        TensorGroup.from_tensors(list(torch.zeros(2, 10 * i)), ids=["base", "a"], base_index=0, name=f"t{i}")
        for i in range(1, 5)
    ]
    return [OutputTensor(group, {}, torch.float32, None) for group in groups]


def test_the_largest_tensors_are_placed_first_and_devices_get_equal_bytes(
    tensors: list[OutputTensor],
) -> None:
    place(tensors, GPUS)
    assert {t.name: t.device for t in tensors} == {"t4": GPUS[0], "t3": GPUS[1], "t2": GPUS[1], "t1": GPUS[0]}
    assert not any(t.streamed for t in tensors)


def test_inputs_over_the_limit_are_streamed(tensors: list[OutputTensor]) -> None:
    place(tensors, GPUS[:1], limit=560)
    assert [t.name for t in tensors if t.streamed] == ["t1", "t2"]  # 320 + 240 bytes are just allowed


def test_after_a_device_ran_out_of_memory_the_rest_is_streamed(
    tensors: list[OutputTensor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def moved(group: TensorGroup, device: torch.device) -> TensorGroup:
        if group.metadata.name == "t3":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return group

    monkeypatch.setattr(placement, "moved", moved)
    with caplog.at_level(logging.WARNING):
        place(tensors, GPUS[:1])
    assert [t.name for t in tensors if t.streamed] == ["t1", "t2", "t3"]
    assert caplog.text.count("cuda:0 ran out of memory at t3, after 0.0 GB") == 1


def test_to_use_less_memory_tensors_are_streamed_first_and_then_merged_on_the_cpu(
    tensors: list[OutputTensor],
) -> None:
    place(tensors, GPUS)
    assert use_less_memory(tensors) == "constituents are streamed at every point"
    assert all(t.streamed and t.device.type == "cuda" for t in tensors)
    assert use_less_memory(tensors) == "merging on the CPU"
    assert all(not t.streamed and t.device.type == "cpu" for t in tensors)
    assert use_less_memory(tensors) == ""


@pytest.mark.parametrize("name", ["cuba", "meta", "cpu:x"])
def test_a_device_that_cannot_hold_numbers_is_named(name: str) -> None:
    with pytest.raises(ModelError, match=f"device '{name}' cannot be used"):
        usable_device(name)
    assert usable_device("cpu") == torch.device("cpu")
