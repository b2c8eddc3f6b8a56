"""DARE's keep masks: the documented function, the same for any blocks and threads; its statistics."""

import hashlib
import json
import math

import pytest
import torch

from mergekit_finance.engine import masks
from mergekit_finance.engine.masks import keep_mask, mask_key, threshold

CPU = torch.device("cpu")
N = 1 << 20
M32 = 0xFFFFFFFF


def mask(
    name: str = "w", *, n: int = N, density: float = 0.5, seed: int = 0, mask_id: str = "m"
) -> torch.Tensor:
    return keep_mask(torch.Size([n]), density, mask_key(seed, mask_id, name), CPU)


def by_the_docstring(i: int, key: tuple[int, int, int]) -> int:
    """u_i in plain Python, from the module's docstring."""
    x = (i & M32) ^ key[0] ^ ((i >> 32) * 0x9E3779B9 & M32)
    x = ((x ^ x >> 16) * 0x7FEB352D & M32) ^ key[1]
    x = ((x ^ x >> 15) * 0x846CA68B & M32) ^ key[2]
    return x ^ x >> 16


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_the_mask_is_the_documented_function(density: float) -> None:
    key = mask_key(7, "finance", "model.embed_tokens.weight")
    expected = [by_the_docstring(i, key) < threshold(density) for i in range(3000)]
    assert keep_mask(torch.Size([3000]), density, key, CPU).tolist() == expected


@pytest.mark.parametrize("start", [2**31, 2**32, 3 * 2**32 + 2**20])
def test_indices_beyond_32_bits(start: int) -> None:
    key = mask_key(0, "m", "w")
    words = masks.hash_words(start, 64, key, masks.BLOCK_CPU, CPU).tolist()
    assert words == [masks.to_int32(by_the_docstring(start + i, key) ^ 2**31) for i in range(64)]


def test_the_key_is_the_documented_hash() -> None:
    text = json.dumps([3, "finance", "model.norm.weight"]).encode()
    digest = hashlib.blake2b(text, digest_size=12, person=b"cpt-dare-mask-1").digest()
    assert b"".join(w.to_bytes(4, "little") for w in mask_key(3, "finance", "model.norm.weight")) == digest


def test_mask_bits_equal_those_of_published_merges() -> None:
    # Published merges depend on these bits: a change here needs a new version of the key.
    bits = "".join("1" if bit else "0" for bit in mask(n=64, seed=1, mask_id="finance").tolist())
    assert bits == GOLDEN


GOLDEN = "1000111001111111011100011011111111101000110111110101101111110100"


def in_blocks(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """One mask of 300,001 elements, in blocks of several sizes and with several threads."""
    masks_by_setting, threads = [], torch.get_num_threads()
    try:
        for block, count in ((1 << 20, 1), (1 << 10, 1), (1 << 18, 2), (1 << 24, 2)):
            monkeypatch.setattr(masks, "BLOCK_CPU", block)  # where keep_mask looks it up
            torch.set_num_threads(count)
            masks_by_setting.append(mask(n=300_001))
    finally:
        torch.set_num_threads(threads)
    return masks_by_setting


def test_the_mask_is_the_same_for_any_block_size_and_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = in_blocks(monkeypatch)
    assert all(torch.equal(first, other) for other in others)


def test_a_mask_that_depends_on_its_blocks_would_be_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    original = masks.hash_words
    monkeypatch.setattr(masks, "hash_words", lambda start, *arguments: original(0, *arguments))
    first, *others = in_blocks(monkeypatch)
    assert [torch.equal(first, other) for other in others] == [False, False, True]  # one block, as the first


def test_the_mask_depends_on_the_flat_index_and_not_on_the_shape() -> None:
    key = mask_key(0, "m", "w")
    square = keep_mask(torch.Size([300, 700]), 0.3, key, CPU)
    assert torch.equal(square.view(-1), keep_mask(torch.Size([210_000]), 0.3, key, CPU))
    assert torch.equal(square.view(-1)[:1000], keep_mask(torch.Size([1000]), 0.3, key, CPU))


def test_density_one_keeps_everything_and_empty_tensors_work() -> None:
    assert bool(mask(density=1.0).all())
    assert keep_mask(torch.Size([0, 3]), 0.5, mask_key(0, "m", "w"), CPU).shape == (0, 3)


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.25, 0.5, 0.9, 0.99])
def test_the_share_kept_is_the_density(density: float) -> None:
    count = sum(int(mask(f"tensor {i}", density=density).sum()) for i in range(4))
    assert abs(count - 4 * N * density) < 4.5 * math.sqrt(4 * N * density * (1 - density))


def test_probability_is_exact_to_33_bits() -> None:
    assert threshold(0.1) == round(2**32 / 10) == 429496730
    assert threshold(0.5) == 2**31 and threshold(1.0) == 2**32
    assert all(abs(threshold(d) / 2**32 - d) <= 2**-33 for d in (0.1, 0.29, 1 / 3, 0.7))


OTHERS = {
    "tensor": {"name": "v"},
    "seed": {"seed": 1},
    "model": {"mask_id": "n"},
    "distant seed": {"seed": 2**40},
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("density", [0.1, 0.5])
def test_masks_are_independent(what: str, density: float) -> None:
    both = int((mask(density=density) & mask(density=density, **OTHERS[what])).sum())
    p = density**2
    assert abs(both - N * p) < 4.5 * math.sqrt(N * p * (1 - p))


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 16, 64, 256, 1024, 4096, 65536])
def test_no_serial_correlation(lag: int) -> None:
    bits = mask(density=0.5)
    agree = int((bits[lag:] == bits[:-lag]).sum())
    n = N - lag
    assert abs(agree - n / 2) < 4.5 * math.sqrt(n / 4)


def test_hash_values_are_uniform() -> None:
    words = masks.hash_words(0, masks.BLOCK_CPU, mask_key(0, "m", "w"), masks.BLOCK_CPU, CPU)
    for bits in (words >> 24, words & 0xFF):
        counts = torch.bincount((bits & 0xFF).to(torch.int64), minlength=256).double()
        mean = masks.BLOCK_CPU / 256
        chi2 = float(((counts - mean) ** 2 / mean).sum())
        assert 255 - 4.5 * math.sqrt(510) < chi2 < 255 + 4.5 * math.sqrt(510)


def test_seed_mask_id_and_name_cannot_be_confused_in_the_key() -> None:
    assert mask_key(1, "a", "bc") != mask_key(1, "ab", "c") != mask_key(11, "a", "bc")
