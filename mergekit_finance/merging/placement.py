"""Output tensors of a session, and the devices on which their inputs are held. Needs torch only."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from mergekit_finance.errors import ModelError, first_line

if TYPE_CHECKING:
    from mergekit.merge_methods import TensorGroup

    from mergekit_finance.merge_methods.parameters import Parameters

LOG = logging.getLogger(__name__)
CPU = torch.device("cpu")


@dataclass
class OutputTensor:
    """One output tensor: its inputs, its parameters, and where the merge is written."""

    group: "TensorGroup"  # the inputs, on `device` unless streamed
    parameters: "Parameters"  # as the recipe has them
    dtype: torch.dtype  # that mergekit-yaml would write
    tied_to: str | None  # the output tensor that this one repeats
    device: torch.device = CPU  # that merges it
    streamed: bool = False  # the inputs stay on the CPU and are copied to `device` for every point
    on_cpu: "TensorGroup | None" = None  # the inputs as mapped from their files
    target: torch.nn.Parameter | None = None  # of the live model

    @property
    def name(self) -> str:
        return self.group.metadata.name

    @property
    def size(self) -> int:
        """Bytes of the inputs."""
        return sum(t.numel() * t.element_size() for t in self.group.tensors)

    def inputs(self) -> "TensorGroup":
        """Return the inputs on the device that merges them."""
        return moved(self.group, self.device) if self.streamed else self.group


def place(tensors: list[OutputTensor], devices: Sequence[torch.device], limit: int | None = None) -> None:
    """Move every tensor's inputs to the device with the fewest bytes so far, largest tensor first.

    Inputs that do not fit are streamed instead, with a warning if a device ran out of memory.

    Args:
        limit: bytes of inputs that one GPU may hold.
    """
    load = dict.fromkeys(range(len(devices)), 0)
    full: set[int] = set()
    for tensor in sorted(tensors, key=lambda t: (-t.size, t.name)):
        index = min(load, key=lambda i: (load[i], i))
        device, size = devices[index], tensor.size
        load[index] += size
        tensor.device, tensor.on_cpu = device, tensor.group
        if device.type == "cpu":
            continue
        tensor.streamed = index in full or (limit is not None and load[index] > limit)
        if tensor.streamed:
            continue
        try:
            tensor.group = moved(tensor.group, device)
        except torch.OutOfMemoryError:
            LOG.warning(
                "%s ran out of memory at %s, after %.1f GB of constituents; the rest stay on the CPU and are "
                "streamed at every point",
                device,
                tensor.name,
                (load[index] - size) / 1e9,
            )
            full.add(index)
            tensor.streamed = True


def place_with_targets(tensors: list[OutputTensor], limit: int) -> None:
    """Let every tensor be merged on the device that holds its parameter of the live model.

    Its inputs are streamed to it for every point, except as many bytes per device as `limit` allows.
    """
    target_devices = {tensor.name: tensor.target.device for tensor in tensors if tensor.target is not None}
    load: dict[torch.device, int] = {}
    for tensor in tensors:
        # A tensor that shares another one's parameter is not merged, but its inputs may be ranked.
        device = target_devices.get(tensor.name) or target_devices.get(tensor.tied_to or "", CPU)
        tensor.device, tensor.on_cpu = device, tensor.group
        if device.type == "cpu":
            continue
        load[device] = load.get(device, 0) + tensor.size
        tensor.streamed = load[device] > limit
        if not tensor.streamed:
            tensor.group = moved(tensor.group, device)


def use_less_memory(tensors: list[OutputTensor]) -> str:
    """Stream all inputs, or merge on the CPU if they are streamed already.

    Returns:
        The change, for a message; empty if everything is on the CPU already.
    """
    elsewhere = [t for t in tensors if t.device.type != "cpu"]
    if not elsewhere:
        return ""
    resident = [t for t in elsewhere if not t.streamed]
    for tensor in resident or elsewhere:
        assert tensor.on_cpu is not None  # set by `place`, which moved it
        tensor.group = tensor.on_cpu
        tensor.streamed, tensor.device = bool(resident), tensor.device if resident else CPU
    return "constituents are streamed at every point" if resident else "merging on the CPU"


def moved(group: "TensorGroup", device: torch.device) -> "TensorGroup":
    """Return the inputs on another device."""
    entries = tuple(replace(e, tensor=e.tensor.to(device, non_blocking=True)) for e in group.entries)
    return replace(group, entries=entries)


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of this name, which exists and can hold numbers.

    Raises:
        ModelError: it cannot be used.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails on "meta", too, which holds no numbers
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"device {str(name)!r} cannot be used ({first_line(error)})") from error
    return device
