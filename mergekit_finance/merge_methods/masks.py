"""DARE's keep masks: see mergekit_finance.engine.masks."""

from mergekit_finance.engine.masks import (
    BLOCK_CPU,
    BLOCK_GPU,
    Key,
    _hash,
    _signed,
    keep_mask,
    mask_key,
    threshold,
)

__all__ = ["BLOCK_CPU", "BLOCK_GPU", "Key", "_hash", "_signed", "keep_mask", "mask_key", "threshold"]
