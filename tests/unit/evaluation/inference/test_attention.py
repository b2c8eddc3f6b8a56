"""Attention with one token per row."""

import pytest
import torch
import torch.nn.functional as F

from mergekit_finance.evaluation.inference.attention import adds_mask, grouped_attention

ROWS, POSITIONS, SIZE = 4, 33, 16


@pytest.mark.parametrize("added", [True, False], ids=["added mask", "boolean mask"])
@pytest.mark.parametrize("scaling", [None, 0.7])
@pytest.mark.parametrize(("heads", "groups"), [(9, 3), (4, 4), (4, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_each_row_attends_to_its_used_positions(dtype, heads, groups, scaling, added):
    seed = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(shape, generator=seed).to(dtype)

    query = normal(ROWS, heads, 1, SIZE)
    keys, values = normal(ROWS, groups, POSITIONS, SIZE), normal(ROWS, groups, POSITIONS, SIZE)
    used = torch.tensor([1, POSITIONS, 17, 2])
    mask = (torch.arange(POSITIONS) < used[:, None])[:, None, None]
    if added:
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf"))
    answer, _ = grouped_attention(torch.nn.Module(), query, keys, values, mask, scaling)
    assert answer.dtype == dtype and answer.shape == (ROWS, 1, heads, SIZE)
    for row, length in enumerate(used.tolist()):
        expected = F.scaled_dot_product_attention(
            query[row].double(),
            *(x[row, :, :length].double().repeat_interleave(heads // groups, 0) for x in (keys, values)),
            scale=scaling,
        )
        tolerance = {torch.bfloat16: 0.02, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
        torch.testing.assert_close(answer[row, 0].double(), expected[:, 0], atol=tolerance, rtol=tolerance)


def test_only_float32_on_a_cpu_adds_its_mask(monkeypatch):
    """Half precision would round the scores between the products; PyTorch's kernel does not."""
    assert adds_mask(torch.ones(1))
    assert not adds_mask(torch.ones(1, dtype=torch.bfloat16)) and not adds_mask(torch.ones(1, device="meta"))
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *_, **__: pytest.fail("the slower kernel"))
    token = torch.ones(1, 1, 1, 4)
    answer, _ = grouped_attention(torch.nn.Module(), token, token, token, torch.zeros(1, 1, 1, 1))
    assert answer.tolist() == [[[[1.0] * 4]]]
