"""Load models and tokenizers, and build a model in memory from tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import cast as typed

from mergekit_finance.errors import ModelError, default_id, model_errors, printable
from mergekit_finance.files import Json, keys_of
from mergekit_finance.hosts.transformers import causal_model_class
from mergekit_finance.models.facts import is_pickled, load_config, read_tensors, require_folder, require_hub
from mergekit_finance.models.json_files import read_model_json

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.models.spread import Spread


def load_model(
    reference: str, dtype: str, trust_remote_code: bool = False, spread: "Spread | None" = None
) -> "PreTrainedModel":
    """Return a causal language model, loaded onto the CPU, or onto the devices of a spread.

    Args:
        reference: a local folder or a Hub id, optionally with `@revision`.
        dtype: the name of a torch dtype, or `auto` for the stored dtype.
        trust_remote_code: whether transformers may run code of the model's repository.
        spread: the devices that the model is spread over.

    Raises:
        ModelError: the model cannot be loaded.
    """
    # Imported here to keep --help fast: transformers' models take 2.3 s.
    from transformers import AutoModelForCausalLM

    require_folder(reference)
    require_hub(reference)
    path, _, revision = reference.partition("@")
    if Path(path).is_dir() and is_pickled(Path(path)):
        read_tensors(reference)  # refuses a `.bin` file that holds anything but tensors
    device_map = spread and spread.device_map(load_config(reference, trust_remote_code), torch_dtype(dtype))
    with model_errors(f"model {reference!r}: cannot be loaded"):
        return AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision or None,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            device_map=device_map,
        ).eval()


def torch_dtype(name: str) -> "torch.dtype | None":
    """Return the torch dtype of this name; None for `auto`."""
    import torch  # imported here, like the hosts, to keep --help fast: it takes 1.4 s

    if name == "auto":
        return None
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


@default_id("model.tokenizer")
def load_tokenizer(reference: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a local folder or a Hub id, optionally with `@revision`.

    Raises:
        ModelError: the model has no tokenizer, or it cannot be loaded.
    """
    from transformers import AutoTokenizer  # see the note in load_model

    require_folder(reference, "no usable tokenizer: ")
    require_hub(reference)
    path, _, revision = reference.partition("@")
    if Path(path).is_dir():
        for file in sorted([*Path(path).glob("*token*.json"), *Path(path).glob("vocab.json")]):
            content = read_model_json(file)
            if file.name in ("tokenizer_config.json", "special_tokens_map.json"):
                _require_printable_keys(file, content)
    with model_errors(f"model {reference!r}: no usable tokenizer", "model.tokenizer"):
        return AutoTokenizer.from_pretrained(
            path, revision=revision or None, trust_remote_code=trust_remote_code
        )


def _require_printable_keys(file: Path, content: Json) -> None:
    """Refuse keys with control characters: the tokenizers library prints unknown keys unescaped."""
    for key in keys_of(content):
        if printable(key) != key:
            raise ModelError(f"{file}: the key {key!r:.80} has control characters. Copy or fetch it again.")


@default_id("merge.incomplete")
def build_model(
    config: "PretrainedConfig",
    tensors: "Mapping[str, torch.Tensor]",
    device_map: Mapping[str, str] | None = None,
) -> "PreTrainedModel":
    """Return a causal language model, built from a config and all its tensors by name.

    Its dtype is that of the config, as for a checkpoint loaded from disk, or else that of the tensors.

    Args:
        config: of the model.
        tensors: all its tensors.
        device_map: which device holds which modules; None: the CPU holds all.

    Raises:
        ModelError: tensors are missing, or the architecture has no such tensors.
    """
    model_class = causal_model_class(config)
    with model_errors(f"the merge does not fit {model_class.__name__}", "merge.incomplete"):
        loaded: object = model_class.from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            dtype="auto",
            output_loading_info=True,
            device_map=dict(device_map) if device_map else None,
        )
    model, info = typed("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)
    misfits = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])
    if misfits:
        examples = ", ".join(map(str, misfits[:3]))
        raise ModelError(f"the merged tensors are not those of {type(model).__name__}: {examples}")
    return model.eval()


def cast(model: "PreTrainedModel", dtype: "torch.dtype | None") -> "PreTrainedModel":
    """Convert a model in place, as if it had been loaded in `dtype`, and return it. None: as it is.

    Unlike `model.to(dtype)`, this keeps the rotary frequencies in float32, as loading a checkpoint does.
    """
    if dtype is None or dtype == model.dtype:
        return model
    stored = model.state_dict(keep_vars=True)
    for tensor in {id(t): t for t in stored.values() if t.is_floating_point()}.values():
        tensor.data = tensor.data.to(dtype)
    model.config.dtype = dtype
    return model
