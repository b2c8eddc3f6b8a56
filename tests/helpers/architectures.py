"""Families of tiny random models of several architectures: a base with two experts, each with files of its own.

What `mergekit` copies, merges or rewrites after the tensors differs between the three: the chat template, the
generation config, and the tokens.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from helpers.tiny_models import make_tokenizer

ARCHITECTURES: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "mistral": (MistralConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "gemma2": (Gemma2Config, {"head_dim": 8}),
    "gemma3": (Gemma3TextConfig, {"head_dim": 8}),
    "phi3": (Phi3Config, {}),
}
TURN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
TEMPLATES = {"base": "base:" + TURN, "math": "expert:" + TURN, "finance": "expert:" + TURN}
EXTRA_TOKENS = {"base": [], "math": ["<math>"], "finance": ["<finance>", "<money>"]}
ROLES = tuple(TEMPLATES)


def tiny_config(architecture: str, vocabulary: int, **changes: Any) -> PretrainedConfig:
    """Return a config with 2 layers of 16."""
    kind, extra = ARCHITECTURES[architecture]
    sizes = {"vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return kind(**{**sizes, **heads, **special, **extra, **changes})


def write_family(
    folder: Path,
    architecture: str,
    *,
    tied: bool,
    dtypes: Mapping[str, torch.dtype] | None = None,
    extra_tokens: bool = False,
) -> Path:
    """Write base, math and finance below `folder`.

    Args:
        dtypes: of each model; bfloat16 by default.
        extra_tokens: give experts tokens, and rows, that the base does not have.
    """
    for seed, role in enumerate(ROLES):
        tokenizer = family_tokenizer(role, EXTRA_TOKENS[role] if extra_tokens else [])
        # One row per id, so that a tokenizer block finds every token.
        config = tiny_config(architecture, len(tokenizer), tie_word_embeddings=tied)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config)
        model.to((dtypes or {}).get(role, torch.bfloat16))
        model.generation_config = GenerationConfig(
            bos_token_id=0, eos_token_id=[1, 3 + seed], pad_token_id=2, max_length=50 + seed
        )
        model.save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


def family_tokenizer(role: str, extra: list[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a role, with its chat template and some tokens of its own."""
    tokenizer = make_tokenizer(280)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in extra])
    tokenizer.chat_template = TEMPLATES[role]
    return tokenizer
