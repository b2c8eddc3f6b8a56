"""List the tensors that mergekit merges, from its data files and without importing mergekit.

Written for mergekit 0.1.5: `_data/architectures/*.json`. If an architecture has no file there, mergekit
infers its tensors from the models, and `host_tensors` returns None.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

LAYER = "${layer_index}"


class _Weight(TypedDict, total=False):
    name: str
    optional: bool
    aliases: Sequence[str]
    tied_names: Sequence[str]


class _LayerTemplates(TypedDict):
    weights: list[_Weight]


class _Definition(TypedDict, total=False):
    architectures: list[str]
    model_type: str
    kind: str
    num_layers_config_key: str
    pre_weights: list[_Weight]
    layer_templates: _LayerTemplates
    post_weights: list[_Weight]


@dataclass(frozen=True)
class HostTensor:
    """A tensor that mergekit merges.

    Attributes:
        name: its name in the output.
        names: its possible names in an input: `name` and the aliases.
        tied: names of tensors that are used instead if an input does not contain it.
        optional: whether a model may lack it.
    """

    name: str
    names: tuple[str, ...]
    tied: tuple[str, ...]
    optional: bool


def host_tensors(architecture: str, model_type: str, sizes: Mapping[str, object]) -> list[HostTensor] | None:
    """Return the tensors of an architecture that mergekit merges; it silently drops all others.

    Args:
        architecture: the entry of `architectures` in config.json.
        model_type: of config.json; selects the file if several describe the architecture.
        sizes: the content of config.json, which has the number of layers.

    Returns:
        None if mergekit has no file for it, or one with several modules (models of text and images).
    """
    candidates = [d for d in _definitions() if architecture in d["architectures"]]
    if len(candidates) > 1:
        candidates = [d for d in candidates if d["model_type"] == model_type]
    if not candidates:
        return None
    definition = candidates[0]
    layers = sizes.get(definition.get("num_layers_config_key") or "num_hidden_layers")
    if not isinstance(layers, int):
        return None
    inner = definition["layer_templates"]["weights"]
    return [
        *map(_tensor, definition["pre_weights"]),
        *(_tensor(weight, str(layer)) for layer in range(layers) for weight in inner),
        *map(_tensor, definition["post_weights"]),
    ]


def _tensor(weight: _Weight, layer: str = "") -> HostTensor:
    def of_layer(names: Sequence[str] | None) -> tuple[str, ...]:
        return tuple(name.replace(LAYER, layer) for name in names or ())

    output_name = weight["name"].replace(LAYER, layer)
    return HostTensor(
        output_name,
        (output_name, *of_layer(weight.get("aliases"))),
        of_layer(weight.get("tied_names")),
        weight.get("optional", False),
    )


@cache
def _definitions() -> tuple[_Definition, ...]:
    return tuple(_read_definitions())


def _read_definitions() -> Iterator[_Definition]:
    spec = find_spec("mergekit")  # does not import it
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted((Path(root) / "_data" / "architectures").glob("*.json")):
            definition: _Definition = json.loads(path.read_text(encoding="utf-8"))
            templates = definition.get("layer_templates")
            plain = definition.get("kind", "module") == "module" and templates is not None
            # Files that calculate with the layer's number are skipped; mergekit 0.1.5 has none of this kind.
            if plain and not any("${" in w["name"].replace(LAYER, "") for w in _all_weights(definition)):
                yield definition


def _all_weights(definition: _Definition) -> list[_Weight]:
    layers = definition["layer_templates"]["weights"]
    return [*definition["pre_weights"], *layers, *definition["post_weights"]]
