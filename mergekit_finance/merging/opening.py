"""A recipe, planned and checked by mergekit's planner and ours, and its inputs as mapped tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mergekit import merge as host
from mergekit.architecture import get_architecture_info
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge_methods.dtype import promoted_dtype
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner

from mergekit_finance import registration as integration
from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.merge_methods import measuring, planning
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.planned import bound_parameters
from mergekit_finance.models.load import live_model, load_tokenizer


@dataclass(frozen=True)
class Opened:
    """A planned merge, nothing of it computed."""

    method: CptMethod
    tensors: list[tuple[Any, ...]]  # group, values, device, dtype, tied_to
    buffers: dict[str, torch.Tensor]  # integers, the same in all models
    config: Any
    tokenizer: Any

    def live(self, tensors: dict[str, torch.Tensor]) -> tuple[Any, Any]:
        """The model that the tensors fill, and its tokenizer."""
        return live_model(self.config, tensors), self.tokenizer


def configuration(recipe: Any) -> MergeConfiguration:
    """A file, a checked Recipe, a mapping or mergekit's own object, as the latter."""
    from mergekit_finance.recipe import load as recipes

    if isinstance(recipe, str | Path):
        recipe = recipes.load(recipe)
    if isinstance(recipe, recipes.Recipe):
        return recipe.configuration()
    if isinstance(recipe, Mapping):
        return MergeConfiguration.model_validate({k: v for k, v in recipe.items() if k != "finance"})
    return recipe.model_copy(deep=True)


def read(recipe: Any, trust_remote_code: bool) -> Opened:
    """Plan as `mergekit-yaml` does, check everything, map every tensor. The host's faults in one line."""
    try:
        return _read(configuration(recipe), trust_remote_code)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (RuntimeError, ValueError, KeyError, OSError, AttributeError, TypeError) as fault:
        text = " ".join(str(fault).split())
        raise ModelError(f"this recipe cannot be opened: {type(fault).__name__}: {text}") from fault


def _read(config: MergeConfiguration, trust_remote_code: bool) -> Opened:
    _register()
    options = MergeOptions(quiet=True, trust_remote_code=trust_remote_code)
    LoaderCache().setup(options=options)
    architecture = get_architecture_info(config, options)
    out_config = host._model_out_config(config, architecture, trust_remote_code=trust_remote_code)
    donor = config.base_model or config.referenced_models()[0]
    planner = MergePlanner(config, architecture, options=options, out_model_config=out_config)
    if not isinstance(planner._method, CptMethod):
        raise RecipeError(
            f"merge_method {config.merge_method}: a session sweeps cpt_task_arithmetic, cpt_ties and "
            "cpt_dare_ties; run any other method with mergekit-yaml"
        )
    measuring.say_left_out(config)
    original = getattr(MergePlanner._plan, "__wrapped__", MergePlanner._plan)
    inputs, _, _ = planning.checked(planner, original, ranks=False)
    tokenizer = None
    if planner._tokenizer_task:
        tokenizer = inputs._tokenizer.tokenizer
        host._update_config_vocab(out_config, architecture, tokenizer)
    tensors, buffers = _mapped(planner, inputs)
    tokenizer = tokenizer or load_tokenizer(str(donor.model), trust_remote_code)
    return Opened(planner._method, tensors, buffers, out_config, tokenizer)


def _mapped(planner: Any, inputs: Any) -> tuple[list[tuple[Any, ...]], dict[str, torch.Tensor]]:
    tensors: list[tuple[Any, ...]] = []
    buffers = {}
    specs = planner._method.spec.input_parameters
    for gathered, dtype in zip(inputs.stream("Opening"), planning.dtypes(planner), strict=True):
        group = gathered.group()
        if not gathered.floating:
            buffers[gathered.name] = group.tensors[0]
            continue
        values = bound_parameters(gathered.task, group, specs)
        cpu = torch.device("cpu")
        tensors.append((group, values, cpu, dtype or promoted_dtype(group), gathered.tied_to))
    return tensors, buffers


def _register() -> None:
    import mergekit.merge_methods
    import mergekit.plan

    integration.on_merge_methods(mergekit.merge_methods)
    integration.on_plan(mergekit.plan)
