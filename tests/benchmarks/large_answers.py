"""Time generated answers of a model of the shape of Llama-3-8B: `compiled` against lm-eval's `hf` and the memory roof.

    python tests/benchmarks/large_answers.py TOKENIZER                  64 prompts of 1,200 tokens, on a GPU
    python tests/benchmarks/large_answers.py TOKENIZER --batch-sizes 32 64 --new-tokens 256
    python tests/benchmarks/large_answers.py TOKENIZER --layers 2 --prompts 4 --prompt-tokens 50 --device cpu

TOKENIZER is a folder with a tokenizer; the weights are random, in bfloat16. No answer ends before its last token.
Every engine answers the same prompts, twice: with half of the new tokens and with all. The difference gives the
time of a decoding step, without the prompts. `hf` is warmed up by a short run. `compiled` answers before that,
too, which captures its decoding steps: as for the second and later models of a sweep.

The roof of a step is the time to read all weights but the input embeddings, and the keys and values of all prompts
with half of their answers, at the speed at which the device copies memory. Exits 1 if a step of `compiled` takes more
than 0.25 of the time of one of `hf` at its best batch size. The whole time is printed, too; it depends on how many
tokens are written for each prompt, because both read prompts at about the same speed.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

from mergekit_finance.evaluation.live_models import LiveModels
from mergekit_finance.models.loading import load_tokenizer

BAR = 0.25
WORDS = (
    "revenue cost margin of the year in million dollars was higher than before because prices rose".split()
)
SHAPE = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=1200)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64], help="of `hf`")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    model = random_model(arguments)
    print(
        f"{machine(arguments.device)}, {sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion numbers"
    )
    tokenizer = load_tokenizer(arguments.tokenizer)
    best: dict[str, tuple[float, float]] = {}
    for engine, sizes in (("compiled", ["auto"]), ("hf", arguments.batch_sizes)):
        for size in sizes:
            models = LiveModels(arguments.device, "bfloat16", size, quiet=True, engine=engine)
            lm = models.wrap(model, tokenizer, models=20)
            if engine == "compiled" and lm.plain_reason:
                raise SystemExit(f"compiled leaves this model to hf: {lm.plain_reason}")
            whole, step = measure(arguments, lm.generate_until, warm_up=engine == "hf")
            print(f"{engine:<9} batch {size:<5} {whole:7.2f} s, {1000 * step:7.1f} ms a step", flush=True)
            best[engine] = min(best.get(engine, (whole, step)), (whole, step))
            del lm
    roof = step_roof(model, arguments)
    ratios = [one / other for one, other in zip(best["compiled"], best["hf"], strict=True)]
    print(f"roof {1000 * roof:.1f} ms a step: compiled takes {best['compiled'][1] / roof:.1f} times as long")
    print(f"compiled takes {ratios[1]:.2f} of the time of a step of hf (bar {BAR}), of all {ratios[0]:.2f}")
    sys.exit(0 if ratios[1] <= BAR else 1)


def random_model(arguments: argparse.Namespace) -> LlamaForCausalLM:
    """Return a model with random weights, whose context is just long enough, and which no token ends."""
    context = arguments.prompt_tokens + arguments.new_tokens
    config = LlamaConfig(
        **SHAPE, num_hidden_layers=arguments.layers, max_position_embeddings=context, eos_token_id=None
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(arguments.device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model.eval()


def requests(arguments: argparse.Namespace, new_tokens: int) -> list[Instance]:
    """Return prompts that are cut to their length because the model's context has no more room."""
    generator = random.Random(0)
    # The context has room for all new tokens: an answer of fewer has a longer prompt unless that is shorter.
    count = arguments.prompt_tokens * 9 // 10
    texts = [" ".join(generator.choices(WORDS, k=count)) for _ in range(arguments.prompts)]
    settings = {"until": ["\x00"], "max_gen_toks": new_tokens, "do_sample": False}
    return [
        Instance("generate_until", {}, (text, settings), n, ("task", n, 1)) for n, text in enumerate(texts)
    ]


def measure(
    arguments: argparse.Namespace, answer: "Callable[[list[Instance]], list[str]]", warm_up: bool
) -> tuple[float, float]:
    """Return the seconds of all answers, and those of one decoding step."""
    half = arguments.new_tokens // 2
    short, full = requests(arguments, half), requests(arguments, arguments.new_tokens)
    answer(requests(arguments, 4) if warm_up else full)
    seconds = [timed(answer, some) for some in (short, full)]
    return seconds[1], (seconds[1] - seconds[0]) / (arguments.new_tokens - half)


def timed(answer: "Callable[[list[Instance]], list[str]]", some: Sequence[Instance]) -> float:
    started = time.monotonic()
    answer(list(some))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic() - started


def step_roof(model: LlamaForCausalLM, arguments: argparse.Namespace) -> float:
    """Return the seconds that reading what a step reads takes at the speed of a copy."""
    config = model.config
    weights = sum(p.numel() for p in model.parameters()) - config.vocab_size * config.hidden_size
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    tokens = arguments.prompts * (arguments.prompt_tokens + arguments.new_tokens // 2)
    return 2 * (weights + per_token * tokens) / copy_speed(arguments.device)


def copy_speed(device: str) -> float:
    """Return how many bytes a second the device reads and writes in a copy, the best of 10."""
    source = torch.zeros(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = [timed(lambda _: target.copy_(source), []) for _ in range(10)]
    return 2 * source.numel() / min(seconds)


if __name__ == "__main__":
    main()
