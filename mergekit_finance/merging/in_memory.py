"""A merge in memory, through mergekit's own planner: any recipe that `mergekit-yaml` takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mergekit_finance.errors import ModelError
from mergekit_finance.hosts import mergekit as host
from mergekit_finance.models.loading import live_model, load_tokenizer
from mergekit_finance.plugins.manager import merge_methods

if TYPE_CHECKING:
    import torch
    from mergekit.common import ModelReference
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def merge(
    config: "MergeConfiguration", options: "MergeOptions"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Merge as `mergekit-yaml` does, but into a live model instead of a folder.

    `MergePlanner.plan_in_memory` of mergekit 0.1.5 cannot be used, because its ReturnTensor is an abstract
    class. The planned tasks are run directly instead, and give the same tensors as on disk.

    Args:
        config: the recipe. Planning changes it.
        options: mergekit's; `device` is where the arithmetic runs.

    Returns:
        The merged model, on the CPU, and its tokenizer.

    Raises:
        ModelError: mergekit cannot plan or run the merge, or it holds NaN or Inf.
        RecipeError: a parameter of one of our methods is wrong.
    """
    install_methods()
    if config.merge_method.startswith("cpt_"):
        # Imported here: loading torch takes 1.4 s, which --help should not pay.
        from mergekit_finance.merge_methods.check_recipe import warn_similarity_ignored

        warn_similarity_ignored(config)
    donor = config.base_model or config.referenced_models()[0]
    with host.fresh_loaders():
        host.set_up_loaders(options)
        planner = host.new_planner(config, options)
        with mergekit_errors():
            host.plan(planner)
            tensors, tokenizer = _execute(planner, options)
    out_config = planner.out_model_config
    if tokenizer is not None:
        host.resize_vocabulary(out_config, planner.arch_info, tokenizer)
        return live_model(out_config, tensors), tokenizer
    model = live_model(out_config, tensors)
    _copy_generation_config(model, donor)
    return model, load_tokenizer(str(donor.model), options.trust_remote_code)


def install_methods() -> None:
    """Register every plugin's merge methods and the checks of ours, as the start-up hook does."""
    from mergekit_finance.merge_methods import planner_hook  # see the note in merge

    host.register_methods(merge_methods())
    planner_hook.install()


@contextmanager
def mergekit_errors() -> Iterator[None]:
    """Turn what mergekit raises for a merge that it cannot do into a ModelError."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"mergekit could not run this merge: {type(error).__name__}: {error}") from error


def _execute(
    planner: "MergePlanner", options: "MergeOptions"
) -> "tuple[dict[str, torch.Tensor], PreTrainedTokenizerBase | None]":
    """Run the planned tasks; each output tensor is cast as mergekit's SaveTensor would cast it."""
    from mergekit.common import dtype_from_name  # see the note in merge
    from mergekit.graph import Executor

    from mergekit_finance.engine.finite import require_finite

    weights = {task: weight for weight, task in host.planned_tensors(planner)}
    tokenizer_task = host.tokenizer_task(planner)
    targets = [*weights, *([tokenizer_task] if tokenizer_task else [])]
    executor = Executor(targets, math_device=options.device, storage_device="cpu")
    tensors, tokenizer = {}, None
    for task, value in executor.run(quiet=options.quiet, desc="merge"):
        if task not in weights:
            tokenizer = value.tokenizer
        elif value is not None:
            dtype = dtype_from_name(weights[task].force_dtype or planner.config.out_dtype)
            name = weights[task].name
            tensors[name] = require_finite(name, value.to(dtype) if dtype else value)
    return tensors, tokenizer


def _copy_generation_config(model: "PreTrainedModel", donor: "ModelReference") -> None:
    """Give a merge its donor's generation_config.json, as mergekit copies it on disk.

    Its end tokens and length limits decide what a model writes.
    """
    from transformers import GenerationConfig  # see the note in merge

    try:
        model.generation_config = GenerationConfig.from_pretrained(
            donor.model.path, revision=donor.model.revision
        )
    except OSError:
        return  # the donor has none
