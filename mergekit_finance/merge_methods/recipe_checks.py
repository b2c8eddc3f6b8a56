"""A recipe's parameters, checked in every place where mergekit reads them, before a weight is read.

mergekit itself ignores misspelt names, shared parameters written under a model, and values out of
range. Here each is one line that names the place, the value and what would be right.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mergekit.common import ModelReference
from mergekit.config import ConditionalParameter, MergeConfiguration
from mergekit.merge_methods.base import ParameterScope, ParameterSpec
from mergekit.options import MergeOptions
from pydantic import ValidationError

from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.parameters import SEMANTICS, default_mask_id

WHOLE_MERGE = ("semantics", "seed", "similarity")  # one value, at the top
CONSTANT = (*WHOLE_MERGE, "mask_id")  # no gradient, no filter
LARGEST = 3.4028234663852886e38  # of float32, in which all is computed
FINEST_DENSITY = 2.0**-32  # what a DARE mask can resolve
UNDEFINED_NORMALIZE = "paper semantics leaves no choice (Task Arithmetic is a sum, TIES merges by a mean)"


@dataclass(frozen=True)
class Block:
    """One `parameters:` mapping of a recipe."""

    where: str
    settings: Mapping[str, Any]
    model: ModelReference | None = None
    top: bool = False


def check_recipe(config: MergeConfiguration, method: CptMethod, options: MergeOptions) -> None:
    """Raise RecipeError for the first thing that is wrong."""
    blocks = list(_blocks(config))
    for block in blocks:
        for name, setting in block.settings.items():
            _check_place(block, name, method)
            _check_values(block, name, setting, _spec(method, name))
    _check_models(config, method)
    _check_mask_ids(config, method)
    if semantics_of(config) == "paper":
        _check_paper(config, method, blocks, options)
    if method.draws_masks:
        _check_resolution(blocks)
    _check_similarity(config)


def semantics_of(config: MergeConfiguration) -> str:
    return (config.parameters or {}).get("semantics", SEMANTICS[0])


def put_in_order(planner: Any) -> None:
    """In paper semantics, give mergekit the models in mask_id order, the base first.

    A tokenizer block averages embeddings in the order it is given: this keeps those sums, too, free of
    the order of `models:`, and free of the order of a Python set of strings.
    """
    config = planner.config
    if semantics_of(config) != "paper":
        return
    ids = mask_ids(config)

    def rank(model: ModelReference) -> tuple[bool, str, str]:
        return model != config.base_model, ids.get(model, ""), str(model)

    for owner in _owners(config):
        if owner.models:
            owner.models = sorted(owner.models, key=lambda entry: rank(entry.model))
    if planner._tokenizer_task:
        models = tuple(sorted(planner._tokenizer_task.referenced_models, key=rank))
        planner._tokenizer_task = planner._tokenizer_task.model_copy(update={"referenced_models": models})


def mask_ids(config: MergeConfiguration) -> dict[ModelReference, str]:
    """Every expert's mask_id, as written or by default."""
    found: dict[ModelReference, str] = {}
    for _, entry in _entries(config):
        if entry.model != config.base_model:
            written = (entry.parameters or {}).get("mask_id")
            found[entry.model] = default_mask_id(entry.model) if written is None else written
    return found


def experts_of(config: MergeConfiguration) -> list[ModelReference]:
    """Every expert, in the recipe's order."""
    return list(mask_ids(config))


def _entries(config: MergeConfiguration) -> Iterator[tuple[str, Any]]:
    """Every place that names an input model, with its location in the recipe."""
    modules = [(f"modules.{name}.", module) for name, module in (config.modules or {}).items()]
    for prefix, owner in [("", config), *modules]:
        for i, entry in enumerate(owner.models or ()):
            yield f"{prefix}models[{i}]", entry
        for i, part in enumerate(owner.slices or ()):
            for j, entry in enumerate(part.sources):
                yield f"{prefix}slices[{i}].sources[{j}]", entry


def _blocks(config: MergeConfiguration) -> Iterator[Block]:
    yield Block("parameters", config.parameters or {}, top=True)
    for name, module in (config.modules or {}).items():
        yield Block(f"modules.{name}.parameters", module.parameters or {})
    for owner in _owners(config):
        for i, part in enumerate(owner.slices or ()):
            yield Block(f"slices[{i}].parameters", part.parameters or {})
    for where, entry in _entries(config):
        yield Block(f"{where} ({entry.model}).parameters", entry.parameters or {}, entry.model)


def _spec(method: CptMethod, name: str) -> ParameterSpec:
    return next(spec for spec in method.spec.parameters if spec.name == name)


def _check_place(block: Block, name: str, method: CptMethod) -> None:
    known = {spec.name: spec for spec in method.spec.parameters}
    if name not in known:
        near = did_you_mean(name, known)
        raise RecipeError(f"{block.where}.{name}: {method.spec.name} has no such parameter; {near}")
    shared = known[name].scope == ParameterScope.SHARED
    if (block.model is not None and shared) or (name in WHOLE_MERGE and not block.top):
        _refuse(block, name, "is one value for all models; write it in the recipe's own parameters:")
    if block.model is None and name == "mask_id":
        _refuse(block, name, "names one model; write it in that model's parameters:")


def _refuse(block: Block, name: str, why: str) -> NoReturn:
    raise RecipeError(f"{block.where}.{name}: {why}")


def _check_values(block: Block, name: str, setting: Any, spec: ParameterSpec) -> None:
    values = list(_scalars(setting))
    if not values:
        _refuse(block, name, "is empty")
    if name in CONSTANT and not _plain(setting):
        _refuse(block, name, "must be one value, without gradient or filter")
    for value in values:
        fault = _fault(name, value, spec)
        if fault:
            _refuse(block, name, f"{value!r} {fault}")


def _scalars(setting: Any) -> Iterator[Any]:
    """Every value inside gradients and filters."""
    if isinstance(setting, ConditionalParameter):
        setting = setting.value
    if isinstance(setting, list):
        for part in setting:
            yield from _scalars(part)
    else:
        yield setting


def _plain(setting: Any) -> bool:
    return not isinstance(setting, list | ConditionalParameter)


def _fault(name: str, value: Any, spec: ParameterSpec) -> str:
    """What is wrong with one value, or nothing."""
    if name == "semantics":
        return "" if value in SEMANTICS else f"is no semantics; {did_you_mean(value, SEMANTICS)}"
    if name == "mask_id":
        return "" if isinstance(value, str) and value else "is no name; write a string, in quotes if need be"
    if name in ("normalize", "similarity"):
        return "" if isinstance(value, bool) else "is neither true nor false"
    wanted = "whole number" if name == "seed" else "number"
    try:
        number = spec.validate(value)
    except ValidationError:
        return f"is not a {wanted}"
    if isinstance(value, bool) or not math.isfinite(number):
        return f"is not a {wanted}"
    if name != "seed" and abs(number) > LARGEST:
        return f"does not fit float32, whose largest number is {LARGEST:.3g}"
    return "is outside (0, 1]" if name == "density" and not 0 < number <= 1 else ""


def _check_models(config: MergeConfiguration, method: CptMethod) -> None:
    parts = [part for owner in _owners(config) for part in owner.slices or ()]
    if config.base_model is None and not (parts and all(part.base_model for part in parts)):
        raise RecipeError(f"base_model is missing: {method.spec.name} needs the experts' base")
    for owner in _owners(config):
        models = [entry.model for entry in owner.models or ()]
        for model in models:
            if models.count(model) > 1:
                raise RecipeError(f"models: {model} is listed more than once; list it once, with its weight")
    if not mask_ids(config):
        raise RecipeError(f"models: no model besides base_model {config.base_model}; add at least one expert")


def _check_mask_ids(config: MergeConfiguration, method: CptMethod) -> None:
    owner: dict[str, ModelReference] = {}
    for model, mask_id in mask_ids(config).items() if method.draws_masks else ():
        if not mask_id:
            raise RecipeError(f"{model}: no mask_id can be read off this path; write one in its parameters:")
        if mask_id in owner:
            raise RecipeError(
                f"mask_id {mask_id!r} belongs to both {owner[mask_id]} and {model}, which would drop "
                "the same elements; write a mask_id of its own under each"
            )
        owner[mask_id] = model


def _check_paper(
    config: MergeConfiguration, method: CptMethod, blocks: list[Block], options: MergeOptions
) -> None:
    instead = "or set semantics: mergekit"
    if any(owner.slices for owner in _owners(config)):
        raise RecipeError(f"slices: paper semantics merges whole models; list them under models:, {instead}")
    for block in blocks:
        if not _plain(block.settings.get("density")):
            _refuse(block, "density", f"paper semantics has no gradient or filter; give a number, {instead}")
        if "normalize" in block.settings:
            _refuse(block, "normalize", f"{UNDEFINED_NORMALIZE}; remove it, {instead}")
    if options.multi_gpu and _has_tokenizer(config) and method.ranks_whole_vector:
        raise RecipeError(
            f"{method.spec.name} in paper semantics cannot run with --multi-gpu where the recipe has a "
            "tokenizer block; leave out --multi-gpu, or align the vocabularies beforehand"
        )


def _owners(config: MergeConfiguration) -> list[Any]:
    """What may hold models: or slices:."""
    return [config, *(config.modules or {}).values()]


def _has_tokenizer(config: MergeConfiguration) -> bool:
    return config.tokenizer is not None or config.tokenizer_source is not None


def _check_resolution(blocks: list[Block]) -> None:
    for block in blocks:
        for value in _scalars(block.settings.get("density", 1.0)):
            if float(value) < FINEST_DENSITY:
                _refuse(block, "density", f"{value!r} keeps nothing; masks resolve {FINEST_DENSITY:.1g}")


def _check_similarity(config: MergeConfiguration) -> None:
    """It compares whole models, tensor by tensor."""
    if (config.parameters or {}).get("similarity") and (config.slices or config.modules):
        kind = "slices" if config.slices else "modules"
        raise RecipeError(
            f"parameters.similarity: compares whole models under models:, and this recipe has {kind}:; "
            "remove it, and measure with mergekit-finance similarity"
        )
