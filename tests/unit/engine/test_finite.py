"""The checks for NaN and Inf."""

import pytest
import torch

from mergekit_finance.engine import finite
from mergekit_finance.engine.finite import all_finite, require_finite
from mergekit_finance.errors import ModelError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_nan_inf_and_values_too_large_for_float32_are_found(value: float, dtype: torch.dtype) -> None:
    tensor = torch.full((10, 10), torch.finfo(dtype).max / 2, dtype=dtype)
    assert all_finite(tensor) == (dtype != torch.float64)  # float32 cannot hold the latter
    tensor = torch.zeros(10, 10, dtype=dtype)
    assert all_finite(tensor)
    tensor[9, 9] = value
    assert not all_finite(tensor)


def test_a_merged_tensor_with_nan_or_inf_is_named() -> None:
    assert require_finite("w", fine := torch.ones(3)) is fine
    with pytest.raises(ModelError, match="the merge's tensor w holds NaN or Inf. Lower lambda"):
        require_finite("w", torch.tensor([1.0, float("inf")]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_sum_by_which_a_gpu_is_searched_is_finite_only_if_all_numbers_are(dtype: torch.dtype) -> None:
    tensor = torch.full((100, 100), 60000.0, dtype=dtype)  # float16 cannot hold the sum
    assert finite._sum(tensor).isfinite()
    for value in (float("nan"), float("inf"), float("-inf")):
        tensor[50, 50] = value
        assert not finite._sum(tensor).isfinite()
