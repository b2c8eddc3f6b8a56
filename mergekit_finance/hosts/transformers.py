"""Private names of transformers, written for transformers 5.23."""

from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import HostError, ModelError
from mergekit_finance.hosts.names import TRANSFORMERS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def causal_model_class(config: "PretrainedConfig") -> "type[PreTrainedModel]":
    """Return the class of causal language models that a config belongs to.

    Written for transformers 5.23 (`AutoModelForCausalLM._model_mapping`). Raises ModelError if there is none.
    """
    # Imported here to keep --help fast: transformers' models take 2.3 s.
    from transformers import AutoModelForCausalLM

    mapping = TRANSFORMERS.get(AutoModelForCausalLM, "_model_mapping")
    if mapping is None:  # its base class sets the name to None
        raise HostError(TRANSFORMERS.lacks("AutoModelForCausalLM._model_mapping"))
    if type(config) not in mapping:
        raise ModelError(
            f"transformers has no causal language model for {type(config).__name__}. Merge models of an "
            "architecture that AutoModelForCausalLM loads.",
            id="model.unsupported",
        )
    return mapping[type(config)]


def hide_loading_bars() -> None:
    """Show no bars while weights are loaded."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_generation_config(model: "PreTrainedModel", folder: Path) -> None:
    """Give a model the generation config that `from_pretrained` would give it for this folder.

    Without generation_config.json it is derived from config.json. Written for transformers 5.23
    (`GenerationMixin.adjust_generation_fn`).
    """
    TRANSFORMERS.get(model, "adjust_generation_fn")(
        None,  # generation_config: read it from the folder
        from_auto_class=True,
        from_pipeline=None,
        pretrained_model_name_or_path=folder,
        cache_dir=None,
        force_download=False,
        proxies=None,
        local_files_only=True,
        token=None,
        revision=None,
        subfolder="",
        trust_remote_code=False,
    )
