"""Tests of the devices of the workers, and progress bars beside those of lm-eval."""

import io
import signal

import pytest
import torch
from lm_eval.api import model, task
from lm_eval.models import huggingface

from mergekit_finance.hosts.lm_eval_output import progress_bars
from mergekit_finance.study import executors


def test_lm_evals_progress_bars_are_shown_below_the_studys_and_removed():
    before = task.tqdm, model.tqdm, huggingface.tqdm
    with progress_bars():
        assert task.tqdm([1]).disable
        for module in (model, huggingface):
            bar = module.tqdm(total=3, file=io.StringIO())
            assert (bar.pos, bar.leave) == (-1, False)
            bar.close()
    assert (task.tqdm, model.tqdm, huggingface.tqdm) == before


@pytest.mark.parametrize(
    ("device", "workers", "size", "expected"),
    [
        ("cuda", None, 1 << 40, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 2, 1, ["cuda:0", "cuda:1"]),
        ("cuda:1", None, 1, ["cuda:1"]),
        ("cuda:1", 2, 1, ["cuda:1", "cuda:1"]),
        ("cpu", None, 1, ["cpu"] * 5),
        ("cpu", None, executors.SMALL_MODEL, ["cpu"]),
        ("cpu", 3, executors.SMALL_MODEL, ["cpu"] * 3),
        ("mps", None, 1, ["mps"]),
    ],
)
def test_workers_get_every_gpu_once_and_small_models_every_core(monkeypatch, device, workers, size, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(5)), raising=False)
    assert executors.devices(device, workers, size) == expected


def test_processes_start_with_ctrl_c_ignored_and_the_parent_hears_it_again():
    before = signal.getsignal(signal.SIGINT)
    with executors._ignore_sigint():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
