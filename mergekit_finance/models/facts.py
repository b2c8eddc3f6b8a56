"""Facts of a model that are read without its weights: its config and the headers of its files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import ModelError, first_line, model_errors
from mergekit_finance.files import Json
from mergekit_finance.models.json_files import read_config, read_object, shard_names

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# What two models must have in common for an element of one to mean what it means in the other.
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
VOCABULARY = "vocab_size"


@dataclass(frozen=True)
class ModelFacts:
    """Facts from a model's config.

    Attributes:
        reference: the model, as the recipe or study names it.
        sizes: the value of every key of SHAPE and of `vocab_size`; None where the config has no such key.
        rope: its settings of rotary positions.
    """

    reference: str
    sizes: Mapping[str, Json]
    rope: Json = None


@dataclass(frozen=True)
class TensorFacts:
    """A tensor as the header of a safetensors file declares it. `dtype` is safetensors' name, e.g. BF16."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def read_facts(reference: str, trust_remote_code: bool = False) -> ModelFacts:
    """Read a model's config. Raises ModelError if it cannot be loaded."""
    config = load_config(reference, trust_remote_code)
    sizes = {name: getattr(config, name, None) for name in (*SHAPE, VOCABULARY)}
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
    return ModelFacts(reference, sizes, rope)


def load_config(reference: str, trust_remote_code: bool = False) -> "PretrainedConfig":
    """Load a model's config with transformers. Raises ModelError if it is broken or cannot be fetched."""
    # Imported here: loading mergekit takes 4.5 s, which --help should not pay.
    from mergekit.common import ModelReference

    if Path(reference).is_dir():
        read_config(Path(reference))
    with model_errors(f"model {reference!r}: its config cannot be loaded"):
        return ModelReference.model_validate(reference).config(trust_remote_code)


def local_folder(reference: str) -> Path:
    """Return the folder that holds a model; it is fetched from the Hub if it is not local."""
    from mergekit.common import ModelReference  # see the note in load_config

    try:
        return Path(ModelReference.model_validate(reference).local_path(ignore_lora=True))
    except Exception as error:  # huggingface_hub raises many kinds; each means that there is no such model
        raise ModelError(f"model {reference!r}: cannot be fetched ({first_line(error)})") from error


def read_tensors(reference: str) -> list[TensorFacts]:
    """Read the headers of a model's safetensors files, in order of file name.

    Raises:
        ModelError: a file that the index names is missing, or a file is truncated: safetensors compares its
            length with its header.
    """
    from safetensors import SafetensorError, safe_open

    folder, tensors = local_folder(reference), []
    for path in sorted({*map(folder.joinpath, shard_names(folder)), *folder.glob("*.safetensors")}):
        if not path.is_file():
            raise ModelError(f"model {reference!r}: {path.name} is missing, though the index names it")
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():
                    header = file.get_slice(name)
                    tensors.append(TensorFacts(name, tuple(header.get_shape()), str(header.get_dtype())))
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"model {reference!r}: {path.name} is truncated or broken ({error}). Copy it again."
            ) from error
    return tensors


def weights_size(reference: str) -> int:
    """Return the size of a model's safetensors files in bytes."""
    return sum(path.stat().st_size for path in local_folder(reference).glob("*.safetensors"))


def random_weights(references: Iterable[str]) -> list[str]:
    """Return those of the local models whose config says that they were never trained."""
    return [reference for reference in references if _says_random(Path(reference) / "config.json")]


def _says_random(config: Path) -> bool:
    if not config.is_file():
        return False
    return read_object(config).get("mergekit_finance_weights") == "random"


def short_name(reference: str) -> str:
    """Return the last component of a path or Hub id, for tables."""
    return reference.rstrip("/").split("/")[-1]
