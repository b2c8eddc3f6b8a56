"""Checkpoints: where they are, whether they fit together, and what identifies their bytes."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

VOCABULARY = (
    " A tokenizer block aligns them (tokenizer: {source: base}), if no tokenizer has more tokens than its "
    "model has rows."
)
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
LEGAL = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY")
LOADED = (".py", ".json", ".safetensors", ".bin", ".pt", ".pth", ".model", ".jinja")  # under any name
# What two checkpoints must have in common for an element of one to mean what it means in the other.
SHAPE = (
    "architectures",
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)


def check_reference(reference: str, where: str) -> None:
    """A local reference must be a checkpoint folder; anything else must look like a Hub id."""
    if "+" in reference:
        raise ModelError(
            f"{where}: model {reference!r} names a LoRA adapter; merge the adapter into its model first "
            "(peft's merge_and_unload), then name the result"
        )
    path = Path(reference.split("+")[0].split("@")[0])
    local = path.is_absolute() or reference.startswith((".", "~")) or path.exists()
    if not local:
        if reference.count("/") != 1:
            raise ModelError(f"{where}: model {reference!r}: no such folder, and not a Hub id (owner/name)")
        return
    if not path.is_dir():
        raise ModelError(
            f"{where}: model {reference!r}: no such folder; paths are relative to where you run the command"
        )
    if not path.is_absolute() and not reference.startswith("."):
        raise ModelError(
            f"{where}: model {reference!r} is a local folder: "
            f"write ./{reference}, or mergekit asks the Hub for it"
        )
    if not (path / "config.json").is_file():
        raise ModelError(f"{where}: model {reference!r}: no config.json in that folder")
    if not any((path / name).is_file() for name in WEIGHTS):
        raise ModelError(f"{where}: model {reference!r}: no weights there ({', '.join(WEIGHTS[:2])}, …)")


def config(reference: str, trust_remote_code: bool = False) -> "PretrainedConfig":
    """The model's config, with a broken or unreachable one reported in a line."""
    from huggingface_hub.errors import StrictDataclassError
    from mergekit.common import ModelReference

    try:
        return ModelReference.model_validate(reference).config(trust_remote_code)
    except (OSError, ValueError, StrictDataclassError) as fault:
        raise ModelError(
            f"model {reference!r}: its config cannot be loaded ({str(fault).splitlines()[0]})"
        ) from fault


def check_fit(
    references: Sequence[str], where: str, *, vocabulary: bool, trust_remote_code: bool = False
) -> None:
    """Models must share architecture and sizes; and the vocabulary, unless a tokenizer block aligns it."""
    names = (*SHAPE, "vocab_size") if vocabulary else SHAPE
    configs = [config(r, trust_remote_code) for r in references]
    for reference, other in zip(references[1:], configs[1:], strict=True):
        for name in names:
            ours, theirs = getattr(configs[0], name, None), getattr(other, name, None)
            if ours != theirs:
                hint = VOCABULARY if name == "vocab_size" else ""
                raise ModelError(
                    f"{where}: {reference!r} has {name} {theirs}, {references[0]!r} has {ours}: "
                    f"they cannot be merged element by element.{hint}"
                )


def local_folder(reference: str) -> Path:
    """The folder that holds the model, fetched from the Hub where it is not local."""
    from mergekit.common import ModelReference

    try:
        return Path(ModelReference.model_validate(reference).local_path(ignore_lora=True))
    except Exception as fault:  # huggingface_hub raises many kinds; each means: not to be had
        raise ModelError(f"model {reference!r}: cannot be fetched ({str(fault).splitlines()[0]})") from fault


def fingerprint(reference: str, quiet: bool = False) -> str:
    """sha256 over the bytes of every file that can change what the model does, names included."""
    return folder_fingerprint(local_folder(reference), quiet)


def folder_fingerprint(folder: Path, quiet: bool = False) -> str:
    """That of a model in this folder, whatever its path looks like."""
    from tqdm import tqdm

    files = sorted(p for p in folder.iterdir() if p.is_file() and not _beside_the_point(p))
    total = hashlib.sha256()
    with tqdm(
        total=sum(p.stat().st_size for p in files),
        unit="B",
        unit_scale=True,
        delay=2,
        leave=False,
        desc=f"hash {folder.name}",
        disable=quiet,
    ) as bar:
        for path in files:
            total.update(path.name.encode())
            _update(total, path, bar.update)
    return total.hexdigest()[:16]


def _beside_the_point(path: Path) -> bool:
    """What no loader reads: hidden files, cards, pictures, and licences, which people add to old models."""
    suffix, name = path.suffix.lower(), path.name.upper()
    text = name.startswith(LEGAL) and suffix not in LOADED
    return name.startswith(".") or text or suffix in (".md", ".png", ".jpg", ".svg")


def tokenizer_fingerprint(reference: str) -> str:
    """sha256 over a model's tokenizer files."""
    total = hashlib.sha256()
    starts = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens")
    for path in sorted(local_folder(reference).iterdir()):
        if path.is_file() and path.name.startswith(starts):
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]


def check_files(reference: str) -> None:
    """Every shard is there and whole: safetensors compares a file's length with its header."""
    from safetensors import SafetensorError, safe_open

    folder = local_folder(reference)
    for path in {*map(folder.joinpath, _shards(folder)), *folder.glob("*.safetensors")}:
        if not path.is_file():
            raise ModelError(f"model {reference!r}: {path.name} is missing, though the index names it")
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as fault:
            raise ModelError(f"model {reference!r}: {path.name} is truncated or broken ({fault})") from fault


FLOATS = ("BF16", "F16", "F32", "F64")


def check_tensors(references: Sequence[str], where: str) -> None:
    """From the files' headers: tensors are of floats, and of the shape that they have in the first model."""
    first: dict[str, list[int]] = {}
    for reference in references:
        for name, shape, dtype in _tensors(local_folder(reference)):
            if dtype not in FLOATS:
                raise ModelError(
                    f"{where}: {reference!r} holds {name} as {dtype}, not as floats (is it quantized?); name "
                    "the model in bfloat16, float16 or float32"
                )
            if first.setdefault(name, shape) != shape:
                raise ModelError(
                    f"{where}: {reference!r} has {name} of shape {shape}, {references[0]!r} of "
                    f"{first[name]}: they cannot be merged element by element"
                )


def _tensors(folder: Path) -> Iterator[tuple[str, list[int], str]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                part = file.get_slice(name)
                yield name, list(part.get_shape()), str(part.get_dtype())


def unlike(ids: Mapping[str, Mapping[str, int]], trust_remote_code: bool = False) -> list[str]:
    """What lets models be merged, but hardly as meant, in a line each: other positions, other token ids.

    ids: each model's tokens and their ids, the base first.
    """
    base, *others = ids
    rope = {r: _rope(config(r, trust_remote_code)) for r in ids}
    found = []
    for other in others:
        if rope[other] != rope[base]:
            found.append(f"{other} has rope {rope[other]}, {base} {rope[base]}: the merge keeps the base's")
        moved = [token for token, k in ids[other].items() if ids[base].get(token, k) != k]
        if moved:
            shown = ", ".join(map(repr, moved[:2]))
            found.append(
                f"{other} gives {len(moved)} tokens other ids than {base} ({shown}): their rows are merged "
                "with those of other tokens"
            )
    return found


def _rope(config: "PretrainedConfig") -> object:
    return getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)


def _shards(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as fault:
        raise ModelError(f"{index}: not an index of shards") from fault


def _update(total: "hashlib._Hash", path: Path, progress: object) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
            progress(len(block))  # type: ignore[operator]


def random_weights(references: Iterable[str]) -> list[str]:
    """Which of the models say in their config that they were never trained."""
    return [r for r in references if _marker(Path(r)) == "random"]


def _marker(folder: Path) -> str | None:
    path = folder / "config.json"
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8")).get("mergekit_finance_weights")
    return None if value is None else str(value)


def short_name(reference: str) -> str:
    """The last component of a path or Hub id, for tables."""
    return reference.rstrip("/").split("/")[-1]


def size(reference: str) -> int:
    """Bytes of a model's weights."""
    return sum(p.stat().st_size for p in local_folder(reference).glob("*.safetensors"))
