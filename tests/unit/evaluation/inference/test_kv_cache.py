"""The memory layout of keys and values."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mergekit_finance.evaluation.inference.kv_cache import SlotCache


def test_on_a_cpu_the_positions_of_a_head_lie_side_by_side():
    """Attention reads them head by head."""
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=8,
    )
    cache = SlotCache(LlamaForCausalLM(config), slots=3, capacity=5)
    for buffer in (*cache.keys, *cache.values):
        assert buffer.shape == (3, 5, 2, 4) and buffer.transpose(1, 2).is_contiguous()
        assert not torch.count_nonzero(buffer)
