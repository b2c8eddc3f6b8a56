"""Checks of a recipe's parameters, wherever mergekit reads them, before any weight is read.

mergekit itself ignores misspelled names, shared parameters written under a model, and values out of range.
Here each is a RecipeError of one line with the place, the value and the correction.
"""

import difflib
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from mergekit.common import ModelReference
from mergekit.config import (
    ConditionalParameter,
    InputModelDefinition,
    InputSliceDefinition,
    MergeConfiguration,
    OutputModuleDefinition,
    ParameterSetting,
)
from mergekit.merge_methods import registered_methods
from mergekit.merge_methods.base import ParameterScope, ParameterSpec
from mergekit.options import MergeOptions
from pydantic import ValidationError

from mergekit_finance.checks.findings import Findings, finding
from mergekit_finance.checks.model_checks import architecture_findings, reference_findings
from mergekit_finance.checks.recipe_checks import check_dtypes, check_keys, validation_message
from mergekit_finance.errors import RecipeError, default_id, did_you_mean
from mergekit_finance.files import Json
from mergekit_finance.hosts.mergekit import module_names, set_tokenizer_task, tokenizer_task
from mergekit_finance.hosts.mergekit_recipes import allows_crimes, recipe_file, trusts_remote_code
from mergekit_finance.hosts.programs import OUR_METHODS, is_host_program
from mergekit_finance.merge_methods.check_tokens import check_tokenizer_block
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.parameters import SEMANTICS, default_mask_id
from mergekit_finance.models.facts import load_config
from mergekit_finance.operators import size_error

if TYPE_CHECKING:
    from mergekit.plan import MergePlanner

LOG = logging.getLogger(__name__)
SIMILARITY_FILE = "similarity.json"  # beside a merge whose recipe says `similarity: true`
WHOLE_MERGE = ("semantics", "seed", "similarity")  # one value, in the recipe's own parameters:
CONSTANT = (*WHOLE_MERGE, "mask_id")  # no gradient, no filter
MAX_NAME = 100  # characters of a merge method's name that is compared with others
MAX_FLOAT32 = 3.4028234663852886e38
NO_NORMALIZE = "paper semantics does not have it (Task Arithmetic is a sum, TIES merges by a mean)"

Scalar: TypeAlias = float | int | str | bool | None
Owner: TypeAlias = MergeConfiguration | OutputModuleDefinition  # what may have models: or slices:


@dataclass(frozen=True)
class Block:
    """One `parameters:` mapping of a recipe."""

    where: str
    settings: Mapping[str, ParameterSetting]
    model: ModelReference | None = None
    top: bool = False


@default_id("recipe.invalid")
def validate_recipe(
    content: Mapping[str, Json], validate: Callable[[], MergeConfiguration]
) -> MergeConfiguration:
    """Return what mergekit's `MergeConfiguration.model_validate` returns, after a check of keys.

    Args:
        content: a recipe; those of other methods than ours are not checked. One that names no method is
            checked in mergekit's own commands only.
        validate: mergekit's own validation.

    Raises:
        RecipeError: a key does not exist; in mergekit's own commands also for what mergekit refuses, which
            they would show with a traceback.
    """
    name, where = content.get("merge_method"), str(recipe_file() or "")
    ours = [m.spec.name for m in registered_methods() if isinstance(m, CptMethod)]
    names_none = not isinstance(name, str) and is_host_program()
    if name not in ours and not names_none:
        _refuse_misspelled(name, ours, where)
        return validate()
    check_keys(content, where)
    try:
        config = validate()
    except (ValidationError, RuntimeError) as error:
        if is_host_program():
            raise RecipeError(": ".join(filter(None, (where, validation_message(error))))) from error
        raise
    check_dtypes(config.dtype, config.out_dtype, where)
    trust_remote_code = trusts_remote_code()
    if trust_remote_code is not None:
        check_configs(config, where, trust_remote_code, allows_crimes())
    return config


def _refuse_misspelled(name: Json, ours: Sequence[str], where: str) -> None:
    """Refuse an unknown merge method whose name is similar to one of ours; mergekit reports all others."""
    all_names = [method.spec.name for method in registered_methods()]
    if not isinstance(name, str) or name in all_names or len(name) > MAX_NAME:
        return
    nearest = difflib.get_close_matches(name.lower(), all_names, n=1)
    if name.startswith(OUR_METHODS) or (nearest and nearest[0] in ours):
        message = f"merge_method {name!r} is not known. {did_you_mean(name, all_names)}"
        raise RecipeError(": ".join(filter(None, (where, message))), id="recipe.unknown-method")


def check_configs(
    config: MergeConfiguration, where: str, trust_remote_code: bool, mixed: bool = False
) -> None:
    """Load the config of every model, as mergekit is about to do without naming a missing model.

    Args:
        config: the recipe.
        where: the recipe's file, for messages.
        trust_remote_code: as in transformers.
        mixed: whether models may have different architectures (`--allow-crimes`).

    Raises:
        ModelError: a model is missing, its config is broken, or it has another architecture than the others.
    """
    architectures: dict[tuple[str, ...], str] = {}
    for model in config.referenced_models():
        name = str(model.model)
        if not os.path.exists(model.model.path):
            Findings(reference_findings(name)).raise_errors(where)
        loaded = load_config(name, trust_remote_code)
        Findings(architecture_findings(name, loaded.architectures)).raise_errors(where)
        architecture = tuple(loaded.architectures or ())
        architectures.setdefault(architecture, name)
    if len(architectures) > 1 and not mixed:
        (one, first), (two, second) = list(architectures.items())[:2]
        message = f"{first!r} is a {'/'.join(one)}, {second!r} is a {'/'.join(two)}"
        raise finding("model.architecture", message).as_error(where)


@default_id("recipe.invalid")
def check_recipe(config: MergeConfiguration, method: CptMethod, options: MergeOptions) -> None:
    """Check the parameters and models of a recipe for one of our methods.

    Raises:
        RecipeError: a parameter or model is wrong; the message names the first one.
    """
    check_dtypes(config.dtype, config.out_dtype)
    blocks = list(_blocks(config))
    for block in blocks:
        for name, setting in block.settings.items():
            _check_place(block, name, method)
            spec = next(spec for spec in method.spec.parameters if spec.name == name)
            _check_values(block, name, setting, spec)
    _check_models(config, method)
    _check_modules(config)
    check_tokenizer_block(config)
    if method.draws_masks:
        _check_mask_ids(config)
    if semantics_of(config) == "paper":
        _check_paper(config, method, blocks, options)
    _check_similarity(config)


def semantics_of(config: MergeConfiguration) -> str:
    """Return `paper` or `mergekit`. Call it before planning, which rewrites the configuration."""
    return (config.parameters or {}).get("semantics", SEMANTICS[0])


def mask_ids(config: MergeConfiguration) -> dict[ModelReference, str]:
    """Return every expert's mask_id, as written or by default."""
    ids: dict[ModelReference, str] = {}
    for _, entry in entries_of(config):
        if entry.model != config.base_model:
            written = (entry.parameters or {}).get("mask_id")
            ids[entry.model] = default_mask_id(entry.model) if written is None else written
    return ids


def experts_of(config: MergeConfiguration) -> list[ModelReference]:
    """Return every model that is not the base, in the recipe's order."""
    return list(mask_ids(config))


def sort_models(planner: "MergePlanner") -> None:
    """In paper semantics, put the recipe's models in mask_id order, the base first.

    A tokenizer block averages embeddings in the order of the models. Sorted, these sums do not depend on the
    order of `models:` either, nor on that of a Python set.
    """
    config = planner.config
    if semantics_of(config) != "paper":
        return
    ids = mask_ids(config)

    def rank(model: ModelReference) -> tuple[bool, str, str]:
        return model != config.base_model, ids.get(model, ""), str(model)

    for owner in owners_of(config):
        if owner.models:
            owner.models = sorted(owner.models, key=lambda entry: rank(entry.model))
    task = tokenizer_task(planner)
    if task:
        models = tuple(sorted(task.referenced_models, key=rank))
        set_tokenizer_task(planner, task.model_copy(update={"referenced_models": models}))


def value_error(name: str, value: Scalar | Mapping[str, Scalar], spec: ParameterSpec) -> str:
    """Return what is wrong with one value of a parameter, or an empty string."""
    if name == "semantics":
        return (
            ""
            if value in SEMANTICS
            else f"is neither paper nor mergekit. {did_you_mean(str(value), SEMANTICS)}"
        )
    if name == "mask_id":
        return (
            "" if isinstance(value, str) and value else "is not a string; write a name, in quotes if needed"
        )
    if name in ("normalize", "similarity"):
        return "" if isinstance(value, bool) else "is neither true nor false"
    expected = "whole number" if name == "seed" else "number"
    try:
        number = spec.validate(value)
    except ValidationError:
        return f"is not a {expected}"
    if isinstance(value, bool) or not math.isfinite(number):
        return f"is not a {expected}"
    if name != "seed" and abs(number) > MAX_FLOAT32:
        return f"does not fit float32, whose largest number is {MAX_FLOAT32:.3g}"
    if name == "density" and not 0 < number <= 1:
        return "is outside (0, 1]"
    return size_error(name, number)


# ---- places in a recipe


def owners_of(config: MergeConfiguration) -> list[Owner]:
    """Return the recipe and its modules: the blocks that may list models or slices."""
    return [config, *(config.modules or {}).values()]


def entries_of(
    config: MergeConfiguration,
) -> Iterator[tuple[str, InputModelDefinition | InputSliceDefinition]]:
    """Yield every entry that names an input model, with its place in the recipe."""
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
    for owner in owners_of(config):
        for i, part in enumerate(owner.slices or ()):
            yield Block(f"slices[{i}].parameters", part.parameters or {})
    for where, entry in entries_of(config):
        yield Block(f"{where} ({entry.model}).parameters", entry.parameters or {}, entry.model)


def _scalars(setting: ParameterSetting) -> Iterator[Scalar]:
    """Yield every value inside gradients and filters."""
    if isinstance(setting, ConditionalParameter):
        setting = setting.value
    if isinstance(setting, list):
        for part in setting:
            yield from _scalars(part)
    else:
        yield setting


def _is_constant(setting: ParameterSetting) -> bool:
    return not isinstance(setting, list | ConditionalParameter)


def _refuse(block: Block, name: str, why: str) -> NoReturn:
    raise RecipeError(f"{block.where}.{name}: {why}")


# ---- the checks


def _check_place(block: Block, name: str, method: CptMethod) -> None:
    """Refuse parameters that do not exist, and those written where mergekit does not read them."""
    specs = {spec.name: spec for spec in method.spec.parameters}
    if name not in specs:
        hint = did_you_mean(name, specs)
        raise RecipeError(
            f"{block.where}.{name}: {method.spec.name} has no such parameter. {hint}",
            id="recipe.unknown-key",
        )
    shared = specs[name].scope == ParameterScope.SHARED
    if (block.model is not None and shared) or (name in WHOLE_MERGE and not block.top):
        _refuse(block, name, "is one value for all models; write it in the recipe's own parameters:")
    if block.model is None and name == "mask_id":
        _refuse(block, name, "names one model; write it in that model's parameters:")


def _check_values(block: Block, name: str, setting: ParameterSetting, spec: ParameterSpec) -> None:
    values = list(_scalars(setting))
    if not values:
        _refuse(block, name, "is empty; write a value")
    if name in CONSTANT and not _is_constant(setting):
        _refuse(block, name, "must be one value, without gradient or filter")
    for value in values:
        error = value_error(name, value, spec)
        if error:
            _refuse(block, name, f"{value!r} {error}")


def _check_models(config: MergeConfiguration, method: CptMethod) -> None:
    parts = [part for owner in owners_of(config) for part in owner.slices or ()]
    if config.base_model is None and not (parts and all(part.base_model for part in parts)):
        raise RecipeError(f"base_model is missing: {method.spec.name} needs the base of the experts")
    for owner in owners_of(config):
        models = [entry.model for entry in owner.models or ()]
        for model in models:
            if models.count(model) > 1:
                raise RecipeError(
                    f"models: {model} is listed more than once; list it once, with its weight",
                    id="recipe.same-model",
                )
    for model in config.referenced_models():
        for part in (model.model, model.lora):
            if part and part.revision and os.path.isdir(part.path):
                Findings(reference_findings(str(part))).raise_errors()
    if not mask_ids(config):
        raise RecipeError(f"models: no model besides base_model {config.base_model}; add at least one expert")


def _check_modules(config: MergeConfiguration) -> None:
    names = module_names(config) if config.modules else []
    for name in config.modules or ():
        if names and name not in names:
            raise RecipeError(f"modules: the models have no module {name!r:.60}. {did_you_mean(name, names)}")


def _check_mask_ids(config: MergeConfiguration) -> None:
    by_id: dict[str, ModelReference] = {}
    for model, mask_id in mask_ids(config).items():
        if not mask_id:
            raise RecipeError(
                f"{model}: this path has no last component to be the mask_id; write one in its parameters:"
            )
        if mask_id in by_id:
            raise RecipeError(
                f"mask_id {mask_id!r} belongs to both {by_id[mask_id]} and {model}, which would drop "
                "the same elements of both; write a different mask_id under each"
            )
        by_id[mask_id] = model


def _check_paper(
    config: MergeConfiguration, method: CptMethod, blocks: list[Block], options: MergeOptions
) -> None:
    """Refuse what paper semantics does not define."""
    instead = "or set semantics: mergekit"
    if any(owner.slices for owner in owners_of(config)):
        raise RecipeError(f"slices: paper semantics merges whole models; list them under models:, {instead}")
    for block in blocks:
        if not _is_constant(block.settings.get("density")):
            _refuse(block, "density", f"paper semantics has no gradient or filter; give a number, {instead}")
        if "normalize" in block.settings:
            _refuse(block, "normalize", f"{NO_NORMALIZE}; remove it, {instead}")
    has_tokenizer = config.tokenizer is not None or config.tokenizer_source is not None
    if options.multi_gpu and has_tokenizer and method.ranks_whole_vector:
        raise RecipeError(
            f"{method.spec.name} in paper semantics cannot run with --multi-gpu where the recipe has a "
            "tokenizer block; leave out --multi-gpu, or align the vocabularies beforehand"
        )


def has_similarity_output(config: MergeConfiguration) -> bool:
    """Return whether a recipe says `similarity: true`. Call it before mergekit plans."""
    return bool((config.parameters or {}).get("similarity"))


def warn_similarity_ignored(config: MergeConfiguration) -> None:
    """Log one line if a recipe that is merged in memory says `similarity: true`."""
    if has_similarity_output(config):
        LOG.warning(
            "similarity: true is ignored, because a merge in memory has no output folder. "
            "mergekit-yaml writes %s; so does mergekit-finance similarity.",
            SIMILARITY_FILE,
        )


def _check_similarity(config: MergeConfiguration) -> None:
    """Refuse `similarity: true` where models are not merged as a whole, tensor by tensor."""
    if has_similarity_output(config) and (config.slices or config.modules):
        kind = "slices" if config.slices else "modules"
        raise RecipeError(
            f"parameters.similarity: compares whole models under models:, and this recipe has {kind}:; "
            "remove it, and run mergekit-finance similarity instead"
        )
