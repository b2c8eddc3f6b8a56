"""The machine that a benchmark runs on, in one line."""

import os
import platform
from pathlib import Path

import torch


def machine(device: str = "cpu") -> str:
    """Return processor, number of cores, the GPU where one is used, and versions."""
    cores = len(os.sched_getaffinity(0))
    gpu = f", {torch.cuda.get_device_name(device)}" if device.startswith("cuda") else ""
    return (
        f"{_processor()}, {cores} cores{gpu}; Python {platform.python_version()}, torch {torch.__version__}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
