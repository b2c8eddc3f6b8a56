"""A merge in memory, through mergekit's own planner: any recipe that `mergekit-yaml` takes."""

from typing import TYPE_CHECKING, Any

from mergekit_finance.errors import ModelError

if TYPE_CHECKING:
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def merge(
    config: "MergeConfiguration", options: "MergeOptions"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Plan and run a merge; returns a live model, on the CPU, and its tokenizer.

    Same tensors as `mergekit-yaml` writes. `MergePlanner.plan_in_memory` of mergekit 0.1.5 cannot be
    used: its ReturnTensor is an abstract class. The planned tasks are run directly instead.
    """
    from mergekit import merge as host
    from mergekit.architecture import get_architecture_info
    from mergekit.io.tasks import LoaderCache
    from mergekit.plan import MergePlanner

    if config.merge_method.startswith("cpt_"):
        from mergekit_finance.merge_methods import measuring

        measuring.say_left_out(config)
    LoaderCache.loaders.clear()  # class-level and never cleared: a changed file would be read stale
    LoaderCache().setup(options=options)
    arch = get_architecture_info(config, options)
    out_config = host._model_out_config(config, arch, trust_remote_code=options.trust_remote_code)
    donor = config.base_model or config.referenced_models()[0]
    planner = MergePlanner(config, arch, options=options, out_model_config=out_config)
    try:
        planner._plan()
        tensors, tokenizer = _execute(planner, options)
    except (
        RuntimeError,
        ValueError,
        KeyError,
        OSError,
    ) as fault:  # what mergekit raises for what it cannot do
        raise ModelError(f"mergekit could not run this merge: {type(fault).__name__}: {fault}") from fault
    finally:
        LoaderCache.loaders.clear()
    if tokenizer is not None:
        host._update_config_vocab(out_config, arch, tokenizer)
        return _live(out_config, tensors), tokenizer
    model = _live(out_config, tensors)
    _generate_as(model, donor)
    return model, _tokenizer(donor, options.trust_remote_code)


def _execute(planner: Any, options: "MergeOptions") -> "tuple[dict[str, torch.Tensor], Any]":
    """Run the planned tasks; each output is cast as mergekit's SaveTensor would."""
    from mergekit.common import dtype_from_name
    from mergekit.graph import Executor

    from mergekit_finance.engine.finite import require_finite

    weights = {task: weight for weight, task in planner._tensors}
    targets = [*weights] + ([planner._tokenizer_task] if planner._tokenizer_task else [])
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


def _live(config: Any, tensors: "dict[str, torch.Tensor]") -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    dtype = next(iter(tensors.values())).dtype
    model_class = AutoModelForCausalLM._model_mapping[type(config)]
    model, info = model_class.from_pretrained(
        None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True
    )
    lost = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])
    if lost:
        raise ModelError(f"the merge does not fill {type(model).__name__}: {', '.join(map(str, lost[:3]))}")
    return model.eval()


def _generate_as(model: "PreTrainedModel", donor: Any) -> None:
    """Give the merge its donor's generation_config.json, which mergekit copies with the tokenizer: end
    tokens and length limits in it decide what a model writes."""
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(
            donor.model.path, revision=donor.model.revision
        )
    except OSError:
        return  # the donor has none


def _tokenizer(reference: Any, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    return load_tokenizer(str(reference.model), trust_remote_code)


def load_tokenizer(reference: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, local or of the Hub."""
    from transformers import AutoTokenizer

    path, _, revision = reference.partition("@")
    try:
        return AutoTokenizer.from_pretrained(
            path, revision=revision or None, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as fault:
        raise ModelError(
            f"model {reference!r}: no usable tokenizer ({str(fault).splitlines()[0]})"
        ) from fault


def load_model(reference: str, dtype: str, trust_remote_code: bool = False) -> "PreTrainedModel":
    """A constituent as a live model on the CPU, in `dtype` (`auto`: as stored)."""
    from transformers import AutoModelForCausalLM

    path, _, revision = reference.partition("@")
    try:
        return AutoModelForCausalLM.from_pretrained(
            path, revision=revision or None, dtype=dtype, trust_remote_code=trust_remote_code
        ).eval()
    except UNLOADABLE as fault:
        raise ModelError(f"model {reference!r}: cannot be loaded ({_first_line(fault)})") from fault


# What transformers raises for files that are cut off, of other shapes or dtypes, or for a config that
# contradicts itself.
UNLOADABLE = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError)


def _first_line(fault: Exception) -> str:
    return next((text for text in str(fault).splitlines() if text.strip()), type(fault).__name__)


def cast(model: "PreTrainedModel", dtype: "torch.dtype | None") -> "PreTrainedModel":
    """What a checkpoint would hold, in `dtype`.

    `model.to(dtype)` would round the rotary frequencies, too, which loading a checkpoint keeps in float32.
    """
    if dtype is None or dtype == model.dtype:
        return model
    stored = model.state_dict(keep_vars=True)
    for tensor in {id(t): t for t in stored.values() if t.is_floating_point()}.values():
        tensor.data = tensor.data.to(dtype)
    model.config.dtype = dtype
    return model
