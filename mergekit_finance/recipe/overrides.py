"""Set values in a recipe from the command line: `lm_eval --model_args recipe=R.yml,set.lambda=0.4`.

set.lambda=0.4              a parameter of the method
set.density=0.3             a parameter of each model, set for every model
set.models[0].weight=0.7    one model's parameter
set.dtype=float32           a key of the recipe
set.slices[1].sources[0].parameters.weight=1    any value, by its path
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeAlias, cast

from mergekit_finance.errors import RecipeError, default_id, did_you_mean
from mergekit_finance.files import Json
from mergekit_finance.recipe.load import Recipe, check_mapping, load_recipe
from mergekit_finance.recipe.merge_label import PREFIX, label

if TYPE_CHECKING:
    from mergekit.merge_methods.base import ParameterSpec

PATH = re.compile(r"[\w-]+(\[\d+\])*(\.[\w-]+(\[\d+\])*)*")  # models[0].weight, tokenizer.source
NESTED = ("modules", "slices", "models", "tokenizer", "parameters")  # keys that do not hold one value

# The type of a mutable recipe; files.Json is read-only for the type checker.
Node: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool | None"
Block: TypeAlias = dict[str, Node]


@default_id("recipe.override")
def load_changed(path: str, overrides: Mapping[str, Json]) -> Recipe:
    """Return a recipe with values set in it, checked as `load.load_recipe` does.

    Args:
        path: the recipe's file.
        overrides: values by place, without the prefix `set.`.

    Raises:
        RecipeError: a place does not exist, or the changed recipe is wrong.
    """
    recipe = load_recipe(path, is_complete=not overrides)  # a required parameter may be set below
    merge = cast(Block, copy.deepcopy(recipe.merge))
    for place, value in overrides.items():
        where = f"{path}: {PREFIX}{place}"
        if re.fullmatch(r"\w+", place):
            _set_by_name(merge, place, cast(Node, value), where)
        else:
            _set_by_path(merge, place, cast(Node, value), where)
    name = label({"recipe": path} | {f"{PREFIX}{place}": value for place, value in overrides.items()})
    changed = check_mapping(cast("dict[str, Json]", merge), name)
    finance = changed.finance.model_copy(update={"seed": recipe.finance.seed})
    return replace(changed, path=recipe.path, finance=finance)


def _set_by_name(merge: Block, name: str, value: Node, where: str) -> None:
    """Set a key of the recipe, a parameter of the method, or a parameter of each of its models."""
    from mergekit.config import MergeConfiguration  # see the note in _method_parameters

    specs = _method_parameters(merge)
    keys = [key for key in MergeConfiguration.model_fields if key not in NESTED]
    if name in keys:
        merge[name] = value
    elif name not in specs:
        raise RecipeError(f"{where}: unknown parameter {name!r}. {did_you_mean(name, [*specs, *keys])}")
    elif specs[name].scope == "shared":
        for block in _inner_blocks(merge):  # parameters there take precedence over those of the recipe
            if isinstance(parameters := block.get("parameters"), dict):
                parameters.pop(name, None)
        _parameters_of(merge)[name] = value
    else:
        for entry in _model_entries(merge, with_base=specs[name].scope == "input"):
            _parameters_of(entry)[name] = value


def _set_by_path(merge: Block, place: str, value: Node, where: str) -> None:
    """Set the value at a path like `slices[1].sources[0].parameters.weight`."""
    if not PATH.fullmatch(place):
        raise RecipeError(f"{where}: not a path. Write it like models[0].weight or tokenizer.source.")
    *steps, last = re.findall(r"[^.\[\]]+", place)
    container: Node = merge
    for step in steps:
        container = _step_into(container, step, where)
    if isinstance(container, list):
        _step_into(container, last, where)  # the entry must exist
        container[int(last)] = value
    elif not isinstance(container, dict):
        _no_such_part(last, where)
    elif "model" in container and last in _method_parameters(merge):
        _parameters_of(container)[last] = value
    else:
        container[last] = value


def _step_into(container: Node, step: str, where: str) -> Node:
    """Return the part of a list or mapping at one step of a path."""
    if isinstance(container, list) and step.isdigit():
        if int(step) < len(container):
            return container[int(step)]
        raise RecipeError(f"{where}: [{step}] does not exist; there are {len(container)} entries, from 0 on")
    if isinstance(container, dict):
        if step == "parameters":
            return _parameters_of(container)
        if container.get(step) is not None:
            return container[step]
        raise RecipeError(f"{where}: {step!r} does not exist there. {did_you_mean(step, container)}")
    _no_such_part(step, where)


def _no_such_part(step: str, where: str) -> NoReturn:
    raise RecipeError(f"{where}: there is no part {step!r} in a single value")


def _method_parameters(merge: Block) -> "dict[str, ParameterSpec]":
    """Return the specifications of the parameters of the recipe's method, by name."""
    # Imported here to keep --help fast: mergekit takes 4.5 s.
    from mergekit.merge_methods import registered_methods

    methods = {method.spec.name: method.spec.parameters for method in registered_methods()}
    name = str(merge["merge_method"])
    if name not in methods:
        raise RecipeError(f"merge_method {name!r} is not known. {did_you_mean(name, methods)}")
    return {spec.name: spec for spec in methods[name]}


def _parameters_of(block: Block) -> Block:
    """Return a block's `parameters:`, adding an empty mapping if there are none."""
    parameters = block.get("parameters")
    if not isinstance(parameters, dict):
        parameters = {}
        block["parameters"] = parameters
    return parameters


def _inner_blocks(block: Block) -> Iterator[Block]:
    """Yield modules and slices, at any depth."""
    modules, slices = block.get("modules"), block.get("slices")
    for module in modules.values() if isinstance(modules, dict) else ():
        if isinstance(module, dict):
            yield module
            yield from _inner_blocks(module)
    for part in slices if isinstance(slices, list) else ():
        if isinstance(part, dict):
            yield part


def _model_entries(merge: Block, with_base: bool) -> Iterator[Block]:
    """Yield every entry of a model to merge; those of the base model only with `with_base`."""
    for block in (merge, *_inner_blocks(merge)):
        for key in ("models", "sources"):
            entries = block.get(key)
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and (with_base or entry.get("model") != merge.get("base_model")):
                    yield entry
