"""`lm_eval --model mergekit`: a merge is evaluated while it lives, with no checkpoint on disk.

    lm_eval --model mergekit --model_args recipe=R.yml,set.lambda=0.4 --tasks finance_bench

`recipe` is any recipe that mergekit takes. `set.<path>=value` changes it before it is checked:

    set.lambda=0.4              the method's parameter
    set.density=0.3             a parameter that models have one by one: every model's
    set.models[0].weight=0.7    one model's
    set.dtype=float32           a key of the recipe
    set.slices[1].sources[0].parameters.weight=1    any place, by its path

The other arguments are those of `--model hf`, less those that are about a checkpoint on disk.
"""

import inspect
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM

from mergekit_finance.checks.models import check_fit, check_reference
from mergekit_finance.errors import ModelError, RecipeError, did_you_mean
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models import live_tokenizers
from mergekit_finance.models.facts import read_facts
from mergekit_finance.models.load import cast, load_tokenizer
from mergekit_finance.recipe.labels import PREFIX, label
from mergekit_finance.recipe.load import Recipe
from mergekit_finance.recipe.overrides import load_changed

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ON_DISK = "write the merge with mergekit-yaml and evaluate that folder with --model hf"
REFUSED = {
    "pretrained": "the recipe names the models",
    "revision": "pin a model in the recipe: owner/name@revision",
    "subfolder": "name the folder itself in the recipe",
    "peft": "write the adapter into the recipe: model+adapter",
    "delta": "write it into the recipe as a model of its own",
    "gguf_file": "mergekit reads safetensors",
    "backend": "the merged model says itself what it is",
}
for _name in ("parallelize", "max_memory_per_gpu", "max_cpu_memory", "offload_folder", "device_map",
              "tp_plan", "autogptq", "gptqmodel", "load_in_4bit", "load_in_8bit", "quantization_config",
              "attn_implementation"):  # fmt: skip
    REFUSED[_name] = ON_DISK


class MergekitLM(HFLM):
    """HFLM over a model that mergekit makes now."""

    def __init__(self, recipe: str | None = None, **arguments: Any) -> None:
        overrides = {k.removeprefix(PREFIX): v for k, v in arguments.items() if k.startswith(PREFIX)}
        options = {k: v for k, v in arguments.items() if not k.startswith(PREFIX)}
        _check_arguments(recipe, options)
        device = _device(options.pop("device", None))
        dtype = _dtype(options.pop("dtype", None))
        trust = bool(options.get("trust_remote_code"))
        changed = load_changed(str(recipe), overrides)
        configuration = changed.configuration()
        check_models(changed, trust)
        if isinstance(options.get("tokenizer"), str):
            load_tokenizer(options["tokenizer"], trust)  # a wrong one is said before the merge
        self.merge = changed.merge
        model, tokenizer = _merge(configuration, device, trust)
        live_tokenizers.register(label({"recipe": recipe, **arguments}), tokenizer)
        self._live(cast(model, dtype).to(device), tokenizer, options)

    def _live(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", options: dict[str, Any]
    ) -> None:
        """The tokenizer as a folder: HFLM applies add_bos_token and use_fast_tokenizer only to those."""
        with tempfile.TemporaryDirectory() as folder, _expected_warnings():
            tokenizer.save_pretrained(folder)
            super().__init__(pretrained=model, **({"tokenizer": folder} | options))
        if "tokenizer" not in options:
            self.tokenizer.name_or_path = tokenizer.name_or_path

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "MergekitLM":
        """Also names the model for lm-eval's results, which would otherwise carry a random name."""
        name = label(arg_dict)
        arguments = {k: v for k, v in arg_dict.items() if (k, v) != ("model", name)}
        extra = {k: v for k, v in (additional_config or {}).items() if v is not None}
        made = cls(**(arguments | extra))
        arg_dict["model"] = name  # the tracker looks for it here, and nowhere else
        return made

    def get_model_info(self) -> dict[str, Any]:
        """What goes into the results' `config`: the recipe as it was merged, overrides included."""
        return super().get_model_info() | {"model_revision": "", "merge": self.merge}


# --- what can be wrong before weights are read


def _check_arguments(recipe: str | None, options: Mapping[str, Any]) -> None:
    """The arguments of hf that a merge in memory can honour; what hf would drop in silence is refused."""
    if not isinstance(recipe, str) or not recipe:
        raise RecipeError("--model mergekit: give a recipe: --model_args recipe=FILE.yml")
    known = inspect.signature(HFLM.__init__).parameters
    for name, value in options.items():
        if name in known and value == known[name].default:
            continue
        if name in REFUSED:
            raise RecipeError(f"--model mergekit: {name}= does not apply to a merge; {REFUSED[name]}")
        if name not in known or name in ("self", "kwargs"):
            choices = [n for n in known if n not in (*REFUSED, "self", "kwargs")]
            hint = did_you_mean(name, [*choices, "recipe", f"{PREFIX}<parameter>"])
            raise RecipeError(f"--model mergekit: unknown argument {name!r}. {hint}")
    if options.get("enable_thinking") and options.get("think_end_token") is None:
        raise RecipeError("--model mergekit: enable_thinking needs think_end_token=, as with --model hf")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "--model mergekit: runs in one process; start lm_eval without accelerate or torchrun"
        )


def _device(name: str | None) -> str:
    """As hf: cuda unless told otherwise, and the CPU on a machine without; a wrong name is refused."""
    name = "cuda" if name is None else str(name)
    if name.startswith("cuda") and not torch.cuda.is_available():
        return "cpu"
    try:
        torch.zeros(1, device=name).tolist()
    except (RuntimeError, AssertionError) as fault:
        reason = str(fault).splitlines()[0]
        raise ModelError(f"--model mergekit: device {name!r} cannot be used ({reason})") from fault
    return name


def _dtype(name: Any) -> torch.dtype | None:
    """None: as the recipe leaves it."""
    if name in (None, "auto") or isinstance(name, torch.dtype):
        return None if name == "auto" else name
    found = getattr(torch, str(name), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        choices = ["auto", "float32", "bfloat16", "float16"]
        raise RecipeError(f"--model mergekit: dtype {name!r} is not known. {did_you_mean(name, choices)}")
    return found


def check_models(changed: Recipe, trust_remote_code: bool) -> None:
    """All of the recipe's models are there and fit together."""
    where = str(changed.path)
    for reference in changed.models:
        check_reference(reference, where)
    facts = [read_facts(reference, trust_remote_code) for reference in changed.models]
    check_fit(facts, where, vocabulary=not changed.aligns_vocabularies)


# --- the live model


def _merge(
    configuration: "MergeConfiguration", device: str, trust: bool
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    from mergekit.options import MergeOptions

    return merging.merge(configuration, MergeOptions(device=device, trust_remote_code=trust))


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """HFLM warns that a live model may lose arguments; here none is lost."""

    def other(record: logging.LogRecord) -> bool:
        return "already-initialized" not in record.msg and "not of type `str`" not in record.msg

    logger = logging.getLogger("lm_eval.models.huggingface")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
