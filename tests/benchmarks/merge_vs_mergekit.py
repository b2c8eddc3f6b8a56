"""Plain `mergekit-yaml`, our methods against mergekit's own: whole processes, interleaved.

python tests/benchmarks/merge_vs_mergekit.py [--pairs 7] [--models FOLDER]

Makes three bf16 Llamas of 219.7 M parameters (12 layers, hidden 1024) once, in FOLDER or a temporary
folder (2 GB with the outputs). The recipe is the same for both, but for the method's name: dtype
float32, out_dtype bfloat16, weights 1, lambda 0.5, density 0.5; ours in mergekit semantics. Prints the
median ratio of each pair of runs and the peak memory of each side (maximum resident set, mapped files
included), and TIES without imports and I/O against the read-add-save floor.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # for helpers

BARS = {"ties": 0.35, "dare_ties": 0.60, "task_arithmetic": 1.10}
MODELS = ("base", "a", "b")
SHAPE = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "vocab_size": 32000}
HEADS = {"num_attention_heads": 16, "num_key_value_heads": 16}


def make_models(folder: Path) -> None:
    """base, a and b: the experts differ from the base by noise of a fortieth of its size."""
    import torch
    from helpers.tiny_models import make_tokenizer

    from mergekit_finance.merging.compare import llama_config, llama_shapes, write_model

    if all((folder / name / "model.safetensors").is_file() for name in MODELS):
        return
    config = llama_config(**SHAPE, **HEADS, dtype="bfloat16")
    generator, tokenizer = torch.Generator().manual_seed(0), make_tokenizer()
    base = {n: torch.randn(s, generator=generator) * 0.02 for n, s in llama_shapes(config).items()}
    for name in MODELS:
        change = 5e-4 if name != "base" else 0.0
        weights = {
            n: (w + torch.randn(w.shape, generator=generator) * change).bfloat16() for n, w in base.items()
        }
        write_model(folder / name, config, weights)
        tokenizer.save_pretrained(folder / name)


def recipe(method: str, **parameters: Any) -> dict[str, Any]:
    each = {"weight": 1.0} | ({} if "task" in method else {"density": parameters.pop("density", 0.5)})
    settings = {"lambda": 0.5, **parameters}
    if method.startswith("cpt_"):
        settings.setdefault("semantics", "mergekit")
    return {
        "merge_method": method,
        "base_model": "./base",
        "models": [{"model": f"./{name}", "parameters": each} for name in MODELS[1:]],
        "parameters": settings,
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }


def run(folder: Path, settings: dict[str, Any]) -> tuple[float, float]:
    """Seconds and GB of one `mergekit-yaml` process."""
    (folder / "recipe.yml").write_text(yaml.safe_dump(settings))
    command = [str(Path(sys.executable).parent / "mergekit-yaml"), "recipe.yml", "out", "--quiet"]
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, __file__, "--child", *command], cwd=folder, capture_output=True, text=True
    )
    if child.returncode:
        raise SystemExit(child.stderr)
    return time.perf_counter() - start, float(child.stdout.split()[-1])


def child(command: list[str]) -> None:
    """Run one command and print its peak memory in GB: alone, since the maximum is over all children."""
    done = subprocess.run(command, capture_output=True, text=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6)
    if done.returncode:
        raise SystemExit(done.stderr)


def floor(folder: Path) -> float:
    """Read three models, add, save."""
    from safetensors.torch import load_file, save_file

    start = time.perf_counter()
    models = [load_file(folder / name / "model.safetensors") for name in MODELS]
    save_file({n: w + models[1][n] + models[2][n] for n, w in models[0].items()}, folder / "sum.safetensors")
    return time.perf_counter() - start


def ties_compute(folder: Path) -> float:
    """cpt_ties (mergekit semantics, density 0.5) on tensors in memory, outputs kept, no I/O."""
    import torch
    from mergekit.merge_methods import PerInputValues, TensorGroup
    from safetensors.torch import load_file

    from mergekit_finance.merge_methods.parameters import Context
    from mergekit_finance.merge_methods.ties import cpt_ties

    models = {name: load_file(folder / name / "model.safetensors") for name in MODELS}
    values = {"lambda": 0.5, "semantics": "mergekit", "normalize": None}
    for name, value in (("weight", 1.0), ("density", 0.5), ("mask_id", None)):
        values[name] = PerInputValues([("a", value), ("b", value)])
    values["context"] = Context(None, True, torch.bfloat16)
    start, merged = time.perf_counter(), {}
    for name in models["base"]:
        rows = [models[m][name] for m in MODELS]
        group = TensorGroup.from_tensors(rows, ids=MODELS, base_index=0, name=name)
        merged[name] = cpt_ties.merge_group(group, **values)
    return time.perf_counter() - start


def measure(folder: Path, pairs: int) -> None:
    print(f"{'ours / mergekit':30}{'ratio':>7}{'bar':>6}{'seconds':>16}{'peak GB':>14}", flush=True)
    for method, bar in BARS.items():
        runs = [(run(folder, recipe(f"cpt_{method}")), run(folder, recipe(method))) for _ in range(pairs)]
        ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in runs)
        seconds = [statistics.median(pair[i][0] for pair in runs) for i in (0, 1)]
        memory = [max(pair[i][1] for pair in runs) for i in (0, 1)]
        print(
            f"cpt_{method:26}{ratio:>7.2f}{bar:>6.2f}{seconds[0]:>8.1f}{seconds[1]:>8.1f}"
            f"{memory[0]:>7.2f}{memory[1]:>7.2f}",
            flush=True,
        )
    both = [(ties_compute(folder), floor(folder)) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in both)
    a, b = (statistics.median(pair[i] for pair in both) for i in (0, 1))
    print(f"{'TIES compute / read-add-save':30}{ratio:>7.2f}{3.0:>6.2f}{a:>8.1f}{b:>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.models or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_models(folder)
        print(f"medians of {options.pairs} interleaved pairs, whole processes")
        measure(folder, options.pairs)


if __name__ == "__main__":
    child(sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
