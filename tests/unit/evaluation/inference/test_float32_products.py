"""Products of bfloat16 matrices that are computed in float32, against exact sums in float64."""

import threading

import pytest
import torch
from helpers.study import TASKS, go
from torch.nn.functional import linear

from mergekit_finance.evaluation.inference import float32_products
from mergekit_finance.evaluation.inference.float32_products import Float32Products, linear_in_float32


def numbers(*shape, seed=0, dtype=torch.bfloat16):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def computed_in_float32(monkeypatch):
    """The shapes of the inputs whose products are computed in float32."""
    shapes, compute = [], linear_in_float32

    def counted(inputs, weights, bias):
        shapes.append(tuple(inputs.shape))
        return compute(inputs, weights, bias)

    monkeypatch.setattr(float32_products, "linear_in_float32", counted)
    return shapes


@pytest.mark.parametrize("bias", [None, numbers(48, seed=2)], ids=["no bias", "bias"])
@pytest.mark.parametrize("block", [2**24, 64 * 10, 1], ids=["one block", "10 rows a block", "a row a block"])
def test_a_product_is_the_exact_one_rounded_once(monkeypatch, bias, block):
    """Up to the rounding of float32 sums: an element next to the middle of two numbers may become either."""
    monkeypatch.setattr(float32_products, "BLOCK", block)
    inputs, weights = numbers(2, 100, 64), numbers(48, 64, seed=1)
    product = linear_in_float32(inputs, weights, bias)
    exact = linear(inputs.double(), weights.double(), None if bias is None else bias.double())
    assert product.dtype == torch.bfloat16 and product.shape == (2, 100, 48)
    assert (product != exact.bfloat16()).float().mean() < 0.001
    torch.testing.assert_close(product.double(), exact, rtol=2**-8, atol=1e-5)


def test_only_products_that_are_slow_are_computed_in_float32(computed_in_float32):
    weights = numbers(16, 32, seed=1)
    with Float32Products():
        layer = torch.nn.Linear(32, 16).bfloat16()
        outputs = layer(numbers(2, 4, 32))
        assert outputs.dtype == torch.bfloat16 and computed_in_float32 == [(2, 4, 32)]
        linear(numbers(7, 32), weights)
        linear(numbers(8, 32, dtype=torch.float32), weights.float())
        linear(numbers(8, 32, dtype=torch.float16), weights.half())
        linear(input=numbers(8, 32), weight=weights)
        linear(numbers(8, 32).to("meta"), weights.to("meta"))
        assert len(computed_in_float32) == 1
    linear(numbers(8, 32), weights)
    assert len(computed_in_float32) == 1


def test_weights_of_several_blocks_need_more_rows(computed_in_float32, monkeypatch):
    """Those of a large model are not in a cache: to convert them for a few rows takes longer than their products."""
    monkeypatch.setattr(float32_products, "BLOCK", 10 * 32)
    with Float32Products():
        linear(numbers(15, 32), numbers(16, 32, seed=1))
        linear(numbers(8, 32), numbers(10, 32, seed=1))
        linear(numbers(16, 32), numbers(16, 32, seed=1))
    assert computed_in_float32 == [(8, 32), (16, 32)]


def test_other_threads_compute_as_before(computed_in_float32):
    with Float32Products():
        other = threading.Thread(target=linear, args=(numbers(8, 32), numbers(16, 32, seed=1)))
        other.start()
        other.join()
    assert not computed_in_float32


@pytest.mark.parametrize(
    ("machine", "capability", "slow"),
    [
        ("x86_64", "AVX2", True),
        ("AMD64", "DEFAULT", True),
        ("x86_64", "AVX512", False),
        ("arm64", "DEFAULT", False),
        ("aarch64", "SVE256", False),
    ],
)
def test_the_processor_decides(monkeypatch, machine, capability, slow):
    monkeypatch.setattr(float32_products.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert float32_products.bfloat16_is_slow() is slow
    assert isinstance(float32_products.float32_products([numbers(2, 2)]), Float32Products) is slow
    assert not isinstance(float32_products.float32_products([numbers(2, 2).float()]), Float32Products)


@pytest.mark.parametrize("slow", [True, False])
def test_a_study_computes_its_answers_so(tiny, tmp_path, monkeypatch, computed_in_float32, slow):
    monkeypatch.setattr(float32_products, "bfloat16_is_slow", lambda: slow)
    go(tiny, tmp_path / "out", stages=[1], tasks=TASKS[:1], limit=2)
    assert bool(computed_in_float32) is slow
