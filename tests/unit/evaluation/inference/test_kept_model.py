"""A kept model takes the weights of the next one of the same architecture."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.evaluation.inference.kept_model import KeptModel
from mergekit_finance.lab.copy_models import WEIGHTS

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def tokenizer():
    return PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "base")


def model(seed, **changes):
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(vocab_size=4096, **(SHAPE | changes)))


def kept(tokenizer):
    """A kept model, and what keeps it; `keep` itself keeps models on GPUs only."""
    keeper = KeptModel()
    lm = CompiledLM(pretrained=model(1), tokenizer=tokenizer)
    keeper.keep(lm)
    assert keeper.reuse(model(2), tokenizer, "cpu") is None  # on the CPU nothing is gained
    keeper._lm = lm
    return keeper, lm


def test_the_next_model_responds_in_the_memory_of_the_kept_one(tokenizer):
    keeper, lm = kept(tokenizer)
    addresses = [parameter.data_ptr() for parameter in lm.model.parameters()]
    other = model(2)
    expected = other(torch.arange(9)[None]).logits
    assert keeper.reuse(other, tokenizer, "cpu") is lm
    assert torch.equal(lm.model(torch.arange(9)[None]).logits, expected)
    assert [parameter.data_ptr() for parameter in lm.model.parameters()] == addresses


def test_merging_into_the_next_model_changes_what_responds(tokenizer):
    keeper, lm = kept(tokenizer)
    other = model(2)
    keeper.reuse(other, tokenizer, "cpu")
    with torch.no_grad():
        other.lm_head.weight.zero_()
    assert not lm.model(torch.arange(3)[None]).logits.any()


@pytest.mark.parametrize(
    "other",
    [
        model(2, rms_norm_eps=1e-3),
        model(2, hidden_size=64),
        model(2).to(torch.bfloat16),
    ],
    ids=["another config", "another shape", "another dtype"],
)
def test_a_model_that_computes_otherwise_is_not_taken(other, tokenizer):
    keeper, lm = kept(tokenizer)
    before = lm.model.lm_head.weight.clone()
    assert keeper.reuse(other, tokenizer, "cpu") is None
    assert torch.equal(lm.model.lm_head.weight, before)


def test_another_generation_config_or_tokenizer_is_not_taken(tokenizer):
    keeper, _ = kept(tokenizer)
    other = model(2)
    other.generation_config.eos_token_id = 77
    assert keeper.reuse(other, tokenizer, "cpu") is None
    keeper, _ = kept(tokenizer)
    changed = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "base", eos_token="the")
    assert keeper.reuse(model(2), changed, "cpu") is None
