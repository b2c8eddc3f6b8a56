"""Compare our methods, in both semantics, with mergekit's own, on tiny models.

`python -m mergekit_finance.merging.compare` creates a tiny random Llama base and three experts in a temporary
folder, merges them with every operator (ours in paper semantics, ours in mergekit semantics, mergekit's), and
prints how far apart the merged task vectors are. As after continual pre-training, the experts differ from the
base less in the embeddings than in the MLPs: ranking over the whole vector is affected by that, ranking per
tensor is not. Takes seconds on a laptop.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from mergekit.config import MergeConfiguration
from mergekit.graph import Executor
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask
from mergekit.options import MergeOptions
from mergekit.sparsify import RescaleNorm, rescaled_masked_tensor
from safetensors.torch import save_file

from mergekit_finance.engine.masks import keep_mask, mask_key
from mergekit_finance.files import Json
from mergekit_finance.hosts import mergekit as host
from mergekit_finance.hosts.mergekit_recipes import register_methods
from mergekit_finance.merge_methods import planner_hook
from mergekit_finance.merge_methods.parameters import default_mask_id
from mergekit_finance.plugins.manager import merge_methods

HIDDEN, MLP, LAYERS, VOCAB = 64, 160, 4, 512
SCALES = (("embed", 2e-4), ("lm_head", 5e-4), ("norm", 1e-3), ("self_attn", 1e-3), ("mlp", 2e-3))
EXPERTS = ("finance", "math", "japanese")
OPERATORS = {  # ours: (mergekit's, what is compared)
    "cpt_task_arithmetic": ("task_arithmetic", ({"lambda": 0.5},)),
    "cpt_ties": ("ties", ({"density": 0.2}, {"density": 0.5}, {"density": 1.0})),
    "cpt_dare_ties": ("dare_ties", ({"density": 0.1}, {"density": 0.5}, {"density": 1.0})),
}
Weights = dict[str, torch.Tensor]
Config = Mapping[str, Json]  # of a model, as in config.json


@dataclass(frozen=True)
class Distance:
    """The distance of a merged task vector a from another, b."""

    different: float  # share of elements whose bits differ
    relative: float  # |a - b| / |b|
    cosine: float
    norm: float  # |a| / |b|


def llama_config(**changes: Json) -> dict[str, Json]:
    """Return the config.json of the tiny Llama, with changes."""
    sizes = {"hidden_size": HIDDEN, "intermediate_size": MLP, "vocab_size": VOCAB}
    heads = {"num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2}
    kind: Config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "float32"}
    return {**kind, **sizes, **heads, "tie_word_embeddings": False, **changes}


def llama_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a Llama's stored tensors."""
    sizes = {name: value for name, value in config.items() if isinstance(value, int)}
    hidden, mlp, vocab = sizes["hidden_size"], sizes["intermediate_size"], sizes["vocab_size"]
    narrow = hidden * sizes["num_key_value_heads"] // sizes["num_attention_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for i in range(sizes["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{x}_proj.weight": (hidden, hidden) for x in "qo"}
        shapes |= {f"{layer}self_attn.{x}_proj.weight": (narrow, hidden) for x in "kv"}
        shapes |= {f"{layer}mlp.{x}_proj.weight": (mlp, hidden) for x in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, mlp)
        shapes |= {f"{layer}{x}_layernorm.weight": (hidden,) for x in ("input", "post_attention")}
    shapes["model.norm.weight"] = (hidden,)
    return shapes if config["tie_word_embeddings"] else {**shapes, "lm_head.weight": (vocab, hidden)}


def write_model(folder: Path, config: Config, weights: Weights) -> None:
    """Write a checkpoint that mergekit can open: config.json and one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_models(folder: Path) -> None:
    """Write a base and the experts, random with a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    config = llama_config()
    base = {name: torch.randn(s, generator=generator) * 0.02 for name, s in llama_shapes(config).items()}
    write_model(folder / "base", config, base)
    for expert in EXPERTS:
        change = {n: torch.randn(w.shape, generator=generator) * _scale(n) for n, w in base.items()}
        write_model(folder / expert, config, {name: base[name] + change[name] for name in base})


def _scale(name: str) -> float:
    return next(scale for part, scale in SCALES if part in name)


def merge_tensors(recipe: Mapping[str, Json], inject: bool = False) -> Weights:
    """Return the merged tensors of a recipe. `inject` gives mergekit's DARE our masks."""
    config, options = MergeConfiguration.model_validate(recipe), MergeOptions(quiet=True)
    with host.fresh_loaders():
        planner = host.new_planner(config, options)
        host.plan_merge(planner)
        return {weight.name: _execute(task, inject) for weight, task in host.planned_tensors(planner)}


def _execute(task: ExecuteMergeMethodTask, inject: bool) -> torch.Tensor:
    experts = [model for model in task.model_order if model != task.base_model]
    injected = our_masks(task.output_weight.name, map(default_mask_id, experts))
    with injected if inject else nullcontext():
        ((_, tensor),) = Executor([task]).run(quiet=True)
    return tensor


def our_masks(name: str, mask_ids: Iterator[str], seed: int = 0) -> AbstractContextManager[None]:
    """Let mergekit's DARE use our masks of the tensor `name`; it asks for one model after the other."""

    def bernoulli(
        tensor: torch.Tensor, density: float, rescale_norm: RescaleNorm | None = None
    ) -> torch.Tensor:
        keep = keep_mask(tensor.shape, density, mask_key(seed, next(mask_ids), name), tensor.device)
        return rescaled_masked_tensor(tensor, keep.to(tensor.dtype), rescale_norm)

    return host.replaced_bernoulli(bernoulli)


def distance(ours: Weights, theirs: Weights, base: Weights) -> Distance:
    """Return the distance over all tensors, computed in float64."""
    a, b = _task_vector(ours, base), _task_vector(theirs, base)
    bits = sum(int((ours[n].view(torch.int32) != theirs[n].view(torch.int32)).sum()) for n in ours)
    ours_norm, norm = float(a.norm()), float(b.norm())
    apart, product = float((a - b).norm()), float(a @ b)
    return Distance(bits / a.numel(), apart / norm, product / (ours_norm * norm), ours_norm / norm)


def _task_vector(weights: Weights, base: Weights) -> torch.Tensor:
    return torch.cat([(weights[name].double() - base[name].double()).view(-1) for name in sorted(base)])


def recipe(folder: Path, method: str, parameters: Mapping[str, float | str]) -> dict[str, Json]:
    """Return a recipe of all experts with weight 1, in float32."""
    return {
        "merge_method": method,
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / expert), "parameters": {"weight": 1.0}} for expert in EXPERTS],
        "parameters": parameters,
        "dtype": "float32",
    }


def rows(folder: Path) -> Iterator[tuple[str, str, str, Distance]]:
    """Yield the rows of the table: our method, mergekit's, the parameters, the distance."""
    base = merge_tensors(recipe(folder, "task_arithmetic", {"lambda": 0.0}))
    for ours, (theirs, points) in OPERATORS.items():
        for parameters in points:
            reference = merge_tensors(recipe(folder, theirs, parameters), inject=True)
            for semantics in ("mergekit", "paper"):
                merged = merge_tensors(recipe(folder, ours, {**parameters, "semantics": semantics}))
                shown = ", ".join(f"{name} {value}" for name, value in parameters.items())
                yield f"{ours} ({semantics})", theirs, shown, distance(merged, reference, base)


@click.command()
def main() -> None:
    """Print the table of differences between our methods and mergekit's."""
    register_methods(merge_methods())
    planner_hook.install_planner_hook()
    torch.set_num_threads(1)
    click.echo(
        f"{'ours':31}{'mergekit':16}{'with':13}{'bits differ':>11}{'rel. L2':>10}{'cosine':>8}{'norm':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        for ours, theirs, shown, d in rows(Path(folder)):
            numbers = f"{d.different:>11.2%}{d.relative:>10.2g}{d.cosine:>8.4f}{d.norm:>8.4f}"
            click.echo(f"{ours:31}{theirs:16}{shown:13}{numbers}")


if __name__ == "__main__":
    main()
