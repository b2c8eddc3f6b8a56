"""The architecture that all four models share, and the loss of a training step."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from .tokenizer import VOCABULARY

CONTEXT = 1024  # tokens: room for a prompt and the 512 tokens that a task with reasoning may generate
MAX_PARAMETERS = 2_000_000


def make(seed: int) -> LlamaForCausalLM:
    """Return an untrained Llama: 6 layers of width 160, tied embeddings."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=160,
        intermediate_size=304,
        num_hidden_layers=6,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def loss_of(
    model: LlamaForCausalLM, ids: torch.Tensor, segment: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Return the weighted mean cross-entropy of every token, predicted from those before it in its document.

    Args:
        model: The model in training.
        ids, segment, weight: As in `packing.Packed`, each of shape (rows, tokens).
    """
    logits = model(input_ids=ids, attention_mask=document_mask(segment), use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    weights = weight[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def document_mask(segment: torch.Tensor) -> torch.Tensor:
    """Return the attention mask: causal, and only within a document.

    Args:
        segment: The number of each token's document, of shape (rows, tokens).

    Returns:
        A boolean mask of shape (rows, 1, tokens, tokens).
    """
    same = segment[:, :, None] == segment[:, None, :]
    causal = torch.ones(same.shape[1:], dtype=torch.bool, device=segment.device).tril()
    return (same & causal)[:, None]
