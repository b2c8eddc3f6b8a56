"""Writes tiny Llama checkpoints with random weights, so that tests need no download.

Their config.json says so (`mergekit_finance_weights: random`), which reports repeat.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import mergekit_finance.data

ROLES = ("base", "finance", "math", "japanese")
VOCABULARY = 1024


def make_tokenizer(size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE of at most `size` tokens, trained on the sample rows of the package."""
    samples = sorted((Path(mergekit_finance.data.__file__).parent / "samples").glob("*.jsonl"))
    texts = [line for path in samples for line in path.read_text(encoding="utf-8").splitlines()]
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
) -> LlamaForCausalLM:
    """Return a Llama with random weights; the same seed and shape give the same weights."""
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


def perturb(model: LlamaForCausalLM, seed: int, scale: float = 0.01) -> None:
    """Add a random task vector of standard deviation `scale` to every weight."""
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
    """Write a base and its experts, one folder each, and return the folders; the first role is the base."""
    tokenizer = make_tokenizer()
    folders = [folder / role for role in roles]
    for seed, place in enumerate(folders):
        model = make_llama(len(tokenizer), 0, tied=tied, layers=layers, hidden=hidden)
        if seed:
            perturb(model, seed, scale)
        model.to(getattr(torch, dtype)).save_pretrained(place)
        tokenizer.save_pretrained(place)
    return folders
