"""Checks that transformers has what a config names: class, activation, attention, rope and layer types."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.errors import did_you_mean
from mergekit_finance.hosts.transformers import (
    activations,
    attention_implementations,
    causal_classes,
    experts_implementations,
    is_mentioned,
    layer_types,
    missing_attention_package,
    rope_types,
)

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.models.facts import ModelFacts

ID = "model.unsupported"
SLIDING = "sliding_attention"  # a layer type that needs the size of a window


def check_loadable(merge: "MergeFacts") -> Iterator[Finding]:
    """transformers must have what a config names; weights must not be quantized.

    A merge to disk may be one of models that are no causal language models.
    """
    for model in merge.models:
        if model.config.get("quantization_config") is not None:
            yield finding("model.quantized", f"{model.reference}: config.json has a quantization_config")
        if "auto_map" in model.config:  # the repository's own code may have others
            continue
        kind = model.config.get("model_type")
        if causal_classes() and isinstance(kind, str) and kind not in causal_classes():
            message = f"{model.reference}: transformers has no causal language model of type {kind!r:.60}"
            problem = finding(ID, message)
            yield problem if merge.in_memory else replace(problem, level="warning")
        act = model.text.get("hidden_act", model.text.get("hidden_activation"))
        if isinstance(act, str) and activations() and act not in activations():
            message = f"{model.reference}: transformers has no activation {act!r:.60} (hidden_act)"
            yield finding(ID, message, did_you_mean(act, activations()))
        yield from _wrong_attention(model, merge.is_answering(model))
        yield from _wrong_experts(model)
        yield from _wrong_layer_types(model)
        yield from _wrong_rope_types(model)


def _wrong_attention(model: "ModelFacts", is_answering: bool) -> Iterator[Finding]:
    """Yield an implementation of attention that transformers does not have, or not on this machine."""
    attention = model.config.get("attn_implementation", model.config.get("_attn_implementation"))
    names = attention_implementations()
    is_kernel = isinstance(attention, str) and "/" in attention  # of the Hub
    if attention is None or not names or is_kernel:
        return
    if not isinstance(attention, str) or attention not in names:
        yield _unknown(model, "attn_implementation", attention, names)
    elif package := missing_attention_package(attention):
        problem = finding(
            ID,
            f"{model.reference}: attn_implementation {attention} of config.json needs the package "
            f"{package}, which is not installed",
            "Install it, or remove the key.",
        )
        yield problem if is_answering else replace(problem, level="warning")


def _wrong_experts(model: "ModelFacts") -> Iterator[Finding]:
    """Yield an implementation of a mixture of experts that transformers does not have."""
    experts, names = model.config.get("experts_implementation"), experts_implementations()
    if experts is not None and names and not (isinstance(experts, str) and experts in names):
        yield _unknown(model, "experts_implementation", experts, names)


def _unknown(model: "ModelFacts", key: str, value: object, names: frozenset[str]) -> Finding:
    remedy = f"Write one of {', '.join(sorted(names))}, or remove the key."
    return finding(ID, f"{model.reference}: transformers has no {key} {value!r:.60}", remedy)


def _wrong_rope_types(model: "ModelFacts") -> Iterator[Finding]:
    """Yield the types of rotary positions that transformers does not have, of the model or a layer type."""
    for settings in (model.rope, *model.rope.values()):
        rope = settings.get("rope_type") if isinstance(settings, dict) else None
        if isinstance(rope, str) and rope_types() and rope not in rope_types():
            yield finding(
                ID,
                f"{model.reference}: transformers has no rope_type {rope!r:.60}",
                f"Write one of {', '.join(sorted(rope_types()))}.",
            )


def _wrong_layer_types(model: "ModelFacts") -> Iterator[Finding]:
    """Yield layer types that transformers does not have, or sliding windows without a size."""
    types, kind = model.text.get("layer_types"), model.text.get("model_type")
    if not isinstance(types, list) or not isinstance(kind, str):
        return
    unknown = [
        one for one in types if not isinstance(one, str) or (layer_types() and one not in layer_types())
    ]
    if unknown:
        yield finding(
            ID,
            f"{model.reference}: transformers has no layer type {unknown[0]!r:.60}",
            "Correct layer_types in config.json, or copy or fetch it again.",
        )
    elif SLIDING in types:
        yield from _missing_window(model, kind)


def _missing_window(model: "ModelFacts", kind: str) -> Iterator[Finding]:
    """Yield a finding if layers need the size of a window, and the config has none or turns it off."""
    has_default = is_mentioned(kind, "sliding_window") and not is_mentioned(kind, "use_sliding_window")
    is_off = is_mentioned(kind, "use_sliding_window") and model.text.get("use_sliding_window") is not True
    window = model.text.get("sliding_window", 1 if has_default else None)
    if window is not None and not is_off:
        return
    key = "use_sliding_window is not true" if is_off else "sliding_window is missing or null"
    yield finding(
        "model.broken",
        f"{model.reference}: config.json: layer_types has {SLIDING}, and {key}",
        f"Write {'use_sliding_window: true' if is_off else 'sliding_window'}, or correct layer_types.",
    )
