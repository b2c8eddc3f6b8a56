"""A recipe, planned and checked by mergekit's planner and ours, with its inputs mapped from their files."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge_methods.dtype import promoted_dtype
from mergekit.options import MergeOptions

from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.files import Json
from mergekit_finance.hosts import mergekit as host
from mergekit_finance.hosts.mergekit_recipes import register_methods
from mergekit_finance.merge_methods import planner_hook
from mergekit_finance.merge_methods.check_models import MergedModels
from mergekit_finance.merge_methods.check_recipe import check_configs, warn_similarity_ignored
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.planned_inputs import PlannedInputs
from mergekit_finance.merge_methods.side_files import SideFiles, make_side_files
from mergekit_finance.merging.placement import OutputTensor
from mergekit_finance.plugins.manager import merge_methods
from mergekit_finance.recipe import load as recipes

if TYPE_CHECKING:
    from mergekit.plan import MergePlanner

RecipeLike: TypeAlias = "str | Path | Mapping[str, Json] | recipes.Recipe | MergeConfiguration"


@dataclass(frozen=True)
class OpenedRecipe:
    """A planned merge before any tensor is computed."""

    method: CptMethod
    tensors: list[OutputTensor]
    buffers: dict[str, torch.Tensor]  # of integers, the same in all models
    side_files: SideFiles


def open_recipe(
    recipe: RecipeLike, trust_remote_code: bool, device: str = "cpu", check: bool = True
) -> OpenedRecipe:
    """Return a recipe planned as `mergekit-yaml` does, checked, with every input tensor mapped from its file.

    Args:
        recipe: a file, a checked Recipe, a mapping, or mergekit's configuration.
        device: where merges are evaluated, whose free memory is compared with what they need.
        check: run the checks of `mergekit-finance check`, which print warnings, when the merge is planned.

    Raises:
        RecipeError: the recipe is wrong, or its method is not one of ours.
        ModelError: a model is missing, broken or does not fit the others.
    """
    register_methods(merge_methods())
    planner_hook.install_planner_hook()  # checks keys, and names weights files that are broken
    try:
        with host.fresh_loaders():
            return _open(_configuration(recipe), trust_remote_code, device if check else None)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (RuntimeError, ValueError, KeyError, OSError, AttributeError, TypeError) as error:
        text = " ".join(str(error).split())
        raise ModelError(
            f"this recipe cannot be opened: {type(error).__name__}: {text}",
            id="merge.failed",
        ) from error


def _configuration(recipe: RecipeLike) -> MergeConfiguration:
    if isinstance(recipe, str | Path):
        recipe = recipes.load_recipe(recipe)
    if isinstance(recipe, recipes.Recipe):
        return recipe.configuration()
    if isinstance(recipe, Mapping):
        return MergeConfiguration.model_validate(dict(recipe))
    return recipe.model_copy(deep=True)


def _open(config: MergeConfiguration, trust_remote_code: bool, checked_for: str | None) -> OpenedRecipe:
    options = MergeOptions(quiet=True, trust_remote_code=trust_remote_code)
    if checked_for is not None:
        check_configs(config, "", trust_remote_code)
    host.set_up_loaders(options)
    planner = host.new_planner(config, options)
    method = host.planner_method(planner)
    if not isinstance(method, CptMethod):
        raise RecipeError(
            f"merge_method {config.merge_method}: a session sweeps cpt_task_arithmetic, cpt_ties and "
            "cpt_dare_ties; run any other method with mergekit-yaml"
        )
    warn_similarity_ignored(config)
    side_files = make_side_files(config, options)  # before any tensor is read
    models = MergedModels.of(config, options.model_copy(update={"device": checked_for}))
    with models.while_planning() if checked_for is not None else nullcontext():
        inputs = planner_hook.check_and_plan(planner, host.plan_without_hook, ranks=False).inputs
    if checked_for is not None:
        models.check()
    tensors, buffers = _mapped(planner, method, inputs)
    return OpenedRecipe(method, tensors, buffers, side_files)


def _mapped(
    planner: "MergePlanner", method: CptMethod, inputs: PlannedInputs
) -> tuple[list[OutputTensor], dict[str, torch.Tensor]]:
    tensors, buffers = [], {}
    specs = method.spec.input_parameters
    for tensor, dtype in zip(inputs.stream("Opening"), planner_hook.output_dtypes(planner), strict=True):
        group = tensor.group()
        if tensor.floating:
            dtype = dtype or promoted_dtype(group)
            tensors.append(OutputTensor(group, tensor.parameters(specs), dtype, tensor.tied_to))
        else:
            buffers[tensor.name] = group.tensors[0]
    return tensors, buffers
