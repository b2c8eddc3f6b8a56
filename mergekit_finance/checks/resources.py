"""Compare the memory and disk space that a merge and its evaluation need with the free space."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.errors import counted
from mergekit_finance.models.facts import ModelFacts
from mergekit_finance.models.weight_files import BITS, FLOATS

# Bytes of an element by the names that recipes and configs use for dtypes.
ELEMENT = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
PROMPTS = 8  # in a batch, where the study file has no batch size
PROMPT_TOKENS = 4096  # of a prompt with its answer, if the model's context is not shorter
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class ResourceEstimate:
    """Bytes that a merge and its evaluation take.

    Attributes:
        merge: memory of a merge in memory: the merged model, and one tensor of every model in float32.
        evaluation: memory of the merged model and the keys and values of a batch.
        disk: a merged checkpoint on disk.
        batch: what is assumed about the prompts of a batch, in words.
    """

    merge: int
    evaluation: int
    disk: int
    batch: str


def estimate(merge: MergeFacts) -> ResourceEstimate | None:
    """Estimate bytes from headers and configs; None where the base's weights are not there."""
    base = next((model for model in merge.models if model.tensors), None)
    if base is None or not base.tensors:
        return None
    floats = [tensor for tensor in base.tensors.values() if tensor.dtype in FLOATS]
    output = ELEMENT.get(merge.out_dtype or merge.dtype or "", 0)
    model = sum(t.count * (output or BITS[t.dtype] // 8) for t in floats)
    largest = max((tensor.count for tensor in floats), default=0)
    prompts, tokens = merge.batch_size or PROMPTS, _prompt_tokens(base)
    why = "the model's context" if tokens < PROMPT_TOKENS else "assumed; longer ones take more"
    return ResourceEstimate(
        merge=model + 4 * largest * (len(merge.models) + 1),
        evaluation=model + prompts * tokens * _bytes_per_token(base, output or 2),
        disk=model,
        batch=f"{counted(prompts, 'prompt')} of {tokens} tokens, {why}",
    )


def _prompt_tokens(model: ModelFacts) -> int:
    context = model.text.get("max_position_embeddings")
    return min(PROMPT_TOKENS, context) if isinstance(context, int) and context > 0 else PROMPT_TOKENS


def _bytes_per_token(model: ModelFacts, element: int) -> int:
    """Return the bytes of the keys and values of one token."""
    keys = ("num_hidden_layers", "num_key_value_heads", "head_dim")
    layers, heads, width = (value if isinstance(value, int) else 0 for value in map(model.sizes.get, keys))
    return 2 * layers * heads * width * element


def check_resources(merge: MergeFacts) -> Iterator[Finding]:
    """Compare free memory, GPU memory and disk with what a command needs."""
    needed = estimate(merge)
    if needed is None:
        return
    on_gpu = merge.device.startswith("cuda")
    if merge.in_memory:
        yield from _memory_findings(needed.merge, 0 if on_gpu else needed.evaluation)
    if merge.in_memory and on_gpu:
        yield from _gpu_findings(needed, merge.device, merge.parallelize)
    yield from disk_findings(merge.checkpoints * needed.disk, merge.out)


def _memory_findings(merging: int, evaluating: int) -> Iterator[Finding]:
    free = free_memory()
    if free is not None and max(merging, evaluating) > free:
        on_cpu = f" and evaluating on the CPU {size(evaluating)}" if evaluating else ""
        yield finding(
            "resources.memory",
            f"merging takes about {size(merging)} of memory{on_cpu}, and {size(free)} are free",
        )


def _gpu_findings(needed: ResourceEstimate, device: str, parallelize: bool) -> Iterator[Finding]:
    """Compare what evaluating takes with the memory of one GPU, or of all if a model is spread over them."""
    free = sum(free_on_gpus(device)) or None if parallelize else free_gpu_memory(device)
    if free is not None and needed.evaluation > free:
        where = "all GPUs together" if parallelize else device
        yield finding(
            "resources.gpu-memory",
            f"evaluating takes about {size(needed.evaluation)} of GPU memory ({needed.batch}), and "
            f"{size(free)} are free on {where}",
        )


def disk_findings(needed: int, out: Path | None) -> Iterator[Finding]:
    """Yield a finding if the disk of an output folder has less than `needed` bytes; None is no folder."""
    if needed and out is not None and needed > (free := free_disk(out)):
        yield finding(
            "resources.disk",
            f"about {size(needed)} will be written to {out}, and {size(free)} of disk are free",
        )


def resource_note(merge: MergeFacts) -> Iterator[Finding]:
    """Return a note on the memory and disk that a merge needs and that are free."""
    needed = estimate(merge)
    if needed is None:
        return
    memory, disk = free_memory(), free_disk(merge.out or Path())
    free = "unknown" if memory is None else size(memory)
    together = ", over all GPUs together or in main memory without a GPU" if merge.parallelize else ""
    yield finding(
        "resources.estimate",
        f"merging takes about {size(needed.merge)} of memory, evaluating {size(needed.evaluation)} "
        f"({needed.batch}{together}), of {free} free here; a merged checkpoint {size(needed.disk)} of "
        f"{size(disk)} free disk",
        "",
    )


def free_memory() -> int | None:
    """Return the bytes of memory that are free for this process, or None if the system does not report it."""
    amounts = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            amounts += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    if not amounts and "SC_AVPHYS_PAGES" in os.sysconf_names:
        amounts.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used in CGROUPS:  # of a container
        try:
            amounts.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return min(amounts) if amounts else None


def free_gpu_memory(device: str) -> int | None:
    """Return the free bytes of a GPU, for `cuda` of the fullest one; None if there is no such GPU."""
    return min(free_on_gpus(device), default=None)


def free_on_gpus(device: str) -> list[int]:
    """Return the free bytes of a GPU, for `cuda` of each one; empty if there is no such GPU."""
    import torch  # imported here: it takes 1.4 s, and `check` does not need it

    if not torch.cuda.is_available():
        return []
    index = device.removeprefix("cuda").removeprefix(":")
    numbers = [int(index)] if index.isdecimal() else range(torch.cuda.device_count())
    return [
        int(torch.cuda.mem_get_info(number)[0]) for number in numbers if number < torch.cuda.device_count()
    ]


def free_disk(folder: Path) -> int:
    """Return the bytes of free disk where a folder is, or will be."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.exists(p))
    return shutil.disk_usage(nearest).free


def size(count: int) -> str:
    """Return a number of bytes in words: `15.0 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
