"""Checks of heads and rotary positions: transformers cannot load or run a model whose sizes do not fit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.hosts.transformers import (
    divides_width,
    has_rotary_positions,
    needs_whole_heads,
    partial_rotary,
    repeats_key_heads,
)

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.files import Json


def check_heads(merge: "MergeFacts") -> Iterator[Finding]:
    """The numbers of heads must fit: otherwise transformers fails when it loads or first runs the model."""
    for model in merge.models:
        for problem in _wrong_heads(model.text):
            yield finding("model.broken", f"{model.reference}: config.json: {problem}")


def _wrong_heads(config: "dict[str, Json]") -> Iterator[str]:
    """Yield what is wrong with the heads of a config of transformers' own code."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or "auto_map" in config:
        return
    hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    pairs = _size(config, "num_key_value_heads")
    if hidden and heads and hidden % heads and needs_whole_heads(kind):
        yield f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
    if heads and pairs and heads % pairs and repeats_key_heads(kind):
        yield f"num_attention_heads {heads} is not a multiple of num_key_value_heads {pairs}"
    size = _size(config, "head_dim") or (hidden // heads if heads and divides_width(kind) else 0)
    if size and has_rotary_positions(kind):
        yield from _wrong_rotary_size(config, kind, size)


def _wrong_rotary_size(config: "dict[str, Json]", kind: str, head: int) -> Iterator[str]:
    """Yield what is wrong with the size of the part of a head that is rotated, which is done in pairs.

    Args:
        config: of the model's text part.
        kind: its model_type.
        head: the numbers of a head.
    """
    part = partial_rotary(kind)
    if part is None:
        if head % 2:
            yield f"the size of a head is {head}, and rotary positions need an even number"
        return
    parameters = config.get("rope_parameters") or config.get("rope_scaling")
    inner = parameters.get("partial_rotary_factor") if isinstance(parameters, dict) else None
    share = next(value for value in (inner, config.get(part.key), part.default) if value is not None)
    if not isinstance(share, int | float) or isinstance(share, bool):
        yield f"{part.key} is {share!r:.40}, not a number from 0 to 1"
    elif not 0 <= share <= 1:
        yield f"{part.key} is {share}, not a number from 0 to 1"
    elif (size := int(head * share)) % 2 and (part.only_even or size == head):
        yield (
            f"{share:g} of the {head} numbers of a head are rotated ({part.key}), that is {size}, and "
            "rotary positions need an even number"
        )


def _size(config: "dict[str, Json]", key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
