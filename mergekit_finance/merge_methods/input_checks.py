"""Checkpoints that do not fit their partners, named by model and tensor."""

from collections.abc import Mapping

import torch
from mergekit.common import ModelReference
from mergekit.io.tasks import LoaderCache, LoadTensor
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

from mergekit_finance.engine.finite import all_finite
from mergekit_finance.errors import ModelError

Tensors = Mapping[ModelReference, torch.Tensor]


def refuse_missing(load: LoadTensor) -> None:
    """A tensor that one model has and another has not. Reads names only, unless they were converted."""
    stored = LoaderCache().get(load.model).index.tensor_paths
    if any(name in stored for name in (load.tensor, *(load.aliases or ()), *(load.tied_names or ()))):
        return
    if load.model_copy(update={"optional": True}).execute() is None:
        raise ModelError(f"{load.model}: tensor {load.tensor} is missing; its partners in the recipe have it")


def refuse_shapes(task: ExecuteMergeMethodTask, tensors: Tensors, free_axis: int | None = None) -> None:
    """Shapes that differ from the base's, except along `free_axis`."""
    expected = tensors[task.base_model].shape
    for model, tensor in tensors.items():
        if _without(tensor.shape, free_axis) != _without(expected, free_axis):
            vocabulary = task.output_weight.vocabulary_axis is not None
            hint = "; a tokenizer: block aligns vocabularies" if vocabulary else ""
            raise ModelError(
                f"{model}: tensor {task.output_weight.name} has shape {list(tensor.shape)}, "
                f"{task.base_model} has {list(expected)}{hint}"
            )


def _without(shape: torch.Size, axis: int | None) -> list[int]:
    return [length for position, length in enumerate(shape) if position != axis]


def refuse_values(names: Mapping[ModelReference, str], tensors: Tensors) -> None:
    """NaN and Inf, and what is too large for float32."""
    for model, tensor in tensors.items():
        if not tensor.is_floating_point() or (tensor.device.type == "cpu" and all_finite(tensor)):
            continue
        broken = ~torch.isfinite(tensor.float())
        if bool(broken.any()):
            first = int(broken.reshape(-1).nonzero()[0])
            raise ModelError(
                f"{model}: tensor {names[model]} holds {int(broken.sum())} NaN or Inf "
                f"(the first at flat index {first}); the checkpoint is broken or overflowed"
            )


def refuse_buffers(task: ExecuteMergeMethodTask, tensors: Tensors) -> None:
    """Integer buffers cannot be merged; they are copied where all models agree."""
    base = tensors[task.base_model]
    for model, tensor in tensors.items():
        if tensor.dtype != base.dtype or not torch.equal(tensor, base):
            raise ModelError(
                f"{model}: tensor {task.output_weight.name} is not floating point and differs from "
                f"{task.base_model}'s; it cannot be merged"
            )
