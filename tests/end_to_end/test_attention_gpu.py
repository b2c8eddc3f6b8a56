"""Decoding steps on a real GPU: what a slot reads, and what it leaves unread."""

import pytest
import torch
import torch.nn.functional as F

from mergekit_finance.evaluation.inference.attention import SlotLengths, grouped_attention, reads_lengths

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SLOTS, POSITIONS = 5, 96


@pytest.mark.parametrize(
    ("heads", "groups", "size"),
    [(9, 3, 64), (32, 8, 128), (4, 4, 64)],
    ids=["135M", "8B", "one head per group"],
)
def test_each_slot_attends_to_its_used_positions(heads, groups, size):
    seed = torch.Generator("cuda").manual_seed(1)

    def normal(*shape):
        return torch.randn(shape, generator=seed, device="cuda", dtype=torch.bfloat16)

    query = normal(SLOTS, heads, 1, size)
    keys, values = normal(SLOTS, POSITIONS, groups, size), normal(SLOTS, POSITIONS, groups, size)
    used = torch.tensor([1, 96, 17, 64, 65], device="cuda", dtype=torch.int32)
    seen = torch.arange(POSITIONS, device="cuda") < used[:, None]
    keys[~seen] = torch.nan  # what was never written must not be read
    values[~seen] = torch.nan
    starts = torch.arange(SLOTS + 1, device="cuda", dtype=torch.int32)
    assert reads_lengths(keys)
    answer, _ = grouped_attention(
        torch.nn.Module(), query, keys.transpose(1, 2), values.transpose(1, 2), seen[:, None, None],
        slots=SlotLengths(used, starts, starts * POSITIONS),
    )  # fmt: skip
    for slot, length in enumerate(used.tolist()):
        expected = F.scaled_dot_product_attention(
            query[slot].float(),
            *(
                x[slot, :length].transpose(0, 1).float().repeat_interleave(heads // groups, 0)
                for x in (keys, values)
            ),
        )
        torch.testing.assert_close(answer[slot, 0].float(), expected[:, 0], atol=0.01, rtol=0.01)
