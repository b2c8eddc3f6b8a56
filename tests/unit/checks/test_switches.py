"""Switches of config.json without the key that they need, and keys that transformers does not load."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_models import make_llama
from transformers import AutoConfig, AutoModelForCausalLM

from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.checks.model_checks import examine
from mergekit_finance.hosts.transformers import experts_implementations, layer_types
from mergekit_finance.models.facts import FactsReader, ModelFacts

SIZES = {
    "architectures": ["AnyForCausalLM"],
    "num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 8, "hidden_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 4,
}  # fmt: skip


def ids(config: dict[str, Any], level: str) -> list[str]:
    facts = ModelFacts("./m", config=config)
    merge = MergeFacts("", (facts,), evaluated=frozenset({"./m"}))
    return [one.id for one in examine(merge) if one.level == level and one.id.startswith("model.")]


@pytest.mark.parametrize(
    ("config", "is_reported"),
    [
        ({"use_sliding_window": True}, True),
        ({"use_sliding_window": True, "sliding_window": None}, True),
        ({"use_sliding_window": True, "sliding_window": 8}, False),
        ({"use_sliding_window": False}, False),
        ({"use_mtp": True}, True),
        ({"use_mtp": True, "num_nextn_predict_layers": 1}, False),
        ({"rope_scaling": {"factor": 2.0}}, True),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "factor": 2.0}}, True),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, False),
    ],
)
def test_a_switch_without_its_partner_is_a_warning(config: dict[str, Any], is_reported: bool) -> None:
    warnings = ids({"model_type": "qwen2", **SIZES, **config}, "warning")
    assert warnings == (["model.config-switch"] if is_reported else [])


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"])
@pytest.mark.parametrize(
    "config",
    [
        {"layer_types": ["sliding_attention"] * 2},
        {"layer_types": ["sliding_attention"] * 2, "sliding_window": None},
        {"layer_types": ["sliding_attention"] * 2, "sliding_window": 8},
        {"layer_types": ["sliding_attention"] * 2, "sliding_window": 8, "use_sliding_window": True},
        {"layer_types": ["full_attention"] * 2},
        {"layer_types": ["no_attention"] * 2},
    ],
    ids=str,
)
def test_layer_types_are_refused_exactly_where_transformers_fails(kind: str, config: dict[str, Any]) -> None:
    whole = {"model_type": kind, **SIZES, **config}
    try:
        settings = AutoConfig.for_model(**whole, bos_token_id=0, eos_token_id=1, pad_token_id=2)
        AutoModelForCausalLM.from_config(settings)(torch.zeros(1, 3, dtype=torch.long))
        runs = True
    except Exception:  # the kinds differ: of validation, of missing attributes
        runs = False
    assert (ids(whole, "error") == []) == runs


def test_names_in_the_source_of_transformers() -> None:
    from transformers.configuration_utils import _LEGACY_LAYER_TYPE_REMAP, ALLOWED_LAYER_TYPES
    from transformers.integrations.moe import ExpertsInterface

    assert layer_types() == {*ALLOWED_LAYER_TYPES, *_LEGACY_LAYER_TYPE_REMAP}
    assert experts_implementations() == {*ExpertsInterface._global_mapping, "eager"}


KEYS: dict[str, Any] = {
    "return_dict": False, "use_return_dict": False, "sub_configs": {}, "text_config": {}, "auto_map": None,
    "is_encoder_decoder": True, "num_labels": None, "per_layer_config": True, "base_model_tp_plan": [1],
    "initializer_range": 2.5, "pretraining_tp": True, "experts_implementation": "fast",
    "attn_implementation": "flash_attention_2", "output_hidden_states": "x",
    "rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4},
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_key_with_which_transformers_does_not_run_a_model(key: str, tmp_path: Path) -> None:
    make_llama(300, 0, layers=1, hidden=16).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: KEYS[key]}))
    with pytest.raises(Exception, match=r"."):  # of many types
        model = AutoModelForCausalLM.from_pretrained(tmp_path)
        _ = model(torch.zeros(1, 3, dtype=torch.long)).logits
        model.generate(torch.zeros(1, 3, dtype=torch.long), max_length=6, use_cache=True)
    facts = FactsReader().read("m", tmp_path)
    errors = [
        one for one in examine(MergeFacts("", (facts,), evaluated=frozenset({"m"}))) if one.level == "error"
    ]
    assert [one for one in errors if key in one.line]
