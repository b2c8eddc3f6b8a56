"""Adapters for lm-eval's models: those in memory, their batch size, and their answers one by one.

Written for lm-eval 0.4.13. Keys of stored answers hash this file; `lm_eval`, which builds requests and
computes scores, is in keys of scores only. lm-eval is imported inside the functions: with torch it takes
seconds.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from mergekit_finance.hosts.names import LM_EVAL

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from mergekit_finance.files import Json

# The arguments of one request: (prompt, option), (prompt, generation settings), or (text,) if it is rolling.
RequestArguments: TypeAlias = "tuple[str | Mapping[str, Json], ...]"
Response: TypeAlias = "tuple[float, bool] | float | str"  # by kind of request, in the order of KINDS
KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")


def ask(
    lm: "HFLM",
    kind: str,
    requests: "Sequence[Instance]",
    on_answer: "Callable[[str, RequestArguments, Response], None]",
) -> "list[Response]":
    """Let a model respond to requests of one kind, and return the responses in the order of the requests.

    Args:
        lm: the model.
        kind: one of KINDS, the name of a method of lm-eval's models.
        requests: the requests, each with one repeat.
        on_answer: called after each response with its kind, arguments and response.
    """
    hook = LM_EVAL.get(lm, "cache_hook")
    lm.set_cache_hook(_Hook(on_answer))
    try:
        responses: list[Response] = LM_EVAL.get(lm, kind)(list(requests))
    finally:
        lm.set_cache_hook(hook)
    return responses


class _Hook:
    """Stands in for lm-eval's `CacheHook`, which is called with every single response."""

    dbdict = None

    def __init__(self, add: "Callable[[str, RequestArguments, Response], None]") -> None:
        self.add_partial = add


# ---- memory


def batch_size_of(lm: "HFLM") -> int:
    """Return the requests per forward pass; with `auto` the most that are tried."""
    return int(lm.max_batch_size if lm.batch_size == "auto" else lm.batch_size)


def set_batch_size(lm: "HFLM", size: int) -> None:
    """Set the requests per forward pass, with `auto` the most that are tried."""
    if lm.batch_size == "auto":
        lm.max_batch_size = size
    else:
        lm.batch_size_per_gpu = size


def device_name(lm: "HFLM") -> str:
    """Return the name of the device that a model is on, such as `NVIDIA H100 80GB HBM3` or `cpu`."""
    import torch

    return torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else lm.device.type


def release_memory() -> None:
    """Free what torch keeps of batches that are no longer used."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
