"""The adapters to transformers: one readable line where a name of transformers is missing."""

import pytest
import transformers

from mergekit_finance.errors import HostError, ModelError
from mergekit_finance.hosts.transformers import causal_model_class


def test_the_class_of_a_config_is_found():
    assert causal_model_class(transformers.LlamaConfig()) is transformers.LlamaForCausalLM


def test_a_config_without_a_causal_language_model_is_named():
    with pytest.raises(ModelError, match="no causal language model for CLIPConfig"):
        causal_model_class(transformers.CLIPConfig())


def test_a_transformers_without_the_private_name_gives_one_readable_line(monkeypatch):
    monkeypatch.delattr(transformers.AutoModelForCausalLM, "_model_mapping")
    with pytest.raises(HostError, match=r"has no AutoModelForCausalLM\._model_mapping; .*transformers>=5"):
        causal_model_class(transformers.LlamaConfig())
