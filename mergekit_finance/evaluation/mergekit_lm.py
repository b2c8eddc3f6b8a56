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

import copy
import inspect
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from lm_eval.models.huggingface import HFLM

from mergekit_finance.errors import MergekitFinanceError, ModelError, RecipeError, did_you_mean
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models import checks as models
from mergekit_finance.models import live_tokenizers
from mergekit_finance.recipe import load as recipes
from mergekit_finance.recipe.overrides import PREFIX, label

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration
    from mergekit.merge_methods.base import ParameterSpec
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
        changed = load(str(recipe), overrides)
        configuration = changed.configuration()
        check_models(changed, trust)
        if isinstance(options.get("tokenizer"), str):
            merging.load_tokenizer(options["tokenizer"], trust)  # a wrong one is said before the merge
        self.merge = changed.merge
        model, tokenizer = _merge(configuration, device, trust)
        live_tokenizers.register(label({"recipe": recipe, **arguments}), tokenizer)
        self._live(merging.cast(model, dtype).to(device), tokenizer, options)

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


# --- the recipe and what is set in it


def load(path: str, overrides: Mapping[str, Any]) -> recipes.Recipe:
    """A recipe with values set in it; all checks of `recipe.load` are made on the changed one."""
    found = recipes.load(path)
    merge = copy.deepcopy(found.merge)
    for place, value in overrides.items():
        _set(merge, place, value, path)
    return replace(check_mapping(merge, label({"recipe": path} | _prefixed(overrides))), path=found.path)


def _prefixed(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{PREFIX}{place}": value for place, value in overrides.items()}


def check_mapping(merge: dict[str, Any], name: str) -> recipes.Recipe:
    """Read back as the file it could have been; a mistake is named after the recipe and the changes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yml"
        file.write_text(yaml.safe_dump(merge, sort_keys=False), encoding="utf-8")
        try:
            return recipes.load(file)
        except MergekitFinanceError as fault:
            raise RecipeError(str(fault).replace(str(file), name)) from fault


def _set(merge: dict[str, Any], place: str, value: Any, path: str) -> None:
    where = f"{path}: {PREFIX}{place}"
    if re.fullmatch(r"\w+", place):
        _set_by_name(merge, place, value, where)
    else:
        _set_by_path(merge, place, value, where)


def _set_by_name(merge: dict[str, Any], name: str, value: Any, where: str) -> None:
    """A key of the recipe, or a parameter: of the method, or of each of its models."""
    specs = _specs(merge)
    keys = _keys()
    if name in keys:
        merge[name] = value
    elif name not in specs:
        raise RecipeError(f"{where}: unknown parameter {name!r}. {did_you_mean(name, [*specs, *keys])}")
    elif specs[name].scope == "shared":
        for block in _blocks(merge):
            (block.get("parameters") or {}).pop(name, None)
        _parameters(merge)[name] = value
    else:
        for item in _inputs(merge, with_base=specs[name].scope == "input"):
            _parameters(item)[name] = value


def _keys() -> list[str]:
    """Keys of a recipe that hold one value."""
    from mergekit.config import MergeConfiguration

    nested = ("modules", "slices", "models", "tokenizer", "parameters")
    return [key for key in MergeConfiguration.model_fields if key not in nested]


def _specs(merge: dict[str, Any]) -> "dict[str, ParameterSpec]":
    from mergekit.merge_methods import registered_methods

    return next({p.name: p for p in m.spec.parameters} for m in registered_methods()
                if m.spec.name == merge["merge_method"])  # fmt: skip


def _parameters(block: dict[str, Any]) -> dict[str, Any]:
    block["parameters"] = block.get("parameters") or {}
    return block["parameters"]


def _blocks(value: Any) -> Iterator[dict[str, Any]]:
    """Modules and slices, at any depth: their parameters come before the recipe's own."""
    for module in (value.get("modules") or {}).values():
        yield module
        yield from _blocks(module)
    yield from value.get("slices") or ()


def _inputs(merge: dict[str, Any], with_base: bool) -> Iterator[dict[str, Any]]:
    """Every entry that names a model to merge."""
    for block in (merge, *_blocks(merge)):
        for item in (*(block.get("models") or ()), *(block.get("sources") or ())):
            if with_base or item.get("model") != merge.get("base_model"):
                yield item


def _set_by_path(merge: dict[str, Any], place: str, value: Any, where: str) -> None:
    """`models[0].weight`, `slices[1].sources[0].parameters.weight`, `tokenizer.source`."""
    if not re.fullmatch(r"[\w-]+(\[\d+\])*(\.[\w-]+(\[\d+\])*)*", place):
        raise RecipeError(f"{where}: not a path; write it like models[0].weight or tokenizer.source")
    *steps, last = re.findall(r"[^.\[\]]+", place)
    container: Any = merge
    for step in steps:
        container = _step(container, step, where)
    if isinstance(container, list):
        _step(container, last, where)
        container[int(last)] = value
    elif not isinstance(container, dict):
        raise RecipeError(f"{where}: nothing has a part {last!r} there")
    elif "model" in container and last in _specs(merge):
        _parameters(container)[last] = value
    else:
        container[last] = value


def _step(container: Any, step: str, where: str) -> Any:
    if isinstance(container, list) and step.isdigit():
        if int(step) < len(container):
            return container[int(step)]
        raise RecipeError(f"{where}: [{step}] is not there; it has {len(container)} entries, from 0 on")
    if isinstance(container, dict):
        if step == "parameters":
            return _parameters(container)
        if container.get(step) is not None:
            return container[step]
        raise RecipeError(f"{where}: no {step!r} there. {did_you_mean(step, container)}")
    raise RecipeError(f"{where}: nothing has a part {step!r} there")


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


def check_models(changed: recipes.Recipe, trust_remote_code: bool) -> None:
    """All of the recipe's models are there and fit together."""
    where = str(changed.path)
    names = list(dict.fromkeys([*((changed.base,) if changed.base else ()), *changed.experts]))
    for name in names:
        models.check_reference(name, where)
    aligned = bool(changed.merge.get("tokenizer") or changed.merge.get("tokenizer_source"))
    models.check_fit(names, where, vocabulary=not aligned, trust_remote_code=trust_remote_code)


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
