"""Checks that checkpoints fit together and hold numbers. Errors name the model and the tensor."""

from collections.abc import Mapping

import torch
from mergekit.common import ModelReference
from mergekit.io.tasks import LoadTensor
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

from mergekit_finance.engine.finite import all_finite
from mergekit_finance.errors import ModelError
from mergekit_finance.hosts.mergekit import stored_names

Tensors = Mapping[ModelReference, torch.Tensor]


def check_present(load: LoadTensor) -> None:
    """Refuse a tensor that a model lacks. Reads names only, unless mergekit converts the checkpoint."""
    stored = stored_names(load.model)
    if any(name in stored for name in (load.tensor, *(load.aliases or ()), *(load.tied_names or ()))):
        return
    if load.model_copy(update={"optional": True}).execute() is None:
        raise ModelError(
            f"{load.model}: tensor {load.tensor} is missing, which the other models of the recipe have.",
            id="model.tensor-missing",
        )


def check_shapes(task: ExecuteMergeMethodTask, tensors: Tensors, free_axis: int | None = None) -> None:
    """Refuse shapes that differ from the base's, except along `free_axis`."""
    expected = tensors[task.base_model].shape
    for model, tensor in tensors.items():
        if _without(tensor.shape, free_axis) != _without(expected, free_axis):
            vocabulary = task.output_weight.vocabulary_axis is not None
            hint = ". A tokenizer: block aligns vocabularies." if vocabulary else ""
            raise ModelError(
                f"{model}: tensor {task.output_weight.name} has shape {list(tensor.shape)}, "
                f"{task.base_model} has {list(expected)}{hint}",
                id="model.shape",
            )


def _without(shape: torch.Size, axis: int | None) -> list[int]:
    return [length for position, length in enumerate(shape) if position != axis]


def check_values(names: Mapping[ModelReference, str], tensors: Tensors) -> None:
    """Refuse NaN, Inf, and numbers too large for float32.

    Args:
        names: the tensor's name in each model's files.
    """
    for model, tensor in tensors.items():
        if not tensor.is_floating_point() or (tensor.device.type == "cpu" and all_finite(tensor)):
            continue
        broken = ~torch.isfinite(tensor.float())
        if bool(broken.any()):
            first = int(broken.reshape(-1).nonzero()[0])
            raise ModelError(
                f"{model}: tensor {names[model]} holds {int(broken.sum())} NaN or Inf "
                f"(the first at flat index {first}). The checkpoint is broken, or its training diverged.",
                id="model.not-finite",
            )


def check_buffers(task: ExecuteMergeMethodTask, tensors: Tensors) -> None:
    """Refuse buffers of integers that differ between models: they are copied, not merged."""
    base = tensors[task.base_model]
    for model, tensor in tensors.items():
        if tensor.dtype != base.dtype or not torch.equal(tensor, base):
            raise ModelError(
                f"{model}: tensor {task.output_weight.name} is not floating point and differs from "
                f"{task.base_model}'s. It cannot be merged.",
                id="model.not-floats",
            )
