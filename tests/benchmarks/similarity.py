"""Similarity of a base and two experts of 231 M bf16 parameters against reading and adding them.

python tests/benchmarks/similarity.py [pairs] [folder for the models, kept]
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mergekit_finance.similarity.compute import compute_similarity

PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 7
VOCABULARY, HIDDEN, INNER, LAYERS = 32768, 1024, 3072, 12
NAMES = ("base", "finance", "math")
BARS = {"L2 and cosines": 3.0, "everything": 8.0}


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name in "qkvo":
            yield f"{prefix}self_attn.{name}_proj.weight", (HIDDEN, HIDDEN)
        for name, shape in (("gate", (INNER, HIDDEN)), ("up", (INNER, HIDDEN)), ("down", (HIDDEN, INNER))):
            yield f"{prefix}mlp.{name}_proj.weight", shape
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{name}.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def make(folder: Path) -> list[str]:
    """Normal weights of deviation 0.02, task vectors of 0.001. Their memory hides similarity's own peak."""
    folders = [str(folder / name) for name in NAMES]
    if all((Path(path) / "config.json").is_file() for path in folders):
        return folders
    generator = torch.Generator().manual_seed(0)
    base = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes()}
    for name in NAMES:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        noise = 0.0 if name == "base" else 0.001
        moved = {
            n: (t + noise * torch.randn(t.shape, generator=generator)).bfloat16() for n, t in base.items()
        }
        save_file(moved, place / "model.safetensors", metadata={"format": "pt"})
        (place / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))
    return folders


def read_and_add(folders: list[str]) -> None:
    files = [safe_open(f"{folder}/model.safetensors", "pt") for folder in folders]
    for name in files[0].keys():
        a, b, c = (file.get_tensor(name) for file in files)
        _ = a + b + c


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(folder: Path) -> None:
    folders = make(folder)
    base, *models = folders
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work: dict[str, Callable[[], object]] = {
        "read and add": lambda: read_and_add(folders),
        "L2 and cosines": lambda: compute_similarity(base, models, everything=False),
        "everything": lambda: compute_similarity(base, models),
    }
    compute_similarity(base, models)  # warms the page cache; the floor would raise the peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rounds = [{name: timed(call) for name, call in work.items()} for _ in range(PAIRS)]
    print(f"{torch.get_num_threads()} threads, medians of {PAIRS} interleaved rounds")
    for name in work:
        wall, cpu = (statistics.median(r[name][i] for r in rounds) for i in (0, 1))
        ratio = statistics.median(r[name][0] / r["read and add"][0] for r in rounds)
        bar = f" (bar {BARS[name]:.0f})" if name in BARS else ""
        best = min(r[name][0] for r in rounds)
        print(f"{name:15} {wall:6.2f} s (best {best:.2f}), CPU {cpu:5.2f} s, {ratio:5.2f} x the floor{bar}")
    print(f"peak memory: {before / 1024:.0f} MB before similarity, {peak / 1024:.0f} MB after it")


if len(sys.argv) > 2:
    main(Path(sys.argv[2]))
else:
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
