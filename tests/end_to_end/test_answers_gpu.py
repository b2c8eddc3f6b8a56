"""Batches that do not fit the memory of a real GPU."""

import gc
import logging
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import torch

from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.batch_limit import NoRoomError
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.lab.copy_models import WEIGHTS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CHOICE, FREE = "finance_bench_fpb", "finance_bench_docmath_cs_cot"
ITEMS = 64


@contextmanager
def memory_left(size):
    """Let this process take only so many bytes more than it has now.

    What earlier tests left in cycles of references is freed first: a batch that does not fit frees it, too.
    """
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(0) + size) / total, 0)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


def evaluator(batch_size, engine="hf"):
    return Evaluator(
        [CHOICE, FREE], batch_size, "cuda:0", "float32", {"source": "lab"}, max_gen_toks=8, quiet=True,
        engine=engine,
    )  # fmt: skip


def scores(one, lm):
    results, _ = one.measure(AnsweringModel(lambda: lm), "base", ITEMS)
    return {name: results["results"][name]["score,none"] for name in (CHOICE, FREE)}


@pytest.mark.parametrize("batch_size", [256, "auto"])
def test_a_batch_that_does_not_fit_a_gpu_is_halved_and_gives_the_same_scores(caplog, batch_size):
    whole = evaluator(8)
    expected = scores(whole, whole.live_models.load(str(WEIGHTS / "base")))
    one = evaluator(batch_size)
    lm = one.live_models.load(str(WEIGHTS / "base"))
    with memory_left(48 << 20), caplog.at_level(logging.WARNING):
        assert scores(one, lm) == expected
    lines = [r.getMessage() for r in caplog.records if "does not fit its memory" in r.getMessage()]
    assert lines or batch_size == "auto"  # which looks for a size that fits


def test_a_gpu_without_room_for_one_request_is_one_line():
    one = evaluator(4, "compiled")  # takes new memory for every call; `hf` may do with what it has
    lm = one.live_models.load(str(WEIGHTS / "base"))
    with memory_left(0), pytest.raises(NoRoomError, match="out of memory with one request at a time"):
        taken = list(everything_that_is_left())
        one.measure(AnsweringModel(partial(lambda lm: lm, lm)), "base", 4)
    del taken


def everything_that_is_left():
    """Memory of the GPU in ever smaller pieces, until there is no more.

    PyTorch keeps pieces of at most 1 MiB apart from larger ones, and gives the memory of one kind to no piece of the other.
    """
    for size in (1 << 24, 1 << 21, (1 << 20) + 1, 1 << 18, 1 << 14, 1 << 9):
        with suppress(torch.OutOfMemoryError):
            while True:
                yield torch.empty(size, dtype=torch.uint8, device="cuda:0")
