"""How many worker processes a device gets."""

from types import SimpleNamespace

import pytest
import torch

from mergekit_finance.study import worker_count
from mergekit_finance.study.worker_count import CONTEXT, SMALL_MODEL, Need, batch_bytes, devices, processes

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
    config = SimpleNamespace(
        max_position_embeddings=8192, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        hidden_size=576, vocab_size=49152,
    )  # fmt: skip
    assert batch_bytes(config, 8) == 8 * 2048 * (49152 * 10 + 2 * 30 * 3 * 64 * 2)
    assert batch_bytes(SimpleNamespace(vocab_size=100), 1) == 2048 * 1000
