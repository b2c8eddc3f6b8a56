"""Hash everything that can change the answers of a model in memory."""

import hashlib
import inspect
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.files import Json
from mergekit_finance.hosts.names import installed_version

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("lm-eval", "torch", "transformers", "tokenizers")
# Config keys that do not change answers: the model's origin, and the version of the program that wrote it.
NAMES = ("_name_or_path", "transformers_version", "_commit_hash")


def live_fingerprint(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", settings: Mapping[str, Json]
) -> str:
    """Hash a model's weights, configs, custom code, tokenizer, settings, device and host versions.

    The weights are hashed instead of the recipe: equal weights give equal answers, and any change of the
    recipe, its models or the merge code changes the weights.

    Args:
        model: the model in memory, on any device.
        tokenizer: its tokenizer.
        settings: other settings that change its answers.

    Returns:
        32 hexadecimal digits of SHA-256.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    generation = model.generation_config
    decisive: dict[str, Json] = {
        "config": _without_names(model.config.to_dict()),
        "generation": _without_names(generation.to_dict()) if generation is not None else None,
        "code": _code(model),
        "tokenizer": _tokenizer_hash(tokenizer),
        "settings": dict(settings),
        "device": model.device.type,
        "versions": {name: installed_version(name) for name in PACKAGES},
    }
    digest.update(json.dumps(decisive, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def _bytes(tensor: "torch.Tensor") -> bytes | memoryview:
    import torch  # imported here to keep --help fast: it takes 1.4 s

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""


def _without_names(config: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in config.items() if name not in NAMES}


def _code(model: "PreTrainedModel") -> str:
    """Return the hash of the file that defines the model's class, or "" for a class of transformers."""
    file = inspect.getsourcefile(type(model))
    if type(model).__module__.startswith("transformers.") or file is None:
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Hash all files of a tokenizer, chat templates included."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()
