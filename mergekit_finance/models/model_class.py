"""Check that config.json names one model class: mergekit reads `architectures`, transformers `model_type`."""

import difflib
import sys
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.files import Json, JsonObject
from mergekit_finance.hosts.transformers import (
    causal_classes,
    config_types,
    is_mentioned,
    model_types,
    unsettable_keys,
)

NOUNS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number with a decimal point",
    "str": "text",
    "list": "a list",
    "dict": "a mapping",
    "None": "null",
}


def check_model_class(path: Path, config: JsonObject) -> None:
    """Raise ModelError if transformers has no config of this type, or if it would load another class.

    Args:
        path: of config.json, for messages.
        config: its content. One with code of its own (`auto_map`) is not checked.
    """
    name, classes = config.get("model_type"), causal_classes()
    if not config or not classes or "auto_map" in config:
        return
    if not isinstance(name, str) or not name:
        raise ModelError(f"{path}: model_type is missing. Copy or fetch it again.", id="model.broken")
    if not _is_known(name):
        near = difflib.get_close_matches(name[:100], model_types(), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Correct it, or update transformers."
        raise ModelError(
            f"{path}: transformers has no model_type {name!r:.60}. {hint}", id="model.unsupported"
        )
    architectures = config.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else None
    loaded = classes.get(name)
    if isinstance(architecture, str) and architecture != loaded and architecture in classes.values():
        raise ModelError(
            f"{path}: architectures names {architecture}, and model_type {name!r} is that of "
            f"{loaded or 'no causal language model'}. Correct one of them.",
            id="model.unsupported",
        )


def check_types(path: Path, config: JsonObject) -> None:
    """Raise ModelError if a value has a type that transformers refuses when it loads the config.

    Args:
        path: of config.json, for messages.
        config: its content. One with code of its own (`auto_map`) is not checked.
    """
    blocks = {"": config, "text_config.": config.get("text_config")}
    for place, block in blocks.items():
        if not isinstance(block, dict) or "auto_map" in config:
            continue
        name = block.get("model_type")
        types = config_types(name) if isinstance(name, str) else {}
        for key, value in block.items():
            if key in types and not types[key] & _types_of(value):
                nouns = " or ".join(sorted(NOUNS[one] for one in types[key]))
                shown = "null" if value is None else f"{value!r:.40}"
                message = f"{path}: {place}{key} is {shown}, not {nouns}. Copy or fetch it again."
                raise ModelError(message, id="model.broken")


def check_keys(path: Path, config: JsonObject) -> None:
    """Raise ModelError if a key is one that transformers cannot set, or that no model of this type has.

    Args:
        path: of config.json, for messages.
        config: its content. One with code of its own (`auto_map`) is not checked.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or "auto_map" in config:
        return
    for key in unsettable_keys(name):
        if key in config:
            raise ModelError(
                f"{path}: transformers does not load a config of this type that has {key}. Remove the key.",
                id="model.broken",
            )
    has_decoder_only = name in causal_classes() and not is_mentioned(name, "is_encoder_decoder")
    if config.get("is_encoder_decoder") and has_decoder_only:
        raise ModelError(
            f"{path}: is_encoder_decoder is true, and the type {name!r} has no encoder. Remove the key.",
            id="model.broken",
        )


def _types_of(value: Json) -> frozenset[str]:
    """Return the type of Python as which a value passes; true and false do not pass as whole numbers."""
    return frozenset({"None" if value is None else type(value).__name__})


def _is_known(name: str) -> bool:
    """Return whether transformers has a config of this type, in its source or registered in this process."""
    if not model_types() or name in model_types():
        return True
    loaded = sys.modules.get("transformers.models.auto.configuration_auto")
    return loaded is not None and name in getattr(loaded, "CONFIG_MAPPING", ())
