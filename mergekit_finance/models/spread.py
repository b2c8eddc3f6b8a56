"""Spread one model over several GPUs, layer by layer, as `parallelize` of lm-eval's `hf` does.

accelerate decides which GPU holds which layers, and moves activations between them. Weights stay where they
are, so that they can be changed in place. Nothing is moved to main memory or to disk: a model that all GPUs
together cannot hold is refused before it is loaded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergekit_finance.errors import ModelError
from mergekit_finance.hosts.transformers import causal_model_class, unsplittable_modules

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

FILLED = 0.9  # the share of a GPU's free memory that weights may take, where the user sets no bound
UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
PARALLELIZE = "resources.parallelize"


@dataclass(frozen=True)
class Spread:
    """The devices that one model may be spread over.

    Attributes:
        devices: their names: GPUs, or `cpu` alone.
        max_memory_per_gpu: bytes of weights that one GPU may hold; None: most of its free memory.
    """

    devices: tuple[str, ...]
    max_memory_per_gpu: int | None = None

    @classmethod
    def over(cls, device: str | Sequence[str], max_memory_per_gpu: int | str | None = None) -> "Spread":
        """Return the spread over a device: `cuda` stands for all GPUs of this machine.

        Args:
            device: `cpu`, `cuda`, or the names of several GPUs.
            max_memory_per_gpu: bytes, or a text such as `40GiB`.

        Raises:
            ModelError: accelerate is missing, the device is one GPU, or the bound is not a number of bytes.
        """
        import torch  # imported here, as everywhere in this file: it takes 1.4 s

        bound = None if max_memory_per_gpu is None else bytes_of(max_memory_per_gpu)
        names = (device,) if isinstance(device, str) else tuple(device)
        if names == ("cuda",):
            names = tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cuda",)
        elif len(names) == 1 and names[0].startswith("cuda"):
            raise ModelError(
                f"parallelize: {names[0]} is one GPU. Write device: cuda, which stands for all, or choose "
                "some with CUDA_VISIBLE_DEVICES.",
                id=PARALLELIZE,
            )
        _require_accelerate()
        return cls(names, bound)

    def device_map(self, config: "PretrainedConfig", dtype: "torch.dtype | None" = None) -> dict[str, str]:
        """Return which device holds which modules of a model; the key "" stands for the whole model.

        Args:
            config: of the model.
            dtype: of its weights; None: that of the config.

        Raises:
            ModelError: the devices cannot hold the weights.
        """
        if len(self.devices) == 1:
            return {"": self.devices[0]}
        skeleton = _skeleton(config, dtype)
        memory = self._memory()
        places = _inferred(skeleton, memory)
        if not set(places.values()) <= set(memory):
            raise ModelError(
                f"parallelize: the weights of {type(skeleton).__name__} take "
                f"{_gigabytes(_size(skeleton))}, and its layers do not fit into {self._in_words(memory)}. "
                "Use more GPUs, GPUs with more free memory, or a smaller dtype.",
                id=PARALLELIZE,
            )
        return {module: self.devices[int(place)] for module, place in places.items()}

    def summary(self, config: "PretrainedConfig", dtype: "torch.dtype | None" = None) -> str:
        """Return in words how many bytes of weights each device gets. Raises as `device_map` does."""
        if len(self.devices) == 1:
            return f"parallelize: {self.devices[0]} is the only device here, and holds a model as a whole"
        places = self.device_map(config, dtype)
        sizes = dict.fromkeys(self.devices, 0)
        for name, parameter in _skeleton(config, dtype).named_parameters():
            sizes[device_of(name, places)] += parameter.nbytes
        shares = ", ".join(
            f"{_gigabytes(size)} on {device} (free: {_gigabytes(free_bytes(device))})"
            for device, size in sizes.items()
        )
        return f"parallelize: the weights of one model take {shares}; batches take what is left of it"

    def _memory(self) -> dict[int, int]:
        """Return the bytes of weights that each device may hold, by its position."""
        import gc

        import torch

        gc.collect()  # models with hooks of accelerate are in reference cycles
        torch.cuda.empty_cache()
        free = [free_bytes(device) for device in self.devices]
        if self.max_memory_per_gpu is not None:
            return dict.fromkeys(range(len(free)), self.max_memory_per_gpu)
        return {number: int(FILLED * one) for number, one in enumerate(free)}

    def _in_words(self, memory: Mapping[int, int]) -> str:
        return ", ".join(f"{_gigabytes(memory[n])} of {name}" for n, name in enumerate(self.devices))


def device_of(tensor: str, device_map: Mapping[str, str]) -> str:
    """Return the device of a tensor by its name: that of the innermost module in the map."""
    parts = tensor.split(".")
    modules = (".".join(parts[:count]) for count in range(len(parts), -1, -1))
    return next(device_map[module] for module in modules if module in device_map)


def is_spread(model: "PreTrainedModel") -> bool:
    """Return whether a model's parameters lie on several devices."""
    return len({parameter.device for parameter in model.parameters()}) > 1


def free_bytes(device: str) -> int:
    """Return the free bytes of a GPU."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def bytes_of(text: int | str) -> int:
    """Return a number of bytes, as accelerate reads it: `40GiB`, `40GB` or a plain number.

    Raises:
        ModelError: it is neither.
    """
    number = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,9}))?\s*([kmg]i?b)?", str(text).strip().lower())
    if number is None or not (size := int(float(f"{number[1]}.{number[2] or 0}") * UNITS.get(number[3], 1))):
        raise ModelError(
            f"max_memory_per_gpu: {text!r:.40} is not an amount of memory. Write 40GiB, for example.",
            id=PARALLELIZE,
        )
    return size


def _require_accelerate() -> None:
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise ModelError(
            "parallelize: needs accelerate, which is not installed. Run: pip install accelerate",
            id=PARALLELIZE,
        ) from None


def _skeleton(config: "PretrainedConfig", dtype: "torch.dtype | None") -> "PreTrainedModel":
    """Return a model without numbers: its modules and the shapes of its parameters."""
    import copy

    import torch

    config, before = copy.deepcopy(config), torch.get_default_dtype()
    stated = dtype or config.dtype
    torch.set_default_dtype(stated if isinstance(stated, torch.dtype) else before)
    try:
        with torch.device("meta"):
            skeleton = causal_model_class(config)(config)
    finally:
        torch.set_default_dtype(before)
    skeleton.tie_weights()
    return skeleton


def _inferred(skeleton: "PreTrainedModel", memory: Mapping[int, int]) -> Mapping[str, int | str]:
    """Return accelerate's map: as many bytes on each device, whole layers, tied weights together."""
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = unsplittable_modules(skeleton)
    balanced = get_balanced_memory(skeleton, dict(memory), no_split_module_classes=whole)
    places: Mapping[str, int | str] = infer_auto_device_map(skeleton, balanced, no_split_module_classes=whole)
    return places


def _size(model: "PreTrainedModel") -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _gigabytes(count: int) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e9:.1f} GB"
