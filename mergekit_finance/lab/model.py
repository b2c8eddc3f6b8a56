"""The lab's one architecture, and what a training step computes."""

from typing import TYPE_CHECKING

from mergekit_finance.lab import tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

CONTEXT = 1024  # room for a prompt and the 512 tokens that a task with reasoning may write
PARAMETERS_AT_MOST = 2_000_000


def make(seed: int) -> "LlamaForCausalLM":
    """An untrained Llama: 6 layers 160 wide, embeddings tied."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=tokenizer.VOCABULARY,
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
    model: "LlamaForCausalLM", ids: "torch.Tensor", segment: "torch.Tensor", weight: "torch.Tensor"
) -> "torch.Tensor":
    """Weighted mean cross-entropy of each token from those before it in its document."""
    import torch

    logits = model(input_ids=ids, attention_mask=apart(segment), use_cache=False).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    share = weight[:, 1:].flatten()
    return (each * share).sum() / share.sum()


def apart(segment: "torch.Tensor") -> "torch.Tensor":
    """Which position may look at which: backwards, and within its document."""
    import torch

    same = segment[:, :, None] == segment[:, None, :]
    backwards = torch.ones(same.shape[1:], dtype=torch.bool, device=segment.device).tril()
    return (same & backwards)[:, None]
