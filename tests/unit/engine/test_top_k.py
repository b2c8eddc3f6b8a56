"""The exact k-th largest magnitude against sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.engine import top_k

# Few distinct values, so that ties are common; subnormals, both zeros, neighbours in the last bit.
VALUES = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1e-39,
    1e-4,
    -1e-4,
    float(np.nextafter(np.float32(1e-4), np.float32(1))),
    1.0,
    -3e38,
]
vectors = st.lists(st.sampled_from(VALUES) | st.floats(-8, 8, width=32), min_size=1, max_size=60)


def first_k(values: np.ndarray, k: int) -> np.ndarray:
    keep = np.zeros(values.size, dtype=bool)
    keep[np.argsort(-np.abs(values), kind="stable")[:k]] = True
    return keep


@settings(max_examples=200, deadline=None)
@given(vectors, st.data())
def test_exactly_the_k_largest_are_kept_lowest_index_first(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    tensor = torch.tensor(values, dtype=torch.float32)
    bits = top_k.magnitude_bits(tensor)
    cut = top_k.kth_largest(bits, k)
    assert top_k.kept(bits, cut.bits, cut.ties).tolist() == first_k(tensor.numpy(), k).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(vectors, min_size=1, max_size=4), st.data())
def test_histograms_add_up_over_tensors(parts: list[list[float]], data: st.DataObject) -> None:
    bits = [top_k.magnitude_bits(torch.tensor(p, dtype=torch.float32)) for p in parts]
    k = data.draw(st.integers(1, sum(map(len, parts))))
    high, remaining = top_k.kth_bin(sum(map(top_k.high_counts, bits)), k)
    low = sum(top_k.low_counts(b, high) for b in bits)
    assert top_k.threshold_in_bin(high, low, remaining) == top_k.kth_largest(torch.cat(bits), k)


def test_the_k_largest_of_bf16_differences_with_many_equal_magnitudes() -> None:
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(50_000, generator=generator) * 0.02).bfloat16()
    delta = (base.float() + torch.randn(50_000, generator=generator) * 1e-4).bfloat16().float() - base.float()
    assert float((delta == 0).float().mean()) > 0.2  # the case under test
    bits = top_k.magnitude_bits(delta)
    cut = top_k.kth_largest(bits, 10_000)
    assert cut.splits_ties
    assert top_k.kept(bits, cut.bits, cut.ties).numpy().tolist() == first_k(delta.numpy(), 10_000).tolist()


@pytest.mark.parametrize(
    ("density", "n", "expected"),
    [
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.575, 100, 58),  # 57.49999999999999 in floats
        (0.5, 5, 2),
        (0.5, 3, 2),
        (0.5, 1, 0),
        (0.2, 8_030_261_248, 1_606_052_250),
        (1e-3, 1500, 2),
        (1.0, 7, 7),
        (0.1, 2**53 + 1, 900719925474099),
    ],
)
def test_counts_round_half_to_even_without_float_loss(density: float, n: int, expected: int) -> None:
    assert top_k.exact_count(density, n) == expected


def test_float_arithmetic_would_miscount() -> None:
    assert int(0.29 * 100) == 28  # the reason for exact_count; mergekit semantics keeps this number


def test_trim_keeps_values_and_writes_zeros_elsewhere() -> None:
    tensor = torch.tensor([[1.0, -4.0], [4.0, 4.0]])
    bits = top_k.magnitude_bits(tensor)
    cut = top_k.kth_largest(bits, 2)
    assert (cut.ties, cut.tied) == (2, 3)
    assert top_k.trim(tensor, cut.bits, cut.ties).tolist() == [[0.0, -4.0], [4.0, 0.0]]
    assert top_k.trim(tensor, cut.bits, None).tolist() == [[0.0, -4.0], [4.0, 4.0]]


def test_a_threshold_of_zero_splits_no_ties() -> None:
    assert not top_k.kth_largest(top_k.magnitude_bits(torch.tensor([0.0, -0.0, 0.0, 1.0])), 2).splits_ties


def test_magnitude_bits_of_a_non_contiguous_tensor() -> None:
    tensor = torch.arange(6.0).view(2, 3).t()
    assert torch.equal(top_k.magnitude_bits(tensor), top_k.magnitude_bits(tensor.contiguous()))
