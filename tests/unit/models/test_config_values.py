"""Types of values in configs: what transformers saves is accepted, what it refuses is refused."""

import json
from pathlib import Path

import pytest
from helpers.architectures import ARCHITECTURES
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.activations import ACT2FN
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from mergekit_finance.errors import ModelError
from mergekit_finance.files import Json, JsonObject
from mergekit_finance.hosts.transformers import (
    activations,
    cache_implementations,
    causal_classes,
    model_types,
    rope_types,
)
from mergekit_finance.models.config_values import check_tokenizer_values
from mergekit_finance.models.json_files import read_config

WRONG = {
    "num_hidden_layers": 2.0,
    "eos_token_id": "</s>",
    "dtype": "float31",
    "rope_parameters": [1],
    "tie_word_embeddings": "yes",
    "max_position_embeddings": "long",
    "attention_dropout": "x",
    "rope_scaling": {"rope_type": "linear"},
    "layer_types": ["full_attention"],
    "rms_norm_eps": 0,
    "id2label": "x",
    "quantization_config": [],
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_configs_that_transformers_saves_are_accepted(name: str, tmp_path: Path) -> None:
    kind, options = ARCHITECTURES[name]
    kind(**options).save_pretrained(tmp_path)
    assert read_config(tmp_path)["model_type"] == kind.model_type


def test_rotary_settings_by_layer_as_older_transformers_save_them_are_accepted(tmp_path: Path) -> None:
    """transformers 5.0 to 5.9 save this null, which is refused where no layer has settings of its own."""
    kind, options = ARCHITECTURES["gemma3"]
    kind(**options).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] |= {"rope_theta": None, "rope_type": "default"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path)["rope_parameters"] == config["rope_parameters"]
    assert kind.from_pretrained(tmp_path).model_type == "gemma3_text"
    config["rope_parameters"] = {"rope_theta": None, "rope_type": "default"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="rope_parameters"):
        read_config(tmp_path)


@pytest.mark.parametrize("key", WRONG)
def test_values_of_wrong_types_are_refused_as_transformers_refuses_them(key: str, tmp_path: Path) -> None:
    config = {
        **LlamaConfig(num_hidden_layers=2).to_dict(),
        "architectures": ["LlamaForCausalLM"],
        key: WRONG[key],
    }
    (tmp_path / "config.json").write_text(json.dumps(config, default=str))
    with pytest.raises(ModelError, match=key):
        read_config(tmp_path)
    with pytest.raises(Exception, match=r".+"):  # of many types
        LlamaConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", [["linear"], {}, 5])
def test_a_rope_type_that_is_not_text_is_refused(kind: Json, tmp_path: Path) -> None:
    config = LlamaConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, vocab_size=8)
    content = config.to_dict() | {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0}}
    (tmp_path / "config.json").write_text(json.dumps(content, default=str))
    with pytest.raises(ModelError, match=r"rope_parameters has rope_type .*, which is not text"):
        read_config(tmp_path)
    with pytest.raises((TypeError, KeyError)):
        LlamaForCausalLM(LlamaConfig.from_pretrained(tmp_path))


def test_names_of_activations_and_rotary_positions_are_those_of_transformers() -> None:
    assert activations() == set(ACT2FN)
    assert rope_types() >= set(ROPE_INIT_FUNCTIONS)


def test_names_of_model_types_classes_and_caches_are_those_of_transformers() -> None:
    assert model_types() == set(CONFIG_MAPPING_NAMES)
    assert causal_classes() == dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert cache_implementations() == {*ALL_CACHE_IMPLEMENTATIONS, "paged"}


@pytest.mark.parametrize(
    "values",
    [{"padding_side": "up"}, {"extra_special_tokens": "x"}, {"additional_special_tokens": ["x", 5]}],
    ids=str,
)
def test_values_of_tokenizer_configs_that_transformers_refuses_are_refused(
    values: JsonObject, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=next(iter(values))):
        check_tokenizer_values(tmp_path, values, None, None)
