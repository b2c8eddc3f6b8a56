"""The exact k-th magnitude, without sorting: see mergekit_finance.engine.select."""

from mergekit_finance.engine.select import (
    HIGH_BINS,
    LOW_BINS,
    Cut,
    cut_at,
    cut_of,
    exact_count,
    high_counts,
    kept,
    kth_bin,
    low_counts,
    magnitude_bits,
    trim,
)

__all__ = [
    "HIGH_BINS",
    "LOW_BINS",
    "Cut",
    "cut_at",
    "cut_of",
    "exact_count",
    "high_counts",
    "kept",
    "kth_bin",
    "low_counts",
    "magnitude_bits",
    "trim",
]
