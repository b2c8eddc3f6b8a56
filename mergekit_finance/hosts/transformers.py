"""Private names of transformers, written for transformers 5.23."""

import ast
import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import HostError, ModelError
from mergekit_finance.hosts.names import TRANSFORMERS

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


def causal_model_class(config: "PretrainedConfig") -> "type[PreTrainedModel]":
    """Return the class of causal language models that a config belongs to.

    Written for transformers 5.23 (`AutoModelForCausalLM._model_mapping`). Raises ModelError if there is none.
    """
    # Imported here to keep --help fast: transformers' models take 2.3 s.
    from transformers import AutoModelForCausalLM

    mapping = TRANSFORMERS.get(AutoModelForCausalLM, "_model_mapping")
    if mapping is None:  # its base class sets the name to None
        raise HostError(TRANSFORMERS.lacks("AutoModelForCausalLM._model_mapping"))
    if type(config) not in mapping:
        raise ModelError(
            f"transformers has no causal language model for {type(config).__name__}. Merge models of an "
            "architecture that AutoModelForCausalLM loads.",
            id="model.unsupported",
        )
    return mapping[type(config)]


@functools.cache
def activations() -> frozenset[str]:
    """Return the names that `hidden_act` may have, without loading transformers; empty if they are elsewhere.

    Written for transformers 5.23 (`activations.ACT2CLS`).
    """
    return _keys_in_source("activations.py", "ACT2CLS")


@functools.cache
def rope_types() -> frozenset[str]:
    """Return the names that `rope_type` may have, without loading transformers; empty if they are elsewhere.

    Written for transformers 5.23 (`modeling_rope_utils.ROPE_INIT_FUNCTIONS`); `default` and the names of
    older models are handled elsewhere in it.
    """
    names = _keys_in_source("modeling_rope_utils.py", "ROPE_INIT_FUNCTIONS")
    return names | {"default", "mrope", "su"} if names else names


@functools.cache
def cache_implementations() -> frozenset[str]:
    """Return the names that `cache_implementation` may have, without loading transformers; empty as above.

    Written for transformers 5.23 (`generation.configuration_utils.*_CACHE_IMPLEMENTATIONS`, tuples of names).
    """
    text = _source("generation/configuration_utils.py")
    tables = re.findall(r"^\w+_CACHE_IMPLEMENTATIONS = \(([^()]*)\)$", text, re.MULTILINE)
    names = frozenset(re.findall(r'"(\w+)"', "".join(tables)))
    return names | {"paged"} if names else names


@functools.cache
def attention_implementations() -> frozenset[str]:
    """Return the names that `attn_implementation` may have, without loading transformers; empty as above.

    Written for transformers 5.23 (`modeling_utils.AttentionInterface._global_mapping`).
    """
    table = re.search(r"^    _global_mapping = \{\n(.*?)^    \}", _source("modeling_utils.py"), re.M | re.S)
    names = frozenset(re.findall(r'"([\w|]+)":', table.group(1))) if table else frozenset[str]()
    return names | {"eager"} if "sdpa" in names else frozenset()


@functools.cache
def experts_implementations() -> frozenset[str]:
    """Return the names that `experts_implementation` may have, without loading transformers; empty as above.

    Written for transformers 5.23 (`integrations.moe.ExpertsInterface._global_mapping`).
    """
    text = _source("integrations/moe.py").partition("class ExpertsInterface")[2]
    table = re.search(r"^    _global_mapping = \{\n(.*?)^    \}", text, re.M | re.S)
    names = frozenset(re.findall(r'"(\w+)":', table.group(1))) if table else frozenset[str]()
    return names | {"eager"} if names else names


@functools.cache
def layer_types() -> frozenset[str]:
    """Return the names that `layer_types` may have, without loading transformers; empty as above.

    Written for transformers 5.23 (`configuration_utils`: `ALLOWED_*_LAYER_TYPES`,
    `_LEGACY_LAYER_TYPE_REMAP`).
    """
    text = _source("configuration_utils.py")
    tables = re.findall(r"^ALLOWED_\w+_LAYER_TYPES = \(\n(.*?)^\)", text, re.M | re.S)
    legacy = re.search(r"^_LEGACY_LAYER_TYPE_REMAP = \{\n(.*?)^\}", text, re.M | re.S)
    names = re.findall(r'^    "(\w+)",', "".join(tables), re.M)
    return frozenset([*names, *re.findall(r'^    "(\w+)":', legacy.group(1) if legacy else "", re.M)])


def missing_attention_package(implementation: str) -> str:
    """Return the package that an `attn_implementation` needs and that is not installed, or "".

    Written for transformers 5.23 (`modeling_utils`: FlashAttention from its package, or by `kernels`).
    """
    packages = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
    package = packages.get(implementation.removeprefix("paged|"), "")
    is_there = not package or any(importlib.util.find_spec(name) for name in (package, "kernels"))
    return "" if is_there else package


@functools.cache
def config_types(model_type: str) -> Mapping[str, frozenset[str]]:
    """Return the types that transformers accepts for keys of config.json, without loading it; {} as above.

    Keys whose types are not all of bool, int, float, str, list, dict and None are left out. Written for
    transformers 5.23 (annotations of configs that are `strict` dataclasses).
    """
    try:
        tree = ast.parse(_model_source(model_type, "configuration"))
    except (ValueError, SyntaxError):
        return {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _is_strict(node) and _model_type(node) == model_type:
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            typed = {f.target.id: _types(f.annotation) for f in fields if isinstance(f.target, ast.Name)}
            return {name: types for name, types in typed.items() if types}
    return {}


def _is_strict(node: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith("strict") for decorator in node.decorator_list)


def _model_type(node: ast.ClassDef) -> str | None:
    for part in node.body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "model_type":
            return ast.literal_eval(part.value) if isinstance(part.value, ast.Constant) else None
    return None


def _types(annotation: ast.expr) -> frozenset[str]:
    """Return the names of the types in an annotation; empty if there is another one."""
    parts = [part.strip() for part in ast.unparse(annotation).split("|")]
    names = frozenset(re.sub(r"\[.*\]$", "", part) for part in parts)
    return names if names <= {"bool", "int", "float", "str", "list", "dict", "None"} else frozenset()


@functools.cache
def model_types() -> frozenset[str]:
    """Return every `model_type` of transformers' configs, without loading it; empty as above.

    Written for transformers 5.23 (`models.auto.*.CONFIG_MAPPING_NAMES`, pairs in two files).
    """
    texts = [_source(f"models/auto/{name}.py") for name in ("auto_mappings", "configuration_auto")]
    pairs = re.findall(
        r"""^\s*[("']+([\w.-]+)["']\s*[,:]\s*["']\w+Config["']""", "\n".join(texts), re.MULTILINE
    )
    return frozenset(pairs) | {"gpt-sw3"} if pairs else frozenset()


@functools.cache
def causal_classes() -> Mapping[str, str]:
    """Return the class of causal language models of each `model_type`, without loading transformers; or {}.

    Written for transformers 5.23 (`models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES`).
    """
    text = _source("models/auto/modeling_auto.py")
    table = re.search(r"^MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = .*?^\)$", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'\("([\w.-]+)", "(\w+)"\)', table.group())) if table else {}


@functools.cache
def pads_embeddings(model_type: str) -> bool:
    """Return whether models of a type pass `pad_token_id` to their embeddings, which need a row for it.

    Written for transformers 5.23 (`self.padding_idx` in the modules of models).
    """
    return "self.padding_idx" in _model_source(model_type, "modeling")


@functools.cache
def needs_whole_heads(model_type: str) -> bool:
    """Return whether configs of a type are refused unless the heads divide the hidden size.

    Written for transformers 5.23 (`validate_architecture` of configs).
    """
    return "self.hidden_size % self.num_attention_heads" in _model_source(model_type, "configuration")


@functools.cache
def divides_width(model_type: str) -> bool:
    """Return whether heads of a type share the hidden size evenly where its config has no `head_dim`.

    Written for transformers 5.23 (`head_dim` in the modules of configs, for other types a number).
    """
    text = _model_source(model_type, "configuration")
    return bool(text) and not re.search(r"^ +head_dim: int = \d+$", text, re.MULTILINE)


@functools.cache
def repeats_key_heads(model_type: str) -> bool:
    """Return whether attention of a type repeats each key head for a whole number of query heads.

    Written for transformers 5.23 (`repeat_kv` in the modules of models).
    """
    return "repeat_kv(" in _model_source(model_type, "modeling")


@functools.cache
def has_rotary_positions(model_type: str) -> bool:
    """Return whether configs of a type have rotary positions.

    Written for transformers 5.23 (`rope_parameters` in the modules of configs).
    """
    return "rope_parameters" in _model_source(model_type, "configuration")


@functools.cache
def unsettable_keys(model_type: str) -> tuple[str, ...]:
    """Return the keys of config.json with which transformers does not load a config of a type; () as above.

    Written for transformers 5.23 (properties of configs without a setter, `sub_configs`, and `text_config`
    in a model without parts).
    """
    text = _model_source(model_type, "configuration")
    if not text or "sub_configs" in text or "text_config" in text:
        return ("use_return_dict",) if text else ()
    return ("use_return_dict", "sub_configs", "text_config")


@functools.cache
def is_mentioned(model_type: str, key: str) -> bool:
    """Return whether the modules of a type of models use a key; True if they are elsewhere."""
    texts = [_model_source(model_type, part) for part in ("configuration", "modeling")]
    return not all(texts) or any(key in text for text in texts)


@dataclass(frozen=True)
class PartialRotary:
    """How models of a type rotate a part of each head.

    Attributes:
        key: of config.json, beside `rope_parameters`, with the share of a head that is rotated.
        default: the share without that key.
        only_even: whether that part must have an even size; otherwise it is rounded up.
    """

    key: str
    default: float
    only_even: bool


@functools.cache
def partial_rotary(model_type: str) -> PartialRotary | None:
    """Return how models of a type rotate a part of each head; None if they rotate all of it.

    Written for transformers 5.23 (`partial_rotary_factor` in the modules of models, its default in those of
    configs).
    """
    model, config = _model_source(model_type, "modeling"), _model_source(model_type, "configuration")
    if "partial_rotary_factor" not in model:
        return None
    default = re.search(r'setdefault\("partial_rotary_factor", (?:kwargs\.\w+\("(\w+)", )?([\d.]+)\)', config)
    key, share = default.groups() if default else (None, 1.0)
    return PartialRotary(
        key or "partial_rotary_factor",
        float(share),
        bool(re.search(r"\.\.\., ?: ?self\.rotary_ndims\]", model)),
    )


def _model_source(model_type: str, part: str) -> str:
    """Return the text of a module of transformers for a type of models, or "" if there is none."""
    name = model_type.removesuffix("_text").replace("-", "_")
    return _source(f"models/{name}/{part}_{name}.py") if name.isidentifier() else ""


def _source(file: str) -> str:
    """Return the text of a module of transformers, or "" if there is none."""
    package = importlib.util.find_spec("transformers")
    for folder in (package.submodule_search_locations or ()) if package else ():
        try:
            return Path(folder, file).read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
    return ""


def _keys_in_source(file: str, table: str) -> frozenset[str]:
    """Return the keys of a dictionary that a module assigns to a name."""
    try:
        tree = ast.parse(_source(file))
    except (ValueError, SyntaxError):
        return frozenset()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        value = getattr(node, "value", None)
        if table in names and isinstance(value, ast.Dict):
            keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
            return frozenset(key for key in keys if isinstance(key, str))
    return frozenset()


def unsplittable_modules(model: "PreTrainedModel") -> list[str]:
    """Return the classes of modules that one device must hold as a whole, such as layers.

    Written for transformers 5.23 (`PreTrainedModel._no_split_modules`).
    """
    return sorted(TRANSFORMERS.get(model, "_no_split_modules") or ())


def untie(model: "PreTrainedModel", name: str) -> "torch.nn.Parameter":
    """Give a parameter that shares another one's memory a copy of its own, and return it.

    Loading a checkpoint that has different values for the two does the same. Written for transformers 5.23
    (`PreTrainedModel.all_tied_weights_keys`, the parameters that are tied again).
    """
    from torch.nn import Parameter

    shared = model.get_parameter(name)
    copied = Parameter(shared.detach().clone(), requires_grad=shared.requires_grad)
    module, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(module), attribute, copied)
    TRANSFORMERS.get(model, "all_tied_weights_keys").pop(name, None)
    return copied


def hide_loading_bars() -> None:
    """Show no bars while weights are loaded."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_generation_config(model: "PreTrainedModel", folder: Path) -> None:
    """Give a model the generation config that `from_pretrained` would give it for this folder.

    Without generation_config.json it is derived from config.json. Written for transformers 5.23
    (`GenerationMixin.adjust_generation_fn`).
    """
    TRANSFORMERS.get(model, "adjust_generation_fn")(
        None,  # generation_config: read it from the folder
        from_auto_class=True,
        from_pipeline=None,
        pretrained_model_name_or_path=folder,
        cache_dir=None,
        force_download=False,
        proxies=None,
        local_files_only=True,
        token=None,
        revision=None,
        subfolder="",
        trust_remote_code=False,
    )
