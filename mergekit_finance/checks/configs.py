"""Checks of settings in which an expert differs from the base; a merged model has those of the base."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.hosts.transformers import (
    activations,
    attention_implementations,
    causal_classes,
    divides_width,
    has_rotary_positions,
    needs_whole_heads,
    repeats_key_heads,
    rope_types,
)

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.files import Json
    from mergekit_finance.models.facts import ModelFacts

# Settings that change what the same weights compute, or where an answer ends. Rotary positions have a check
# of their own, sizes and heads are errors.
KEPT = (
    "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps",
    "hidden_act", "hidden_activation", "activation_function",
    "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "sliding_window_pattern",
    "max_position_embeddings", "n_positions", "partial_rotary_factor",
    "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "logit_scale",
    "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
    "eos_token_id", "bos_token_id", "pad_token_id",
)  # fmt: skip
TIES = "tie_word_embeddings"
BIASES = ("attention_bias", "mlp_bias", "attention_out_bias", "use_bias")  # without the key: no bias


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
    if size % 2 and "partial_rotary_factor" not in config and has_rotary_positions(kind):
        yield f"the size of a head is {size}, and rotary positions need an even number"


def _size(config: "dict[str, Json]", key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def check_loadable(merge: "MergeFacts") -> Iterator[Finding]:
    """transformers must have class, activation and rotary positions; weights must not be quantized.

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
            problem = finding("model.unsupported", message)
            yield problem if merge.in_memory else replace(problem, level="warning")
        act = model.text.get("hidden_act", model.text.get("hidden_activation"))
        if isinstance(act, str) and activations() and act not in activations():
            yield finding(
                "model.unsupported", f"{model.reference}: transformers has no activation {act!r:.60}"
            )
        attention = model.config.get("attn_implementation", model.config.get("_attn_implementation"))
        if attention is not None and attention_implementations():
            is_listed = isinstance(attention, str) and attention in attention_implementations()
            if not is_listed and not (isinstance(attention, str) and "/" in attention):  # a kernel of the Hub
                yield finding(
                    "model.unsupported",
                    f"{model.reference}: transformers has no attn_implementation {attention!r:.60}",
                )
        for settings in (model.rope, *model.rope.values()):
            kind = settings.get("rope_type") if isinstance(settings, dict) else None
            if isinstance(kind, str) and rope_types() and kind not in rope_types():
                yield finding(
                    "model.unsupported", f"{model.reference}: transformers has no rope_type {kind!r:.60}"
                )


def check_settings(merge: "MergeFacts") -> Iterator[Finding]:
    """Experts should have the base's settings."""
    base = merge.base
    for expert in merge.others:
        differences = list(_differences(base, expert))
        if differences:
            yield finding(
                "model.config",
                f"{expert.reference} differs from {base.reference} in {', '.join(differences)}",
            )


def _differences(base: "ModelFacts", expert: "ModelFacts") -> Iterator[str]:
    """Yield the settings in which two configs differ; a key that one of them lacks is not compared."""
    for key in (*KEPT, TIES):
        one, two = _value(base.text, key), _value(expert.text, key)
        if key in base.text and key in expert.text and one != two:
            yield f"{key} ({_shown(two)}, not {_shown(one)})"
    if base.generation_config and expert.generation_config:
        key = "eos_token_id"
        one, two = _value(base.generation_config, key), _value(expert.generation_config, key)
        if one != two:
            yield f"{key} of generation_config.json ({_shown(two)}, not {_shown(one)})"


def check_biases(merge: "MergeFacts") -> Iterator[Finding]:
    """A model must not have bias tensors that the others lack: the merge would lose them."""
    base = merge.base
    for expert in merge.others:
        for key in BIASES if base.config and expert.config else ():
            one, two = bool(base.text.get(key)), bool(expert.text.get(key))
            if one != two:
                owner, other = (expert, base) if two else (base, expert)
                yield finding(
                    "model.tensor-lost",
                    f"{owner.reference} has {key} true and {other.reference} does not: the bias tensors "
                    "would be lost",
                )


def _value(config: "dict[str, Json]", key: str) -> "Json":
    """Return a value; a list of one token id is that id."""
    value = config.get(key)
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _shown(value: "Json") -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
