"""A merge in memory, through mergekit's own planner: any recipe that `mergekit-yaml` takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergekit_finance.hosts import mergekit as host
from mergekit_finance.hosts.mergekit_recipes import register_methods
from mergekit_finance.plugins.manager import merge_methods

if TYPE_CHECKING:
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.models.spread import Spread


def merge(
    config: "MergeConfiguration",
    options: "MergeOptions",
    check: bool = True,
    spread: "Spread | None" = None,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Merge as `mergekit-yaml` does, but into a live model instead of a folder.

    Model and tokenizer are those that loading the folder would give: the same tensors, config, generation
    config, vocabulary and chat template. `MergePlanner.plan_in_memory` of mergekit 0.1.5 cannot be used,
    because its ReturnTensor is an abstract class: the planned tasks are run directly instead.

    Args:
        config: the recipe. Planning changes it.
        options: mergekit's; `device` is where the arithmetic runs, `random_seed` (default 0) what mergekit's
            random methods draw from.
        check: run the checks of `mergekit-finance check`, too. Their warnings are printed to stderr, once per
            process.
        spread: the devices that the merged model is spread over; each tensor is moved there once merged.

    Returns:
        The merged model, on the CPU without `spread`, and its tokenizer.

    Raises:
        ModelError: mergekit cannot plan or run the merge, or it holds NaN or Inf; a config, tokenizer or chat
            template is missing or broken, which is found before any tensor is read.
        RecipeError: a parameter of one of our methods, or the chat template, is wrong.
    """
    install_methods()
    # Imported here to keep --help fast: torch takes 1.4 s.
    from mergekit_finance.merge_methods.check_recipe import warn_similarity_ignored
    from mergekit_finance.merge_methods.side_files import make_side_files

    if config.merge_method.startswith("cpt_"):
        warn_similarity_ignored(config)
    with host.fresh_loaders():
        host.set_up_loaders(options)
        side_files = make_side_files(config, options)  # before any tensor is read
        device_map = spread.device_map(side_files.config) if spread else None
        with host.merge_errors(), host.seeded(options.random_seed or 0):
            tensors = _merged_tensors(config, options, check, device_map)
        return side_files.live_model(tensors, device_map), side_files.tokenizer


def install_methods() -> None:
    """Register every plugin's merge methods and the checks of ours, as the start-up hook does."""
    from mergekit_finance.merge_methods import planner_hook  # see the note in merge

    register_methods(merge_methods())
    planner_hook.install_planner_hook()


def _merged_tensors(
    config: "MergeConfiguration",
    options: "MergeOptions",
    check: bool = False,
    device_map: "Mapping[str, str] | None" = None,
) -> "dict[str, torch.Tensor]":
    """Run the planned tasks; each output tensor is cast as mergekit's SaveTensor would cast it."""
    from mergekit.common import dtype_from_name  # see the note in merge
    from mergekit.graph import Executor

    from mergekit_finance.engine.finite import require_finite
    from mergekit_finance.merge_methods.check_models import MergedModels
    from mergekit_finance.models.spread import device_of

    planner = host.new_planner(config, options)
    models = MergedModels.of(config, options)
    host.plan_merge(planner)
    if check:
        models.check()
    weights = {task: weight for weight, task in host.planned_tensors(planner)}
    executor = Executor([*weights], math_device=options.device, storage_device="cpu")
    tensors: dict[str, torch.Tensor] = {}
    for task, value in executor.run(quiet=options.quiet, desc="merge"):
        if value is not None:
            dtype = dtype_from_name(weights[task].force_dtype or config.out_dtype)
            name = weights[task].name
            tensor = require_finite(name, value.to(dtype) if dtype else value)
            tensors[name] = tensor.to(device_of(name, device_map)) if device_map else tensor
    return _without_shared_memory(tensors)


def _without_shared_memory(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Copy tensors that are views of an earlier one: a layer that a recipe takes twice is two on disk."""
    used: set[tuple[torch.device, int]] = set()
    for name, tensor in tensors.items():
        place = tensor.device, tensor.data_ptr()
        if place in used:
            tensors[name] = tensor.clone()
        used.add(place)
    return tensors
