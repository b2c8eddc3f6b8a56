"""Checks of settings in which an expert differs from the base; a merged model has those of the base."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding

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
