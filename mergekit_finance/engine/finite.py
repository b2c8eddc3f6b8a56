"""Checks for NaN and Inf."""

import math
from collections.abc import Iterable

import torch

from mergekit_finance.engine import parallel
from mergekit_finance.errors import ModelError


def all_finite(tensor: torch.Tensor) -> bool:
    """Return whether a CPU tensor has no NaN, no Inf and no number too large for float32.

    If the float32 sum of a block is finite, so are its elements; only the other blocks are searched.
    """
    flat = tensor.reshape(-1)

    def finite_block(start: int, stop: int) -> bool:
        (buffer,) = parallel.buffers(1, stop - start)
        buffer.copy_(flat[start:stop])
        return bool(torch.isfinite(buffer.sum())) or bool(torch.isfinite(buffer).all())

    return all(parallel.each(flat.numel(), finite_block))


def require_finite(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a merged tensor unchanged; raises as `require_all_finite` does."""
    require_all_finite([(name, tensor)])
    return tensor


def require_all_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Check merged tensors by name, on any device, in the dtype that they are stored in.

    Without this check, a model with NaN or Inf in its weights would be evaluated and get a score. Rounding to
    float16 makes Inf of every number above 65504.

    Raises:
        ModelError: the first tensor that holds NaN or Inf.
    """
    floats = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    sums = [(name, tensor, _sum(tensor)) for name, tensor in floats if tensor.device.type != "cpu"]
    suspects = [
        (name, tensor) for name, tensor in floats if tensor.device.type == "cpu" and not all_finite(tensor)
    ]
    # Read when all are queued, so that a GPU is waited for once and not for every tensor.
    suspects += [(name, tensor) for name, tensor, total in sums if not math.isfinite(float(total))]
    for name, tensor in suspects:
        if not bool(tensor.isfinite().all()):
            wider = "write out_dtype: bfloat16, " if tensor.dtype == torch.float16 else ""
            raise ModelError(
                f"the merge's tensor {name} holds NaN or Inf. Lower lambda or the weights, {wider}or look "
                "for NaN in the models.",
                id="merge.not-finite",
            )


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    """Return a sum that is NaN or Inf if the tensor holds either, and also if the sum itself overflows."""
    return tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32))
