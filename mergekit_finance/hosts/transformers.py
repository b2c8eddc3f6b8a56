"""Private names of transformers, written for transformers 5.23."""

import ast
import functools
import importlib.util
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


@functools.cache
def activations() -> frozenset[str]:
    """Return the names that `hidden_act` may have, without loading transformers; empty if they are elsewhere.

    Written for transformers 5.23 (`activations.ACT2CLS`).
    """
    return _keys_in_source("activations.py", "ACT2CLS")


@functools.cache
def rope_types() -> frozenset[str]:
    """Return the names that `rope_type` may have, without loading transformers; empty if they are elsewhere.

    Written for transformers 5.23 (`modeling_rope_utils.ROPE_INIT_FUNCTIONS`); `default` and the names of
    older models are handled elsewhere in it.
    """
    names = _keys_in_source("modeling_rope_utils.py", "ROPE_INIT_FUNCTIONS")
    return names | {"default", "mrope", "su"} if names else names


def _keys_in_source(file: str, table: str) -> frozenset[str]:
    """Return the keys of a dictionary that a module assigns to a name."""
    package = importlib.util.find_spec("transformers")
    for folder in (package.submodule_search_locations or ()) if package else ():
        try:
            tree = ast.parse(Path(folder, file).read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            value = getattr(node, "value", None)
            if table in names and isinstance(value, ast.Dict):
                keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
                return frozenset(key for key in keys if isinstance(key, str))
    return frozenset()


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
