"""Work in blocks, on several workers."""

import threading
from collections.abc import Iterator

import pytest
import torch
from helpers.engine import shrink_blocks

from mergekit_finance.engine import parallel


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shrink_blocks(monkeypatch, 16)
    yield


def test_a_block_is_a_power_of_two_that_gives_every_worker_two_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "SHARED", 128)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    # At least 16 (ALONE), at most 128 (SHARED), and at most an eighth of the elements.
    sizes = {count: parallel.block_size(count) for count in (0, 1, 100, 256, 511, 512, 10_000)}
    assert sizes == {0: 16, 1: 16, 100: 16, 256: 32, 511: 32, 512: 64, 10_000: 128}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert parallel.block_size(100) == 128


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    def work(start: int, stop: int) -> None:
        if start == 32:
            raise ValueError("this block")

    with pytest.raises(ValueError, match="this block"):
        parallel.each(100, work)


def test_results_are_in_order_and_calls_can_be_nested() -> None:
    def work(start: int, stop: int) -> int:
        return sum(parallel.each(32, lambda a, b: start))

    assert parallel.each(100, work) == [2 * s for s in range(0, 100, 16)]


def test_blocks_are_worked_on_at_the_same_time() -> None:
    before, together = torch.get_num_threads(), threading.Barrier(3)
    try:
        torch.set_num_threads(3)
        parallel.each(48, lambda start, stop: together.wait(60))  # breaks unless three workers wait at once
    finally:
        torch.set_num_threads(before)


def test_workers_use_one_torch_thread_and_the_caller_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert set(parallel.each(100, lambda start, stop: torch.get_num_threads())) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
