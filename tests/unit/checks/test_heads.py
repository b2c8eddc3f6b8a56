"""Numbers of heads: the check refuses those with which transformers cannot build or run a model."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.checks.model_checks import examine
from mergekit_finance.models.facts import ModelFacts

TYPES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3")
HEADS = {
    "fit": (64, 4, 2, {}),
    "do not divide the hidden size": (64, 5, 5, {}),
    "do not divide it, with head_dim": (64, 5, 5, {"head_dim": 16}),
    "of keys do not divide those of queries": (64, 4, 3, {"head_dim": 16}),
    "more of keys than of queries": (64, 2, 4, {"head_dim": 16}),
    "of an odd size": (64, 4, 4, {"head_dim": 15}),
    "of an odd size by default": (60, 4, 4, {}),
    "of an odd and small size by default": (12, 4, 4, {}),
}


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("kind", TYPES)
def test_heads_are_refused_exactly_where_transformers_fails(kind: str, case: str) -> None:
    hidden, heads, pairs, more = HEADS[case]
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": pairs, **more}
    config = {"model_type": kind, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 8, **sizes}
    findings = examine(MergeFacts("", (ModelFacts("./m", config=config),)))
    ids = [one.id for one in findings if "heads" in one.message or "head " in one.message]
    assert ids == ([] if runs(config) else ["model.broken"])


PARTIAL_TYPES = ("llama", "qwen2", "phi3", "phi", "stablelm", "glm", "gpt_neox", "nemotron", "persimmon")
PARTIAL = ((16, 0.5), (15, 0.5), (15, 0.4), (15, 1.0), (16, 0.2), (16, 1.5), (16, -0.5), (16, 0.0))


@pytest.mark.parametrize("place", ["config", "rope_parameters"])
@pytest.mark.parametrize("kind", PARTIAL_TYPES)
def test_a_part_of_a_head_is_rotated_exactly_where_transformers_can(kind: str, place: str) -> None:
    for head, share in PARTIAL:
        factor = {"partial_rotary_factor": share}
        rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **factor}}
        config = {
            "model_type": kind, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 8,
            "hidden_size": 4 * head, "num_attention_heads": 4, "num_key_value_heads": 4,
            **(factor if place == "config" else rope),
        }  # fmt: skip
        if "head_dim" in vars(AutoConfig.for_model(kind)):
            config["head_dim"] = head
        findings = examine(MergeFacts("", (ModelFacts("./m", config=config),)))
        ids = [one.id for one in findings if "head" in one.message or "rotary" in one.message]
        assert ids == ([] if runs(config) else ["model.broken"]), (kind, head, share)


def runs(config: dict) -> bool:
    try:
        settings = AutoConfig.for_model(**config, bos_token_id=0, eos_token_id=1, pad_token_id=2)
        AutoModelForCausalLM.from_config(settings)(torch.zeros(1, 3, dtype=torch.long))
    except Exception:  # the kinds differ: of validation, of shapes
        return False
    return True
