"""Loading models and tokenizers, and models made of tensors; what cannot be loaded is one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from mergekit_finance.errors import ModelError
from mergekit_finance.models import loading


def test_a_model_is_loaded_in_the_dtype_asked_for(tiny):
    assert loading.load_model(str(tiny / "base"), "auto").dtype == torch.bfloat16
    assert loading.load_model(str(tiny / "base"), "float32").dtype == torch.float32


def test_a_tokenizer_of_the_hub_is_loaded_at_the_revision_of_its_reference(monkeypatch):
    from transformers import AutoTokenizer

    calls = []
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda path, **options: calls.append((path, options))
    )
    loading.load_tokenizer("owner/model@v1")
    loading.load_tokenizer("owner/model")
    assert [(path, options["revision"]) for path, options in calls] == [
        ("owner/model", "v1"),
        ("owner/model", None),
    ]


def test_a_truncated_model_and_a_missing_tokenizer_are_named(tiny, tmp_path):
    model = Path(shutil.copytree(tiny / "base", tmp_path / "base"))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=f"model '{model}': cannot be loaded") as caught:
        loading.load_model(str(model), "auto")
    assert "\n" not in str(caught.value)
    for path in model.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=f"model '{model}': no usable tokenizer"):
        loading.load_tokenizer(str(model))


@pytest.mark.parametrize("load", [loading.load_tokenizer, lambda path: loading.load_model(path, "auto")])
def test_a_folder_that_vanished_after_the_checks_is_not_taken_for_a_name_on_the_hub(load, tmp_path):
    with pytest.raises(ModelError, match=r"no such folder\. It may have been moved .*\[model\.missing\]$"):
        load(str(tmp_path / "gone"))


def test_a_live_model_computes_what_the_checkpoint_does(tiny):
    config = AutoConfig.from_pretrained(tiny / "math")
    live = loading.build_model(config, load_file(tiny / "math" / "model.safetensors"))
    stored = loading.load_model(str(tiny / "math"), "auto")
    tokens = torch.tensor([[1, 2, 3]])
    assert not live.training and torch.equal(live(tokens).logits, stored(tokens).logits)


def test_tensors_that_do_not_fill_the_model_are_named(tiny):
    config = AutoConfig.from_pretrained(tiny / "math")
    tensors = load_file(tiny / "math" / "model.safetensors")
    tensors["extra.weight"] = tensors.pop("model.norm.weight")
    with pytest.raises(
        ModelError, match="tensors are not those of LlamaForCausalLM: model.norm.weight, extra.weight"
    ):
        loading.build_model(config, tensors)


def test_at_most_three_tensors_are_named(tiny):
    tensors = load_file(tiny / "math" / "model.safetensors")
    tensors |= {f"extra.{n}": torch.ones(1) for n in range(4)}
    with pytest.raises(ModelError, match=r"LlamaForCausalLM: extra\.0, extra\.1, extra\.2 \["):
        loading.build_model(AutoConfig.from_pretrained(tiny / "math"), tensors)


def test_casting_gives_what_loading_in_that_dtype_gives(tiny):
    """The rotary frequencies stay in float32: `model.to` would round them."""
    cast = loading.cast(loading.load_model(str(tiny / "base"), "float32"), torch.bfloat16)
    loaded = loading.load_model(str(tiny / "base"), "bfloat16")
    for (name, a), (_, b) in zip(cast.named_buffers(), loaded.named_buffers(), strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.equal(a, b), name
    for (name, a), (_, b) in zip(cast.named_parameters(), loaded.named_parameters(), strict=True):
        assert a.dtype == b.dtype == torch.bfloat16 and torch.equal(a, b), name
    assert cast.config.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_keys_of_a_tokenizer_cannot_control_the_terminal(tiny, tmp_path, name, capfd):
    """tokenizers prints keys that it does not know, as they are."""
    model = Path(shutil.copytree(tiny / "base", tmp_path / "base"))
    path = model / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, "pad_token": {"content": "<pad>", "\x1b[31m": True}}))
    with pytest.raises(ModelError, match=r"the key '\\x1b\[31m' has control characters"):
        loading.load_tokenizer(str(model))
    assert "\x1b" not in "".join(capfd.readouterr())
