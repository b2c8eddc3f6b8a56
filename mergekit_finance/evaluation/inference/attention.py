"""Which models are answered faster, and how a decoding step attends."""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Model types whose answers were compared with those of `hf`, token by token (tests/unit/evaluation).
PROVEN = ("llama", "mistral", "qwen2", "qwen3", "phi3")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")  # the others change with the length of the prompt
GROUPED = "mergekit_finance_grouped"
HALF = (torch.bfloat16, torch.float16)
FLASH_CAPABILITY, FLASH_HEAD_SIZE = (8, 0), 256  # GPUs and heads that FlashAttention 2 in PyTorch serves


class SlotLengths(NamedTuple):
    """What each slot of a key-value cache holds, as int32 on the model's device.

    Attributes:
        used: positions that are seen, from the first on, [slots].
        queries: where each slot's token begins among all tokens, [slots + 1].
        keys: where each slot begins among the positions of all slots, [slots + 1].
    """

    used: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor


def unsupported(model: "PreTrainedModel") -> str:
    """Return why a model has to be answered by `hf`, or "" if it can be answered by `compiled`."""
    if not type(model).__module__.startswith("transformers.models."):
        return f"models of type {model.config.model_type} were not compared with hf"
    if reason := unsupported_config(model.config):
        return reason
    if model.config._attn_implementation != "sdpa":
        return f"its attention is {model.config._attn_implementation!r}, not 'sdpa'"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "it lies on several devices"
    if model.get_output_embeddings() is None or model.base_model is model:
        return "it has no separate output layer"
    return ""


def unsupported_config(config: "PretrainedConfig") -> str:
    """Return what in a model's config lets `hf` answer for it, or "" if nothing does."""
    if config.model_type not in PROVEN:
        return f"models of type {config.model_type} were not compared with hf"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(config, "sliding_window", None) is not None:
        return "its attention has a sliding window"
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ROPE_TYPES:
        return f"its rope type {kind!r} depends on the prompt's length"
    return ""


def reads_lengths(keys: torch.Tensor) -> bool:
    """Return whether attention over these keys, [slots, positions, groups, head size], reads used ones only.

    FlashAttention does, in half precision; other kernels read a window of all slots under a mask.
    """
    if keys.device.type != "cuda" or keys.dtype not in HALF or keys.shape[-1] > FLASH_HEAD_SIZE:
        return False
    return torch.version.hip is None and torch.cuda.get_device_capability(keys.device) >= FLASH_CAPABILITY


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    slots: SlotLengths | None = None,
    **unused: object,
) -> tuple[torch.Tensor, None]:
    """Attend with one token per row, without copying keys and values for every head of a group.

    The query heads of a group take the place of query tokens, [rows, groups, heads per group, head size],
    so that keys and values are read once. Passes of several tokens attend as `sdpa` does.

    Args:
        module: the attention layer.
        query: [rows, heads, tokens, head size].
        key: [rows, groups, positions, head size].
        value: as `key`.
        attention_mask: [rows, 1, tokens, positions], True where a token attends, or added; None: causal.
        scaling: factor of the scores.
        dropout: 0 outside training.
        slots: what the slots hold in a decoding step, whose keys and values are views of whole buffers.
        unused: of other kinds of attention.

    Returns:
        What the tokens read, [rows, tokens, heads, head size], and None for the weights.
    """
    rows, heads, tokens, size = query.shape
    if tokens > 1:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling
        )
    groups = key.shape[1]
    if slots is not None and reads_lengths(key.transpose(1, 2)):
        return _flash_attention(query[:, :, 0], key, value, slots, scaling)[:, None], None
    packed = query.reshape(rows, groups, heads // groups, size)
    if attention_mask is not None and attention_mask.is_floating_point() and adds_mask(key):
        output = _attention_in_products(packed, key, value, attention_mask, scaling)
        return output.reshape(rows, 1, heads, size), None
    output = F.scaled_dot_product_attention(packed, key, value, attn_mask=attention_mask, scale=scaling)
    return output.reshape(rows, 1, heads, size), None


def adds_mask(keys: torch.Tensor) -> bool:
    """Return whether attention with one token per row adds its mask, zeros and minus infinity, to the scores.

    It does in float32 on a CPU, where two matrix products take half the time of PyTorch's fused kernel,
    which is made for blocks of tokens.
    """
    return keys.device.type == "cpu" and keys.dtype == torch.float32


def _attention_in_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Attend with [rows, groups, heads per group, head size]; the mask is added."""
    scores = torch.matmul(query, key.transpose(2, 3))
    scores.mul_(query.shape[-1] ** -0.5 if scaling is None else scaling)
    return torch.matmul(scores.add_(attention_mask).softmax(-1), value)


def _flash_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, slots: SlotLengths, scaling: float | None
) -> torch.Tensor:
    """Attend with one token per slot, [slots, heads, head size], to the used positions of whole buffers.

    This is the operator behind `torch.nn.attention.varlen.varlen_attn`, which takes the number of used
    positions since PyTorch 2.12.
    """
    buffers = [buffer.transpose(1, 2).flatten(0, 1) for buffer in (key, value)]  # views
    positions = key.shape[2]
    output: torch.Tensor = torch.ops.aten._flash_attention_forward(
        query, *buffers, slots.queries, slots.keys, 1, positions, 0.0, False, False,
        scale=scaling, seqused_k=slots.used,
    )[0]  # fmt: skip
    return output


AttentionInterface.register(GROUPED, grouped_attention)
