"""Read the JSON files of a model's folder within bounds, before transformers and mergekit see them.

Models are untrusted. A config of ten million layers would make the hosts build lists of ten million names,
one nested 100,000 levels deep would overflow the stack, and `[]` in place of an object would be a traceback.
Each is a ModelError of one line here. Links are followed, because the Hub's cache consists of links.
"""

import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path

from mergekit_finance.errors import ModelError, default_id, printable
from mergekit_finance.files import Json, JsonObject, NotAnObject, RepeatedKey, is_folder, read_object
from mergekit_finance.models.config_values import check_config_values

CONFIG = "config.json"
LFS_POINTER = b"version https://git-lfs"  # the first bytes of a file that Git LFS did not fetch
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
MAX_CONFIG = 5_000_000  # bytes; the largest configs list ten thousand labels or quantized modules
COPY = "Copy or fetch it again."

# The largest accepted value of each size in a config, far above existing models. Every size is at least 1.
LAYERS, HEADS, WIDTH, VOCABULARY = 10_000, 100_000, 10_000_000, 100_000_000
LARGEST = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "head_dim"), HEADS),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), HEADS),
    **dict.fromkeys(("hidden_size", "intermediate_size", "n_embd", "d_model", "n_inner"), WIDTH),
    "vocab_size": VOCABULARY,
    "num_labels": 100_000,
}


@default_id("model.broken")
def read_model_json(
    path: Path, max_bytes: int = 64_000_000, warn: Callable[[str], object] | None = None
) -> JsonObject:
    """Return the JSON object in a file of a model's folder.

    Args:
        path: the file.
        max_bytes: of the largest file that is read.
        warn: called with a sentence for each key that appears twice with the same value. None: repeated keys
            are accepted, because an earlier call of the checks looked for them.

    Raises:
        ModelError: the file is missing, larger than `max_bytes`, not JSON, out of bounds, or not an object;
            with `warn`, also if a key has two values.
    """
    repeated: list[RepeatedKey] | None = None if warn is None else []
    try:
        content = read_object(path, max_bytes, links=True, repeated=repeated)
        if _has_byte_order_mark(path):
            raise ValueError("a byte order mark, which transformers does not read")
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file. {COPY}", id="model.missing") from error
    except NotAnObject as error:
        raise ModelError(f"{path}: not a JSON object. {COPY}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}). {COPY}") from error
    for key, is_same in repeated or ():
        if not is_same:
            raise ModelError(
                f"{path}: the key {key!r:.80} has two values, and only the last would be used. Remove one."
            )
        if warn:
            warn(f"{path}: the key {key!r:.80} appears twice")
    return content


def _has_byte_order_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(BOM_UTF8)) == BOM_UTF8


@default_id("model.broken")
def read_config(folder: Path, warn: Callable[[str], object] | None = None) -> JsonObject:
    """Return config.json with its sizes checked, because mergekit and transformers allocate memory by them.

    Args:
        folder: of the model.
        warn: as in `read_model_json`.

    Raises:
        ModelError: it cannot be read, a size is not a number within LARGEST, or a value has a wrong type.
    """
    path = folder / CONFIG
    config = read_model_json(path, MAX_CONFIG, warn)
    for place, block in _blocks(config):
        for key, largest in LARGEST.items():
            value = block.get(key)
            for size in value if isinstance(value, list) else [value]:  # a list: one for each layer
                if size is None:
                    continue
                if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= largest:
                    raise ModelError(
                        f"{path}: {place}{key} is {size!r:.40}, not a number from 1 to {largest}. {COPY}"
                    )
        check_config_values(path, place, block)
    return config


def _blocks(config: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Yield a config and the configs inside it, which models of text and images have."""
    yield "", config
    for key, value in config.items():
        if key.endswith("_config") and isinstance(value, dict):
            yield f"{printable(key)}.", value


@default_id("model.broken")
def shard_names(folder: Path, index: str = INDEXES[0]) -> list[str]:
    """Return the names of the files in an index of shards, sorted; empty if there is no index.

    Raises:
        ModelError: the index cannot be read, is empty, or lists a path that is not a file of this folder.
    """
    return sorted(set(weight_map(folder, index).values()))


@default_id("model.broken")
def weight_map(
    folder: Path, index: str = INDEXES[0], warn: Callable[[str], object] | None = None
) -> dict[str, str]:
    """Return the file of each tensor that an index of shards lists; empty if there is no index.

    Args:
        folder: of the model.
        index: the name of the index.
        warn: as in `read_model_json`.

    Raises:
        ModelError: as `shard_names`.
    """
    path = folder / index
    if not os.path.lexists(path):
        return {}
    content = read_model_json(path, warn=warn)
    if not isinstance(content.get("metadata", {}), dict):
        raise ModelError(f"{path}: not an index of shards, because its metadata is not a mapping. {COPY}")
    weight_map: Json = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{path}: not an index of shards, because it has no weight_map. {COPY}")
    for tensor, name in weight_map.items():
        if not is_folder(name):
            raise ModelError(f"{path}: {tensor!r} is in {name!r:.80}, not a file of this folder. {COPY}")
    return {tensor: str(name) for tensor, name in weight_map.items()}
