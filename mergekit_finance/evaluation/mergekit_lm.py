"""`lm_eval --model mergekit`: merge a recipe in memory and evaluate it, without a checkpoint on disk.

    lm_eval --model mergekit --model_args recipe=R.yml,set.lambda=0.4 --tasks finance_bench

`recipe` is any recipe that mergekit accepts. `set.<path>=value` changes it before it is checked:

    set.lambda=0.4              the method's parameter
    set.density=0.3             a parameter of each model: set for every model
    set.models[0].weight=0.7    one model's parameter
    set.dtype=float32           a key of the recipe
    set.slices[1].sources[0].parameters.weight=1    any place, by its path

The other arguments are those of `--model hf`, except those that concern a checkpoint on disk, and
`engine=hf`, which computes all answers as `hf` does; without it, they are computed sooner where the model is
supported (`evaluation.inference`). `parallelize=True` spreads the merge over all GPUs, as with `hf`, and
`max_memory_per_gpu` bounds what each holds of its weights.
"""

import hashlib
import inspect
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from lm_eval.models.huggingface import HFLM

from mergekit_finance.checks.check_all import check_all
from mergekit_finance.checks.contexts import (
    check_context,
    check_special_tokens,
    context_of,
    tokenizer_context,
    tokens_generated,
)
from mergekit_finance.checks.findings import Findings, finding
from mergekit_finance.checks.output import check_output, check_output_file
from mergekit_finance.errors import ModelError, RecipeError, did_you_mean, first_line, printable
from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.files import Json, writable_folder
from mergekit_finance.hosts.lm_eval_caches import separate_answers
from mergekit_finance.hosts.lm_eval_output import folder_name, quiet, results_folder
from mergekit_finance.hosts.lm_eval_request import Request, current_request
from mergekit_finance.merge_methods.check_output import inputs_of
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.models import live_tokenizers
from mergekit_finance.models.facts import load_config
from mergekit_finance.models.live_fingerprint import live_fingerprint
from mergekit_finance.models.loading import cast, load_tokenizer
from mergekit_finance.models.spread import Spread, is_spread
from mergekit_finance.plugins.manager import task_folders
from mergekit_finance.recipe.load import Recipe
from mergekit_finance.recipe.merge_label import PREFIX, label
from mergekit_finance.recipe.overrides import load_changed

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import CacheHook
    from mergekit.config import MergeConfiguration
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.hosts.lm_eval_request import Settings

LOG = logging.getLogger(__name__)
Argument: TypeAlias = (
    "Json | torch.dtype | torch.device"  # a model argument, as the command line or Python gives it
)
Arguments: TypeAlias = Mapping[str, Argument]

BATCH_SIZE = re.compile(r"[1-9]\d{0,4}|auto(:[1-9]\d{0,4})?")
ENGINES = ("auto", "hf", "compiled")
ON_DISK = "write the merge with mergekit-yaml and evaluate that folder with --model hf"
REFUSED = {
    "pretrained": "the recipe names the models",
    "revision": "pin a model in the recipe: owner/name@revision",
    "subfolder": "name the folder itself in the recipe",
    "peft": "merge the adapter into its model first, and name the result in the recipe",
    "delta": "write it into the recipe as a model of its own",
    "gguf_file": "mergekit reads safetensors",
    "backend": "the merged model's config decides it",
}
for _name in ("max_cpu_memory", "offload_folder", "device_map", "tp_plan", "autogptq", "gptqmodel",
              "load_in_4bit", "load_in_8bit", "quantization_config", "attn_implementation"):  # fmt: skip
    REFUSED[_name] = ON_DISK
# Arguments that change no answer, or only through something that is in the fingerprint. The batch size
# changes at most the last bits, so a run that ran out of memory can continue from its cache with a smaller
# batch.
NOT_IN_ANSWERS = (
    "batch_size", "max_batch_size", "logits_cache", "tokenizer", "trust_remote_code", "use_fast_tokenizer",
)  # fmt: skip


class MergekitLM(CompiledLM):
    """lm-eval's `hf` model on a merge, which is made when the model is created."""

    def __init__(self, recipe: str | None = None, **arguments: Argument) -> None:
        """Check arguments, recipe and models, then merge.

        Args:
            recipe: path of the recipe.
            arguments: `set.<path>` changes the recipe; all others are those of lm-eval's `hf` model.

        Raises:
            RecipeError: an argument or the recipe is wrong.
            ModelError: a model of the recipe is missing or does not fit, or the device cannot be used.
        """
        overrides, options = _overrides_and_options(arguments)
        if not isinstance(recipe, str) or not recipe:
            raise RecipeError("--model mergekit: give a recipe: --model_args recipe=FILE.yml")
        _check_options(options)
        device = _checked_device(options.pop("device", None))
        spread = _spread(options, device)
        dtype = _checked_dtype(options.pop("dtype", None))
        trust = bool(options.get("trust_remote_code"))
        changed = load_changed(recipe, overrides)
        configuration = changed.configuration()
        merge_label = label({"recipe": recipe, **arguments})
        _check_before_merge(changed, configuration, options, device, spread is not None, merge_label)
        self.recipe = str(changed.path)
        self.merge, self.seed = changed.merge, changed.seed
        self._settings: dict[str, Json] = {
            name: value if isinstance(value, int | float | dict) else str(value)
            for name, value in options.items()
            if name not in NOT_IN_ANSWERS
        }
        if spread is not None:
            LOG.warning("%s", spread.summary(load_config(changed.models[0], trust), dtype))
        model, tokenizer = _merge(configuration, device, trust, changed.seed, spread)
        live_tokenizers.store_tokenizer(merge_label, tokenizer)
        model = cast(model, dtype)
        if not is_spread(model):
            torch.nn.Module.to(model, device)
        # The tokenizer as a folder: HFLM applies add_bos_token and use_fast_tokenizer only to those.
        with tempfile.TemporaryDirectory() as folder, quiet():
            tokenizer.save_pretrained(folder)
            engine = "hf" if spread else str(options.get("engine", "auto"))
            options.pop("engine", None)
            super().__init__(pretrained=model, engine=engine, **{"tokenizer": folder, **options})
        if "tokenizer" not in options:
            self.tokenizer.name_or_path = tokenizer.name_or_path

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Argument], additional_config: Arguments | None = None
    ) -> "MergekitLM":
        """Create the model, and set its name in lm-eval's results, which would otherwise be random.

        Args:
            arg_dict: the model arguments; lm-eval reads the name from its key `model`, which is added.
            additional_config: batch size and device, as lm-eval passes them.
        """
        name = folder_name(label(arg_dict))
        arguments = {k: v for k, v in arg_dict.items() if (k, v) != ("model", name)}
        recipe = arguments.pop("recipe", None)
        extra = {k: v for k, v in (additional_config or {}).items() if v is not None}
        lm = cls(recipe if isinstance(recipe, str) else None, **{**arguments, **extra})
        arg_dict["model"] = name
        return lm

    def set_cache_hook(self, cache_hook: "CacheHook") -> None:
        """Restrict `--use_cache` to answers of this merge with the same settings."""
        separate_answers(cache_hook, self._fingerprint)
        super().set_cache_hook(cache_hook)

    def _fingerprint(self) -> str:
        with quiet():
            return live_fingerprint(self.model, self.tokenizer, self._settings)

    def loglikelihood(
        self, requests: "list[Instance]", disable_tqdm: bool = False
    ) -> "list[tuple[float, bool]]":
        """Compute as `hf` does; without a bos or eos token, raise one line, not a TypeError."""
        if self.prefix_token_id is None:
            Findings(check_special_tokens("the merged model", self.tokenizer)).raise_errors(self.recipe)
        return super().loglikelihood(requests, disable_tqdm)

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Generate as `hf` does; for answers that fill the context, raise one line, not an AssertionError."""
        settings = {str(request.task_name): request.args[1] for request in requests}
        _check_contexts(self.recipe, "the merged model", self.max_length, settings)
        return super().generate_until(requests, disable_tqdm)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a conversation as `hf` does; without a chat template, raise one line, not a ValueError."""
        if not self.tokenizer.chat_template:
            raise finding("model.no-chat-template", "the merged model has no chat template").as_error(
                self.recipe
            )
        text: str = super().apply_chat_template(chat_history, add_generation_prompt)
        return text

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name and a hash of its rendering of a chat, for the files of `--cache_requests`.

        The merge of a recipe has the name of one of its models, but possibly another chat template.
        """
        tokenizer = self.tokenizer
        chat = [tokenizer.chat_template, tokenizer.special_tokens_map, self.chat_template_args]
        text = json.dumps(chat, sort_keys=True, default=str)
        return f"{super().tokenizer_name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def get_model_info(self) -> dict[str, Json]:
        """Return the entries of the results' `config`: those of lm-eval, and the recipe with its changes."""
        return {
            **super().get_model_info(),
            "model_revision": "",
            "merge": self.merge,
            "merge_seed": self.seed,
        }


def _overrides_and_options(arguments: Arguments) -> tuple[dict[str, Json], dict[str, Argument]]:
    """Split model arguments into values to set in the recipe (`set.<path>`), and arguments of `hf`."""
    overrides: dict[str, Json] = {
        name.removeprefix(PREFIX): str(value) if isinstance(value, torch.dtype | torch.device) else value
        for name, value in arguments.items()
        if name.startswith(PREFIX)
    }
    return overrides, {name: value for name, value in arguments.items() if not name.startswith(PREFIX)}


def _check_before_merge(
    recipe: Recipe,
    configuration: "MergeConfiguration",
    options: Arguments,
    device: str,
    parallelize: bool,
    merge_label: str,
) -> None:
    """Check output paths, models, the tokenizer and the tasks, all before the merge is made.

    Args:
        recipe: the recipe with the values that were set in it.
        configuration: the same as mergekit's object.
        options: arguments of `hf`.
        device: where the merge is evaluated.
        parallelize: whether it is spread over all GPUs.
        merge_label: the merge's name in the results.
    """
    request, trust = current_request(), bool(options.get("trust_remote_code"))
    if request is not None:
        _check_outputs(request, configuration, folder_name(merge_label))
    settings = recipe.merge_settings
    settings["device"], settings["chat"] = device, request is not None and request.chat
    settings["parallelize"] = parallelize
    check_all(
        recipe.models,
        str(recipe.path),
        say=lambda line: LOG.warning(printable(line)),
        trust_remote_code=trust,
        **settings,
    )
    tokenizer_name = options.get("tokenizer")
    if isinstance(tokenizer_name, str):
        load_tokenizer(tokenizer_name, trust)  # a wrong one is reported before the merge
    if request is not None:
        _check_tasks(request, recipe, options)


def _check_options(options: Arguments) -> None:
    """Refuse arguments of `hf` that a merge in memory cannot honor; `hf` would ignore them silently."""
    parameters = inspect.signature(HFLM.__init__).parameters
    for name, value in options.items():
        if name in parameters and value == parameters[name].default:
            continue
        if name in REFUSED:
            raise RecipeError(f"--model mergekit: {name}= does not apply to a merge; {REFUSED[name]}")
        if name == "engine" and value in ENGINES:
            continue
        if name == "engine":
            hint = did_you_mean(str(value), ENGINES)
            raise RecipeError(f"--model mergekit: unknown engine {value!r}. {hint}")
        if name not in parameters or name in ("self", "kwargs"):
            choices = [n for n in parameters if n not in (*REFUSED, "self", "kwargs")]
            hint = did_you_mean(name, [*choices, "engine", "recipe", f"{PREFIX}<parameter>"])
            raise RecipeError(f"--model mergekit: unknown argument {name!r}. {hint}")
    _check_numbers(options)
    if options.get("enable_thinking") and options.get("think_end_token") is None:
        raise RecipeError("--model mergekit: enable_thinking needs think_end_token=, as with --model hf")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "--model mergekit: runs in one process; start lm_eval without accelerate or torchrun"
        )


def _check_numbers(options: Arguments) -> None:
    """Refuse batch sizes and lengths with which `hf` ends in a traceback, after the merge."""
    size, length = options.get("batch_size"), options.get("max_length")
    if size is not None and not BATCH_SIZE.fullmatch(str(size)):
        raise RecipeError(f"--model mergekit: batch_size {size!r}: use a number above 0, auto or auto:N")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise RecipeError(f"--model mergekit: max_length {length!r}: use a whole number above 0")


def _check_outputs(request: Request, configuration: "MergeConfiguration", name: str) -> None:
    """Refuse results and stored answers in an input's folder, whose bytes identify the model.

    Refuse also results whose folder has the name of a file, such as the recipe's, or cannot be written:
    lm-eval would lose them.

    Args:
        request: what lm-eval was asked to do.
        configuration: the merge.
        name: the merge's name in the results.
    """
    inputs, option = inputs_of(configuration), "--output_path "
    if request.output is not None and (file := results_folder(request.output, name)).is_file():
        message = f"{option}{request.output}: results are written to {file}, which is a file"
        raise finding("output.not-a-directory", message).as_error()
    if request.cache is not None:
        check_output_file(request.cache, inputs, "--use_cache ")
    if request.output is None:
        return
    if request.output.suffix == ".json":  # lm-eval takes a file, too
        check_output_file(request.output, inputs, option)
    else:
        check_output(request.output, inputs, option, within_only=True)
    folder = request.output.parent if request.output.suffix == ".json" else request.output
    if reason := writable_folder(folder):  # lm-eval would only log that it cannot write
        raise finding("output.not-writable", f"{option}{request.output}: {reason}").as_error()


def _check_tasks(request: Request, recipe: Recipe, options: Arguments) -> None:
    """Refuse tasks whose answers fill the context of the merged model, which has its first model's config."""
    settings = request.generation_settings(task_folders())
    if not settings:
        return
    first, trust = recipe.models[0], bool(options.get("trust_remote_code"))
    stated, tokenizer = options.get("max_length"), str(options.get("tokenizer") or first)
    context = stated if isinstance(stated, int) else context_of(load_config(first, trust))
    if context is None:
        context = tokenizer_context(load_tokenizer(tokenizer, trust))
    _check_contexts(str(recipe.path), "the merged model", context, settings)


def _check_contexts(where: str, model: str, context: int, settings: "Mapping[str, Settings]") -> None:
    generated = {task: tokens_generated(task, values) for task, values in settings.items()}
    remedy = "Set --gen_kwargs max_gen_toks=N with a smaller number, or leave the task out."
    Findings(check_context(model, context, generated, remedy)).raise_errors(where)


def _checked_device(name: Argument) -> str:
    """Return the device to use: as `hf`, cuda by default, and the CPU on a machine without a GPU."""
    device = "cuda" if name is None else str(name)
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "cpu"
    try:
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise ModelError(f"--model mergekit: device {device!r} cannot be used ({reason})") from error
    return device


def _spread(options: dict[str, Argument], device: str) -> Spread | None:
    """Take `parallelize` and `max_memory_per_gpu` out of the options, and return what they ask for."""
    parallelize, bound = options.pop("parallelize", None), options.pop("max_memory_per_gpu", None)
    if bound is not None and not parallelize:
        raise RecipeError("--model mergekit: max_memory_per_gpu= needs parallelize=True, as with --model hf")
    if not parallelize:
        return None
    if options.get("engine") == "compiled":
        raise RecipeError(
            "--model mergekit: engine=compiled answers on one GPU; with parallelize, leave it out"
        )
    return Spread.over(device, bound if isinstance(bound, int) else None if bound is None else str(bound))


def _checked_dtype(name: Argument) -> torch.dtype | None:
    """Return the dtype of this name; None (also for `auto`): the recipe's."""
    if name is None or name == "auto":
        return None
    dtype = name if isinstance(name, torch.dtype) else getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        choices = ["auto", "float32", "bfloat16", "float16"]
        raise RecipeError(
            f"--model mergekit: dtype {name!r} is not known. {did_you_mean(str(name), choices)}"
        )
    return dtype


def _merge(
    configuration: "MergeConfiguration",
    device: str,
    trust_remote_code: bool,
    seed: int | None,
    spread: Spread | None,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    from mergekit.options import MergeOptions  # imported here: loading mergekit takes seconds

    options = MergeOptions(device=device, trust_remote_code=trust_remote_code, random_seed=seed)
    return merge(configuration, options, check=False, spread=spread)
