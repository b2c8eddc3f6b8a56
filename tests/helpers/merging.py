"""Tiny Llama checkpoints, merges of them, and a dense NumPy TIES that shares no code with the package."""

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.merge_methods import PerInputValues, TensorGroup
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from mergekit_finance.hosts.mergekit_recipes import register_methods
from mergekit_finance.merge_methods import to_disk
from mergekit_finance.merge_methods.all_methods import METHODS
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merging.compare import llama_config, llama_shapes, write_model

# The start-up hook does this, too; the tests do not depend on the hook.
register_methods(METHODS)
to_disk.install_disk_hooks()

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 24}
EXPERTS = ("finance", "math", "japanese")
Weights = dict[str, torch.Tensor]


def random_models(
    folder: Path,
    *,
    seed: int = 0,
    dtypes: Mapping[str, torch.dtype] | None = None,
    scale: float = 1e-3,
    **config: Any,
) -> Path:
    """base, finance, math and japanese under `folder`; a dtype a model, float32 by default."""
    settings = llama_config(**{**SMALL, **config})
    generator = torch.Generator().manual_seed(seed)
    base = {n: torch.randn(s, generator=generator) * 0.02 for n, s in llama_shapes(settings).items()}
    models = {"base": base}
    for rank, expert in enumerate(EXPERTS):
        models[expert] = {
            # Different sizes per tensor, so that ranking per tensor and over all tensors differ.
            n: w + torch.randn(w.shape, generator=generator) * scale * (1 + (i + rank) % 3)
            for i, (n, w) in enumerate(base.items())
        }
    for name, weights in models.items():
        dtype = (dtypes or {}).get(name, torch.float32)
        write_model(folder / name, settings, {n: w.to(dtype) for n, w in weights.items()})
    return folder


def recipe(
    folder: Path,
    method: str,
    experts: Iterable[str] = ("finance", "math"),
    *,
    each: Mapping[str, Any] | None = None,
    dtype: str | None = "float32",
    **parameters: Any,
) -> dict[str, Any]:
    """A recipe over models under `folder`; `each` goes to every expert. `lambda_` is written `lambda`."""
    models = [{"model": str(folder / e), "parameters": {"mask_id": e, **(each or {})}} for e in experts]
    if not method.startswith("cpt_"):
        models = [{"model": m["model"], "parameters": {"weight": 1.0, **(each or {})}} for m in models]
    head = {"merge_method": method, "base_model": str(folder / "base"), **({"dtype": dtype} if dtype else {})}
    return {**head, "models": models, "parameters": {k.rstrip("_"): v for k, v in parameters.items()}}


def run(recipe: Mapping[str, Any], out: Path, **options: Any) -> Weights:
    """mergekit's run_merge, and what it wrote."""
    settings = {"quiet": True, "copy_tokenizer": False, "write_model_card": False, **options}
    run_merge(MergeConfiguration.model_validate(recipe), str(out), MergeOptions(**settings))
    return stored(out)


def stored(folder: Path) -> Weights:
    """All tensors of a checkpoint, shards together."""
    tensors: Weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def same_bytes(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(raw(one[n]) == raw(other[n]) for n in one)


def raw(tensor: torch.Tensor) -> bytes:
    return str(tensor.dtype).encode() + tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def edit(folder: Path, change: Any) -> None:
    """Rewrite a single-file checkpoint through `change(weights) -> weights`."""
    weights = load_file(folder / "model.safetensors")
    save_file(change(dict(weights)), folder / "model.safetensors", metadata={"format": "pt"})


def split(folder: Path, shards: int) -> None:
    """The same tensors in several files."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {n: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, n in enumerate(weights)}
    for file in set(files.values()):
        save_file(
            {n: weights[n] for n, f in files.items() if f == file}, folder / file, metadata={"format": "pt"}
        )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


WORDS = [f"w{i}" for i in range(SMALL["vocab_size"])]


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """A tokenizer whose vocabulary is `words`, in this order; w1 ends a text."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=WORDS[0], eos_token=WORDS[1]
    ).save_pretrained(folder)


def permuted(folder: Path) -> list[int]:
    """Shuffle the vocabulary of ./math: row i of the base is row order[i] there."""
    order = torch.randperm(len(WORDS), generator=torch.Generator().manual_seed(1)).tolist()
    inverse = [order.index(i) for i in range(len(order))]
    vocabulary = ("model.embed_tokens.weight", "lm_head.weight")
    edit(folder / "math", lambda ws: {n: w[inverse].clone() if n in vocabulary else w for n, w in ws.items()})
    for model in ("base", "finance"):
        write_tokenizer(folder / model, WORDS)
    write_tokenizer(folder / "math", [WORDS[i] for i in inverse])
    return order


def group(
    base: list[float], *experts: list[float], name: str = "w", dtype: torch.dtype = torch.float32
) -> TensorGroup:
    """One tensor group; experts are called ./a, ./b, ..."""
    ids = [
        ModelReference.parse("./base"),
        *map(ModelReference.parse, [f"./{c}" for c in "abcdef"[: len(experts)]]),
    ]
    tensors = [torch.tensor(values, dtype=dtype) for values in (base, *experts)]
    return TensorGroup.from_tensors(tensors, ids=ids, base_index=0, name=name)


def call(method: CptMethod, group: TensorGroup, **values: Any) -> torch.Tensor:
    """merge_group with the method's defaults; per-model values are lists or one value for all."""
    settings = {k.rstrip("_"): v for k, v in values.items()}
    parameters: dict[str, Any] = {"context": settings.pop("context", None)}
    for spec in method.spec.parameters:
        value = settings.pop(spec.name, spec.default)
        if spec.scope.value == "non_base":
            per_model = value if isinstance(value, list) else [value] * len(group.non_base)
            value = PerInputValues([(e.id, v) for e, v in zip(group.non_base, per_model, strict=True)])
        parameters[spec.name] = value
    assert not settings, settings
    return method.merge_group(group, **parameters)


def dense_ties(
    base: Mapping[str, np.ndarray],
    experts: list[Mapping[str, np.ndarray]],
    densities: list[float],
    scale: float,
) -> dict[str, np.ndarray]:
    """TIES over whole task vectors, as the paper's Algorithm 1, all in memory and by sorting.

    `experts` come in the order of the sums. Of equal magnitudes the first in the vector are kept.
    """
    names = sorted(base)
    theta = np.concatenate([base[n].ravel() for n in names]).astype(np.float32)
    trimmed = []
    for expert, density in zip(experts, densities, strict=True):
        tau = np.concatenate([expert[n].ravel() for n in names]).astype(np.float32) - theta
        k = round(Fraction(str(density)) * tau.size)
        order = np.argsort(-np.abs(tau), kind="stable")[:k]
        keep = np.zeros(tau.size, dtype=bool)
        keep[order] = True
        trimmed.append(np.where(keep, tau, np.float32(0)))
    total = trimmed[0].copy()
    for tau in trimmed[1:]:
        total = total + tau
    sign = np.sign(total)
    sign[total == 0] = np.sign(np.sign(total).astype(np.int64).sum())
    summed, count = np.zeros_like(theta), np.zeros_like(theta)
    for tau in trimmed:
        agrees = (tau != 0) & (np.sign(tau) == sign)
        summed = summed + np.where(agrees, tau, np.float32(0))
        count = count + agrees.astype(np.float32)
    merged = theta + (summed / np.maximum(count, 1)).astype(np.float32) * np.float32(scale)
    cuts = np.cumsum([base[n].size for n in names])[:-1]
    return {n: part.reshape(base[n].shape) for n, part in zip(names, np.split(merged, cuts), strict=True)}


def as_numpy(weights: Weights) -> dict[str, np.ndarray]:
    return {name: tensor.float().numpy() for name, tensor in weights.items()}
