"""A kept model takes the weights of the next one of the same architecture."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mergekit_finance import run_study
from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.evaluation.inference.kept_model import KeptModel
from mergekit_finance.lab.copy_models import WEIGHTS

STUDY = """\
base: {models}/base
experts: {{finance: {models}/finance, math: {models}/math}}
operators: {{task_arithmetic: {{lambda: [0.3, 1.0]}}, ties: {{density: [0.5]}}}}
stages: [1, 2]
tasks: [finance_bench_fpb, finance_bench_docmath_cs_cot]
source: lab
limit: 4
selection: {{same_items: true}}
resamples: 200
evaluation: {{engine: {engine}, dtype: float32, max_gen_toks: 8}}
"""
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


def test_a_study_whose_models_share_the_kept_memory_gets_the_answers_of_hf(tmp_path, monkeypatch):
    """On a GPU models are kept; here `keep` is made to do so on the CPU."""
    kept_models, reuse = [], KeptModel.reuse
    monkeypatch.setattr(KeptModel, "keep", lambda self, lm: setattr(self, "_lm", lm))

    def recorded(self, *arguments):
        kept_models.append(reuse(self, *arguments))
        return kept_models[-1]

    monkeypatch.setattr(KeptModel, "reuse", recorded)
    responses = {}
    for engine in ("hf", "compiled"):
        file = tmp_path / f"{engine}.yml"
        file.write_text(STUDY.format(models=WEIGHTS, engine=engine))
        results = run_study(file, tmp_path / engine, device="cpu", workers=1, quiet=True)
        names = (*results.models, *results.points)
        written = {name: results.sample_lines(name, "finance_bench_docmath_cs_cot") for name in names}
        texts = {
            name: [json.loads(line)["resps"] for line in lines if line] for name, lines in written.items()
        }
        chosen = {name: results.columns(name)["finance_bench_fpb"].score for name in names}
        responses[engine] = texts, chosen
    assert (
        sum(lm is not None for lm in kept_models) > 4
    )  # groups of points took over the first model's memory
    assert responses["compiled"] == responses["hf"]
    assert len({str(one) for one in responses["hf"][0].values()}) > 4  # or equal answers would show nothing
