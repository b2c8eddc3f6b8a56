"""Checkpoints for tests of similarity."""

import json

import torch
from safetensors.torch import save_file

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
UP, DOWN = "model.layers.{}.mlp.up_proj.weight", "model.layers.{}.mlp.down_proj.weight"


def weights(seed, dtype=torch.bfloat16, scale=0.002, base=None):
    """A checkpoint's tensors: a base, or `base` with noise on two thirds of the elements."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {EMBED: (40, 24), NORM: (24,), HEAD: (40, 24)}
    shapes |= {UP.format(i): (64, 24) for i in (0, 1, 10)} | {DOWN.format(i): (24, 64) for i in (0, 1, 10)}
    noise = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    if base is None:
        return {n: (0.02 * x).to(dtype) for n, x in noise.items()}
    keep = {n: torch.rand(s, generator=generator) < 2 / 3 for n, s in shapes.items()}
    return {n: (base[n].float() + scale * noise[n] * keep[n]).to(dtype) for n in shapes}


def write(folder, tensors, shards=1, config=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config or {"tie_word_embeddings": False}))
    names = sorted(tensors, reverse=shards > 1)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    files = {n: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, n in enumerate(names)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in names if files[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder
