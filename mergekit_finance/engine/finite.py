"""Checks for NaN and Inf."""

import torch

from mergekit_finance.engine import parallel
from mergekit_finance.errors import ModelError


def all_finite(tensor: torch.Tensor) -> bool:
    """Return whether a CPU tensor holds no NaN, no Inf and nothing too large for float32.

    A block whose float32 sum is finite has only finite elements; only the other blocks are searched.
    """
    flat = tensor.reshape(-1)

    def finite_block(start: int, stop: int) -> bool:
        (buffer,) = parallel.buffers(1, stop - start)
        buffer.copy_(flat[start:stop])
        return bool(torch.isfinite(buffer.sum())) or bool(torch.isfinite(buffer).all())

    return all(parallel.each(flat.numel(), finite_block))


def require_finite(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a merged tensor unchanged, on any device.

    A model with NaN or Inf in its weights would be evaluated like any other, and get a score.

    Raises:
        ModelError: the tensor called `name` holds NaN or Inf.
    """
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise ModelError(
            f"the merge's tensor {name} holds NaN or Inf. Lower lambda or the weights, or look for NaN in "
            "the models.",
            id="merge.not-finite",
        )
    return tensor
