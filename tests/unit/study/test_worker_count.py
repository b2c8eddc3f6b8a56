"""How many worker processes a device gets."""

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from mergekit_finance.models.spread import Spread
from mergekit_finance.study import worker_count
from mergekit_finance.study.executors import Executor
from mergekit_finance.study.worker_count import CONTEXT, SMALL_MODEL, Need, devices, processes
from mergekit_finance.study.worker_memory import batch_bytes, numeric_bytes

GB = 1 << 30
SMOL = Need(weights=GB // 4, models=5, batch=8 * GB)  # 10.25 GB a process
EIGHT = Need(weights=15 * GB, models=5, batch=10 * GB)  # 86 GB


@pytest.mark.parametrize(
    ("kind", "need", "cores", "free", "memory", "expected"),
    [
        ("cuda", SMOL, 16, 80 * GB, None, 4),  # the cap
        ("cuda", SMOL, 16, 40 * GB, None, 3),  # 36 GB of it are used
        ("cuda", SMOL, 16, 20 * GB, None, 1),
        ("cuda", SMOL, 16, 1 * GB, None, 1),  # it may fit nevertheless: constituents can be streamed
        ("cuda", SMOL, 2, 80 * GB, None, 2),  # cores
        ("cuda", SMOL, 0, 80 * GB, None, 1),
        ("cuda", SMOL, 16, 80 * GB, 7 * GB, 2),  # main memory
        ("cuda", SMOL, 16, 80 * GB, GB, 1),
        ("cuda", SMOL, 16, None, None, 1),  # unknown
        ("cuda", EIGHT, 16, 139 * GB, None, 1),
        ("cuda", EIGHT, 16, 192 * GB, None, 2),
        ("cpu", Need(SMALL_MODEL - 1), 5, None, None, 5),
        ("cpu", Need(SMALL_MODEL), 5, None, None, 1),
        ("cpu", Need(1), 0, None, None, 1),
        ("mps", SMOL, 8, None, None, 1),
    ],
)
def test_processes_fit_into_free_memory_and_cores(kind, need, cores, free, memory, expected):
    assert processes(kind, need, cores, free, memory) == expected


@pytest.mark.parametrize(
    ("device", "workers", "need", "expected"),
    [
        ("cuda", None, EIGHT, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", None, SMOL, ["cuda:0", "cuda:1", "cuda:2", "cuda:1", "cuda:2", "cuda:2"]),
        ("cuda", 2, EIGHT, ["cuda:0", "cuda:1", "cuda:2"] * 2),
        ("cuda:1", None, SMOL, ["cuda:1"] * 2),
        ("cuda:1", 3, SMOL, ["cuda:1"] * 3),
        ("cpu", None, SMOL, ["cpu"] * 12),
        ("cpu", None, Need(SMALL_MODEL), ["cpu"]),
        ("cpu", 3, Need(SMALL_MODEL), ["cpu"] * 3),
        ("mps", None, SMOL, ["mps"]),
    ],
)
def test_every_device_gets_its_processes_in_turn(monkeypatch, device, workers, need, expected):
    free = {"cuda:0": 12 * GB, "cuda:1": 24 * GB, "cuda:2": 36 * GB}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(worker_count, "free_gpu_memory", free.__getitem__)
    monkeypatch.setattr(worker_count, "free_memory", lambda: 1000 * GB)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert devices(device, workers, need) == expected


def test_a_process_takes_its_context_the_models_and_a_batch():
    assert SMOL.total == CONTEXT + 5 * GB // 4 + 8 * GB


# ---- from the config of a model to the number of processes

CARD, LARGE_CARD = int(79.2 * GB), 140 * GB
SMOLLM = LlamaConfig(
    max_position_embeddings=8192, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
    hidden_size=576, intermediate_size=1536, vocab_size=49152,
)  # fmt: skip
EIGHT_B = LlamaConfig(
    max_position_embeddings=8192, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
    hidden_size=4096, intermediate_size=14336, vocab_size=128256,
)  # fmt: skip
WEIGHTS = {576: 269_000_000, 4096: 16_060_000_000}  # by hidden size, in bfloat16


@pytest.mark.parametrize(
    ("config", "free", "cores", "settings", "expected"),
    [
        (SMOLLM, CARD, 16, {}, 3),
        (SMOLLM, CARD, 2, {}, 2),
        (SMOLLM, LARGE_CARD, 16, {}, 4),
        (SMOLLM, 24 * GB, 16, {}, 1),
        (SMOLLM, CARD, 16, {"batch_size": 64}, 4),
        (SMOLLM, CARD, 16, {"batch_size": 512}, 1),
        (SMOLLM, CARD, 16, {"generates": False}, 4),
        (SMOLLM, CARD, 16, {"compiled": False}, 2),  # logits of every token
        (SMOLLM, CARD, 16, {"compiled": False, "batch_size": 8}, 4),
        (SMOLLM, CARD, 16, {"compiled": False, "chooses": False}, 4),
        (EIGHT_B, CARD, 16, {}, 1),
        (EIGHT_B, LARGE_CARD, 16, {"batch_size": 1}, 1),
    ],
)
def test_the_default_number_of_processes_follows_from_a_models_config(
    config, free, cores, settings, expected
):
    options = {"batch_size": None, "compiled": True, "chooses": True, "generates": True} | settings
    need = Need(WEIGHTS[config.hidden_size], 5, batch_bytes(config, 2, **options))
    assert processes("cuda", need, cores, free) == expected


def test_a_batch_of_the_compiled_engine_holds_buffers_and_one_pass():
    keys, tokens = 2 * 30 * 3 * 64 * 2, 65536
    activations = tokens * (12 * 576 + 4 * 1536) * 2
    buffers = int(1.25 * 16 * 2048 * keys)
    options = {"compiled": True, "chooses": False}
    assert batch_bytes(SMOLLM, 2, 16, **options) == buffers + activations
    assert batch_bytes(SMOLLM, 4, 16, **options) == 2 * (buffers + activations)


def test_a_model_that_states_no_sizes_takes_the_logits_of_a_batch_of_hf():
    config = SimpleNamespace(vocab_size=100)
    assert batch_bytes(config, 2, 1, compiled=False) == 2048 * 2 * 100 * 2


@pytest.mark.parametrize(
    ("dtype", "stored", "expected"),
    [
        ("auto", torch.bfloat16, 2),
        ("auto", torch.float32, 4),
        ("float32", torch.bfloat16, 4),
        ("auto", None, 2),
    ],
)
def test_numbers_have_the_size_of_the_dtype_of_the_evaluation(dtype, stored, expected):
    assert numeric_bytes(SimpleNamespace(dtype=stored), dtype) == expected


def test_one_process_has_all_gpus_where_a_model_is_spread():
    evaluator = SimpleNamespace(device="cuda", spread=Spread(("cuda:0", "cuda:1")))
    executor = Executor("local", None, Need(), True, print)
    assert executor.devices(SimpleNamespace(evaluator=evaluator)) == ["cuda"]
