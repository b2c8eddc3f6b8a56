"""Products of bfloat16 matrices on x86 processors without AVX-512.

Such a processor has no instructions for bfloat16. For a product of 64 rows torch takes 7 to 25 times as
long as for the float32 product of the same numbers. Both multiply exactly, add in float32 and round once to
bfloat16. They add in another order, as two processors or two batch sizes do.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

BLOCK = 2**20  # weights converted at a time: 4 MiB, which stay in the cache until they are multiplied
LEAST_ROWS, LEAST_ROWS_OF_BLOCKS = 8, 16  # with fewer, converting the weights takes longer than it saves


def bfloat16_is_slow() -> bool:
    """Return whether this processor is an x86 one without AVX-512."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and torch.backends.cpu.get_cpu_capability() != "AVX512"


def float32_products(weights: Iterable[torch.Tensor]) -> AbstractContextManager[object]:
    """Return a context in which this thread computes bfloat16 linear layers on the CPU in float32.

    It changes nothing on a processor whose bfloat16 products are not slow, and for a model without bfloat16
    weights, every operation of which would pass through it.

    Args:
        weights: those of the model that computes.
    """
    needed = bfloat16_is_slow() and any(tensor.dtype == torch.bfloat16 for tensor in weights)
    return Float32Products() if needed else nullcontext()


class Float32Products(TorchFunctionMode):
    """Replaces torch's `linear` where float32 is faster."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is linear and not kwargs:
            inputs, weights, bias = (*args, None)[:3]
            if isinstance(inputs, torch.Tensor) and isinstance(weights, torch.Tensor):
                if isinstance(bias, torch.Tensor | None) and _is_slow(inputs, weights):
                    return linear_in_float32(inputs, weights, bias)
        return func(*args, **(kwargs or {}))


def _is_slow(inputs: torch.Tensor, weights: torch.Tensor) -> bool:
    """Return whether the product of these is faster in float32."""
    if inputs.device.type != "cpu" or inputs.dtype != torch.bfloat16 or weights.dtype != torch.bfloat16:
        return False
    least = LEAST_ROWS if weights.numel() <= BLOCK else LEAST_ROWS_OF_BLOCKS
    return inputs.numel() >= least * inputs.shape[-1]


def linear_in_float32(
    inputs: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return `linear` of bfloat16 tensors, computed in float32 and rounded once.

    Args:
        inputs: any shape that ends in the number of input features.
        weights: output features x input features.
        bias: output features.
    """
    inputs = inputs.float()
    bias = None if bias is None else bias.float()
    if weights.numel() <= BLOCK:
        return linear(inputs, weights.float(), bias).to(torch.bfloat16)
    rows = max(1, BLOCK // weights.shape[1])
    outputs = inputs.new_empty(*inputs.shape[:-1], len(weights), dtype=torch.bfloat16)
    converted = inputs.new_empty(rows, weights.shape[1])  # written over and over: fresh memory is slow
    for start in range(0, len(weights), rows):
        part = slice(start, start + rows)
        block = converted[: len(weights[part])].copy_(weights[part])
        outputs[..., part] = linear(inputs, block, None if bias is None else bias[part])
    return outputs
