"""Tiny Llama checkpoints with random weights: the path from checkpoints to a table, without a download.

They know nothing, and their config.json says so (`mergekit_finance_weights: random`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

ROLES = ("base", "finance", "math", "japanese")
VOCABULARY = 1024


def corpus() -> Iterator[str]:
    """Text to learn a tokenizer from: the sample rows that this project wrote."""
    for path in sorted((Path(__file__).parent / "data" / "samples").glob("*.jsonl")):
        yield from path.read_text(encoding="utf-8").splitlines()


def make_tokenizer(texts: Sequence[str], size: int = VOCABULARY) -> "PreTrainedTokenizerFast":
    """A byte-level BPE that can write any text, learned from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<pad>"]
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def make_llama(
    vocabulary: int, seed: int, *, layers: int = 2, hidden: int = 64, tied: bool = False, context: int = 4096
) -> "LlamaForCausalLM":
    """A Llama of random weights, the same for a seed; `vocabulary` is its number of tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    config.mergekit_finance_weights = "random"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def perturb(model: "LlamaForCausalLM", seed: int, scale: float = 0.01) -> None:
    """Add a random task vector of standard deviation `scale` to every weight."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def make_family(
    folder: Path,
    roles: Sequence[str] = ROLES,
    *,
    dtype: str = "bfloat16",
    tied: bool = False,
    layers: int = 2,
    hidden: int = 64,
    scale: float = 0.01,
) -> list[Path]:
    """Write a base and its experts, one folder each; the first role is the base."""
    import torch

    tokenizer = make_tokenizer(list(corpus()))
    made = []
    for seed, role in enumerate(roles):
        model = make_llama(len(tokenizer), 0, tied=tied, layers=layers, hidden=hidden)
        if seed:
            perturb(model, seed, scale)
        model.to(getattr(torch, dtype)).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
        made.append(folder / role)
    return made
