"""The compiled engine against lm-eval's `hf`: the same log-likelihoods, the same texts."""

import random

import pytest
import torch
from helpers import lm_requests
from lm_eval.models.huggingface import HFLM
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from mergekit_finance.evaluation.inference import attention, compiled_lm
from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.evaluation.inference.generation import Generator
from mergekit_finance.evaluation.inference.graphs import STEPS
from mergekit_finance.evaluation.inference.kv_cache import SlotCache
from mergekit_finance.lab.copy_models import WEIGHTS

SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig,
    "tied": lambda **shape: LlamaConfig(**shape, tie_word_embeddings=True),
    "one head per group": lambda **shape: LlamaConfig(**(shape | {"num_key_value_heads": 4})),
    "mistral": lambda **shape: MistralConfig(**shape, sliding_window=None),
    "qwen2": Qwen2Config,
    "qwen3": lambda **shape: Qwen3Config(**shape, head_dim=16),
    "phi3": lambda **shape: Phi3Config(**shape, pad_token_id=0, sliding_window=None),
}
TOLERANCE = 1e-4  # of a log-likelihood in float32, or a millionth of it


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "base")


def model_of(config, tokenizer):
    """A random model whose logits are far enough apart that rounding decides no token."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request, tokenizer):
    """The same model in both engines."""
    model = model_of(CONFIGS[request.param](vocab_size=len(tokenizer), **SHAPE), tokenizer)
    compiled = CompiledLM(pretrained=model, tokenizer=tokenizer, batch_size="auto")
    assert compiled.plain_reason == ""
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4), compiled


WORDS = "profit rose fell year sales was the of in 2023 12.5 percent 売上 増加 answer Question:".split()


def text(draw, words):
    return " ".join(draw.choice(WORDS) for _ in range(words))


def choices():
    """Questions with options of one and several words; some prompts begin alike, some are too long."""
    draw = random.Random(1)
    shared = text(draw, 20)
    prompts = [f"{shared} {text(draw, n)}" if n % 2 else text(draw, n) for n in (1, 3, 8, 30, 31, 90, 300)]
    pairs = [(p, f" {text(draw, k)}") for p in prompts for k in (1, 1, 2, 4)]
    return [request("loglikelihood", *pair) for pair in [*pairs, ("", "profit"), (prompts[0], prompts[1])]]


def generations(most=12, until=("\n", "rose the")):
    draw = random.Random(2)
    settings = {"until": list(until), "do_sample": False, "max_gen_toks": most}
    return [request("generate_until", text(draw, n), settings) for n in (1, 2, 5, 9, 40, 41, 60, 250)]


def request(kind, *arguments):
    return lm_requests.request(kind, arguments)


def test_log_likelihoods_and_greediness_are_those_of_hf(pair):
    hf, compiled = pair
    expected = hf.loglikelihood(choices(), disable_tqdm=True)
    actual = compiled.loglikelihood(choices(), disable_tqdm=True)
    for (value, greedy), (reference, is_greedy) in zip(actual, expected, strict=True):
        assert abs(value - reference) <= max(TOLERANCE, 1e-6 * abs(reference))
        assert greedy == is_greedy


def test_greedy_continuations_are_recognized(pair):
    hf, compiled = pair
    (continuation,) = hf.generate_until([generations(6, ())[2]], disable_tqdm=True)
    prompt = generations()[2].args[0]
    tokens = compiled.tok_encode(prompt)
    greedy = hf.model.generate(torch.tensor([tokens]), max_new_tokens=3, do_sample=False)[0, len(tokens) :]
    requests = [(("a", "b"), tokens, greedy.tolist()), (("a", "b"), tokens, [*greedy.tolist()[:-1], 5])]
    assert [exact for _, exact in compiled._loglikelihood_tokens(requests, True)] == [True, False]
    assert [exact for _, exact in hf._loglikelihood_tokens(requests, True)] == [True, False]
    assert continuation  # a test of empty answers would show nothing


def test_rolling_log_likelihoods_are_those_of_hf(pair):
    texts = [request("loglikelihood_rolling", text(random.Random(n), n)) for n in (3, 60, 400)]
    results = [lm.loglikelihood_rolling(texts, disable_tqdm=True) for lm in pair]
    # lm-eval 0.5 returns pairs of a log-likelihood and False.
    expected, ours = ([one[0] if isinstance(one, tuple) else one for one in numbers] for numbers in results)
    assert ours == pytest.approx(expected, rel=1e-5)


def test_no_batch_size_is_searched_for_with_the_model(pair, monkeypatch):
    """lm-eval's search takes 20 s on a CPU."""
    _, compiled = pair
    monkeypatch.setattr(HFLM, "_detect_batch_size", lambda *_: pytest.fail("searched"))
    sampled = request("generate_until", "profit", {"do_sample": True, "temperature": 1.0, "max_gen_toks": 2})
    assert len(compiled.loglikelihood_rolling([request("loglikelihood_rolling", "profit rose")], True)) == 1
    assert len(compiled.generate_until([sampled], True)) == 1


@pytest.mark.parametrize("slots", [1, 3, 32])
def test_texts_are_those_of_hf(pair, slots):
    hf, compiled = pair
    compiled = CompiledLM(pretrained=hf.model, tokenizer=hf.tokenizer, batch_size=slots)
    requests = [*generations(), *generations(30, ()), *generations(3, ("the",))]
    assert compiled.generate_until(requests, True) == hf.generate_until(requests, True)


def test_a_decoding_step_on_a_cpu_reads_the_positions_of_its_longest_answer_only(pair, monkeypatch):
    """On a GPU windows are rounded up, so that few graphs are captured."""
    hf, _ = pair
    compiled = CompiledLM(pretrained=hf.model, tokenizer=hf.tokenizer, batch_size=3)
    windows, decode = [], SlotCache.decode

    def noted(cache, count, window):
        windows.append((window, int(cache.positions[:count].max())))
        decode(cache, count, window)

    monkeypatch.setattr(SlotCache, "decode", noted)
    compiled.generate_until(generations(), True)
    assert all(last < window <= last + 1 + STEPS for window, last in windows) and len(windows) > 8


def test_prompts_that_are_read_together_on_a_cpu_have_about_the_same_length(pair, monkeypatch):
    """All of them are padded to the longest one, which costs time on a CPU."""
    hf, _ = pair
    compiled = CompiledLM(pretrained=hf.model, tokenizer=hf.tokenizer, batch_size=16)
    counts, fill = [], Generator._fill

    def noted(generator, slots):
        counts.append([len(slot.prompt.tokens) for slot in slots])
        return fill(generator, slots)

    monkeypatch.setattr(Generator, "_fill", noted)
    settings = {"until": [], "max_gen_toks": 3, "do_sample": False}
    requests = [request("generate_until", " ".join(["profit"] * n), settings) for n in [*range(1, 9), 8, 8]]
    assert compiled.generate_until(requests, True) == hf.generate_until(requests, True)
    assert sorted(sum(counts, [])) == [*range(1, 9), 8, 8]
    assert all(len(each) * max(each) <= 1.1 * sum(each) for each in counts) and counts[0] == [8, 8, 8, 7, 6]


def test_answers_are_reported_one_by_one(pair):
    _, compiled = pair
    seen = []

    class Hook:
        def add_partial(self, *values):
            seen.append(values)

    compiled.set_cache_hook(Hook())
    answers = compiled.generate_until(generations(), True)
    assert sorted(seen, key=repr) == sorted(
        (("generate_until", one.args, answer) for one, answer in zip(generations(), answers, strict=True)),
        key=repr,
    )


def test_weights_changed_in_place_change_the_next_answers(tokenizer):
    model = model_of(LlamaConfig(vocab_size=len(tokenizer), **SHAPE), tokenizer)
    compiled = CompiledLM(pretrained=model, tokenizer=tokenizer, batch_size=3)
    before = compiled.generate_until(generations(), True)
    with torch.no_grad():
        model.lm_head.weight.neg_()
    after = compiled.generate_until(generations(), True)
    assert before != after
    assert after == HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3).generate_until(
        generations(), True
    )


def test_sampled_generations_are_left_to_hf(pair):
    hf, compiled = pair
    sampled = [
        request("generate_until", "profit rose", {"do_sample": True, "temperature": 2.0, "max_gen_toks": 9})
    ]
    torch.manual_seed(3)
    expected = hf.generate_until(sampled, True)
    torch.manual_seed(3)
    assert compiled.generate_until(sampled, True) == expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            LlamaConfig(vocab_size=64, **SHAPE, rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
            "rope type",
        ),
        (MistralConfig(vocab_size=64, **SHAPE, sliding_window=16), "sliding window"),
        (LlamaConfig(vocab_size=64, **SHAPE, attn_implementation="eager"), "attention is 'eager'"),
    ],
)
@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_unproven_models_answer_as_hf_and_say_why_once(
    engine, config, reason, caplog, tokenizer, monkeypatch
):
    monkeypatch.setattr(compiled_lm, "_reported", set())
    config.vocab_size = len(tokenizer)
    model = model_of(config, tokenizer)
    compiled = CompiledLM(pretrained=model, tokenizer=tokenizer, batch_size=2, engine=engine)
    assert reason in compiled.plain_reason
    CompiledLM(pretrained=compiled.model, tokenizer=tokenizer, engine=engine)
    line = f"the engine 'compiled' does not support this model: {compiled.plain_reason}"
    assert caplog.text.count(line) == 1
    assert caplog.text.count("support") == 1
    CompiledLM(pretrained=compiled.model, tokenizer=tokenizer, engine="hf")
    assert caplog.text.count("support") == 1
    hf = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2)
    assert compiled.generate_until(generations(), True) == hf.generate_until(generations(), True)
    assert compiled.loglikelihood(choices(), True) == hf.loglikelihood(choices(), True)


def test_a_generation_config_that_changes_greedy_answers_is_left_to_hf(tokenizer):
    model = model_of(LlamaConfig(vocab_size=len(tokenizer), **SHAPE), tokenizer)
    model.generation_config.repetition_penalty = 3.0
    compiled = CompiledLM(pretrained=model, tokenizer=tokenizer, batch_size=2)
    hf = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2)
    assert compiled.generate_until(generations(), True) == hf.generate_until(generations(), True)


def test_the_models_attention_is_restored(pair):
    _, compiled = pair
    compiled.generate_until(generations(), True)
    assert compiled.model.config._attn_implementation == "sdpa"
    assert attention.unsupported(compiled.model) == ""


def test_processes_that_share_a_gpu_take_no_more_than_their_share_of_its_memory(monkeypatch):
    device = torch.device("cuda:0")
    memory = {"free": 70, "reserved": 5}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda one: (memory["free"] * 1000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda one: memory["reserved"] * 1000)
    assert compiled_lm.batch_memory(device, 1) == 28_000  # of what is free
    assert compiled_lm.batch_memory(device, 4) == 6_000  # of its 20,000, of which 5,000 are used
    memory |= {"free": 10}
    assert compiled_lm.batch_memory(device, 4) == 4_000
    memory |= {"reserved": 30}
    assert compiled_lm.batch_memory(device, 4) == 0


def test_buffers_take_no_more_than_the_memory_of_a_batch(pair, monkeypatch):
    """Their length is that of a window, which may be a fourth longer than the longest answer."""
    _, lm = pair
    size = SlotCache.bytes_per_token(lm.model)
    monkeypatch.setattr(type(lm), "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(compiled_lm, "batch_memory", lambda *arguments: 1000 * size)
    assert [lm._slots_that_fit(length) for length in (100, 128, 129, 2000)] == [7, 7, 6, 1]
