"""Configs of local models, which are read once as long as their file is unchanged."""

import json
import shutil

import pytest
from mergekit.common import ModelReference
from transformers import AutoConfig

from mergekit_finance.hosts.mergekit_configs import read_configs_once


@pytest.fixture
def model(tiny, tmp_path):
    return ModelReference.model_validate(str(shutil.copytree(tiny / "base", tmp_path / "base")))


@pytest.fixture
def reads(monkeypatch):
    """The arguments of transformers' reads."""
    read_configs_once()
    calls, original = [], AutoConfig.from_pretrained

    def counted(*arguments, **named):
        calls.append(arguments)
        return original(*arguments, **named)

    monkeypatch.setattr(AutoConfig, "from_pretrained", counted)
    return calls


def test_an_unchanged_config_is_read_once_and_every_caller_has_a_copy(model, reads):
    first = model.config()
    first.hidden_size, first.architectures[0] = 7, "another"
    second = model.config()
    assert len(reads) == 1 and second.architectures == ["LlamaForCausalLM"]
    assert second.to_dict() == AutoConfig.from_pretrained(model.model.path).to_dict()


def test_a_config_that_has_changed_is_read_again(model, reads, tmp_path):
    file = tmp_path / "base" / "config.json"
    before = model.config().rms_norm_eps
    file.write_text(json.dumps({**json.loads(file.read_text()), "rms_norm_eps": before * 2}))
    assert model.config().rms_norm_eps == before * 2 and len(reads) == 2


def test_another_architecture_and_code_of_the_model_are_read_apart(model, reads):
    other = model.model_copy(update={"override_architecture": "MistralForCausalLM"})
    assert [one.config().architectures for one in (model, other)] == [
        ["LlamaForCausalLM"],
        ["MistralForCausalLM"],
    ]
    model.config(trust_remote_code=True)
    assert len(reads) == 3


def test_a_folder_that_is_gone_is_an_error_of_transformers(model, reads, tmp_path):
    model.config()
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(OSError, match="base"):
        model.config()
