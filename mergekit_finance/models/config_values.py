"""The types of values in config.json and tokenizer files, which transformers requires when it loads them.

Without these checks a wrong type is found when the model is evaluated, or not at all by commands that do not
load it. Keys that are not listed here are not checked.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.files import Json, JsonObject

DTYPE = re.compile(
    r"(torch\.)?(auto|double|half|float|bool|bfloat16|float(16|32|64|[48]_\w+)|u?int\d+|complex\d+)"
)
COPY = "Correct it, or copy or fetch the file again."
LARGEST_ID = 2**63  # token ids are 64-bit integers
ROPE = ("rope_parameters", "rope_scaling")
ROPE_NUMBERS = {  # rope type -> the numbers that it needs
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
ROPE_LISTS = {"longrope": ("short_factor", "long_factor")}  # rope type -> the lists of numbers that it needs
OPTIONAL_ROPE = ("beta_fast", "beta_slow", "attention_factor")  # numbers, or null
DROPOUTS = ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout")


def _is_whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_id(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_decimal_share(value: Json) -> bool:
    return isinstance(value, float) and 0 <= value <= 1


def _is_side(value: Json) -> bool:
    return isinstance(value, str) and value in ("left", "right")


def _is_length(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_window(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_token_ids(value: Json) -> bool:
    return all(map(_is_id, value)) if isinstance(value, list) else _is_id(value)


def _is_dtype(value: Json) -> bool:
    return isinstance(value, str) and DTYPE.fullmatch(value) is not None


def _rope_problem(value: Mapping[str, Json]) -> str:
    """Return what is wrong with one mapping of rotary settings, or one for each type of layer; else ""."""
    by_layer = [part for part in value.values() if isinstance(part, Mapping)]
    if by_layer and value.get("rope_theta", 1) is None:  # as transformers below 5.10 saves Gemma 3
        value = {key: part for key, part in value.items() if key != "rope_theta"}
    return next(filter(None, map(_rope_block_problem, [value, *by_layer])), "")


def _rope_block_problem(block: Mapping[str, Json]) -> str:
    """Return what is wrong with one mapping of rotary settings, without those of layer types; else ""."""
    value = block.get("rope_type", block.get("type"))
    if value is not None and not isinstance(value, str):
        return f"has rope_type {value!r:.40}, which is not text"
    kind = value or ""
    for key in ROPE_NUMBERS.get(kind, ()):
        if not _is_number(block.get(key)):
            return f"has no number {key}, which the rope_type {kind} needs"
    for key in ROPE_LISTS.get(kind, ()):
        if not _are_numbers(block.get(key)):
            return f"has no list of numbers {key}, which the rope_type {kind} needs"
    given = [key for key in OPTIONAL_ROPE if block.get(key) is not None]
    for key in (*(["rope_theta"] if "rope_theta" in block else ()), *given):
        if not _is_number(block[key]):
            return f"has {key} {block[key]!r:.40}, which is not a number"
    return ""


def _are_numbers(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


# What a value must be, in words, and a function that checks it. No value (null) is allowed everywhere.
Rule = tuple[str, Callable[[Json], bool]]
WHOLE: Rule = ("a whole number", _is_whole)
NUMBER: Rule = ("a number", _is_number)
LENGTH: Rule = ("a whole number of at least 1", _is_length)
SWITCH: Rule = ("true or false", lambda value: isinstance(value, bool))
TEXT: Rule = ("text", lambda value: isinstance(value, str))
TOKEN: Rule = ("text or a token", lambda value: _is_token(value))
MAPPING: Rule = ("a mapping", lambda value: isinstance(value, Mapping))
SIDE: Rule = ("left or right", _is_side)
CONFIG_RULES: dict[str, Rule] = {
    "model_type": TEXT,
    "hidden_act": TEXT,
    "hidden_activation": TEXT,
    "max_position_embeddings": LENGTH,
    "sliding_window": ("a whole number of at least 0", _is_window),
    "tie_word_embeddings": SWITCH,
    "attention_bias": SWITCH,
    "mlp_bias": SWITCH,
    "use_cache": SWITCH,
    "rms_norm_eps": ("a number from 0 to 1 with a decimal point", _is_decimal_share),
    "layer_norm_eps": ("a number from 0 to 1", _is_share),
    **dict.fromkeys(DROPOUTS, ("a number from 0 to 1", _is_share)),
    "rope_theta": NUMBER,
    "initializer_range": ("a number from 0 to 1", _is_share),
    "return_dict": ("true", lambda value: value is True),  # lm-eval reads the outputs of a model by name
    "auto_map": MAPPING,
    "base_model_tp_plan": MAPPING,
    "per_layer_config": ("a mapping of layers to settings", lambda value: _are_labels(value)),
    "output_hidden_states": SWITCH,
    "num_labels": LENGTH,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), ("a token id", _are_token_ids)),
    **dict.fromkeys(("dtype", "torch_dtype"), ("a dtype", _is_dtype)),
    **dict.fromkeys(ROPE, MAPPING),
    "quantization_config": MAPPING,
    "id2label": ("a mapping of numbers to labels", lambda value: _are_labels(value)),
}
TEMPLATES: Rule = ("text, or named templates that are text", lambda value: _are_templates(value))
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
LISTS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")
FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")  # of a token
# Keys of config.json that transformers reads without a check for null.
CONFIG_NOT_NULL = ("auto_map", "num_labels", "return_dict")
# Keys of tokenizer_config.json that transformers reads without a check for null.
NOT_NULL = (
    "padding_side", "truncation_side", "split_special_tokens", "model_input_names", "added_tokens_decoder",
    "auto_map",
)  # fmt: skip
TOKENIZER_RULES: dict[str, Rule] = {
    "model_max_length": NUMBER,
    "added_tokens_decoder": ("a mapping of token ids to tokens", lambda value: _are_added_tokens(value)),
    "tokenizer_class": TEXT,
    "chat_template": TEMPLATES,
    **dict.fromkeys(SPECIAL, TOKEN),
    "split_special_tokens": SWITCH,
    "init_inputs": ("a list", lambda value: isinstance(value, list)),
    "auto_map": ("a mapping of classes", lambda value: _is_auto_map(value)),
    "model_specific_special_tokens": (
        "a mapping of names to tokens",
        lambda value: isinstance(value, Mapping) and _are_tokens(list(value.values())),
    ),
    "model_input_names": ("a list of names", lambda value: isinstance(value, list | str)),
    **dict.fromkeys(("padding_side", "truncation_side"), SIDE),
    "additional_special_tokens": ("a list of tokens", lambda value: _are_tokens(value)),
    "extra_special_tokens": (
        "a list of tokens or a mapping of names to tokens",
        lambda value: _are_tokens(list(value.values()) if isinstance(value, Mapping) else value),
    ),
}


def _is_token(value: Json) -> bool:
    return isinstance(value, str) or (
        isinstance(value, Mapping)
        and isinstance(value.get("content"), str)
        and all(isinstance(value.get(flag, False), bool) for flag in FLAGS)
    )


def _are_templates(value: Json) -> bool:
    """A template, a mapping of names to templates, or a list of mappings with `name` and `template`."""
    if isinstance(value, list):
        keys = ("name", "template")
        return all(isinstance(e, Mapping) and all(isinstance(e.get(k), str) for k in keys) for e in value)
    if isinstance(value, Mapping):
        return all(isinstance(text, str) for text in value.values())
    return isinstance(value, str)


def _are_labels(value: Json) -> bool:
    return isinstance(value, Mapping) and all(key.isdecimal() for key in value)


def _is_auto_map(value: Json) -> bool:
    """Return whether `auto_map` names a tokenizer class, or a pair of a slow and a fast one.

    Older files have the pair alone, without a mapping.
    """
    classes = value.get("AutoTokenizer") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and (classes is None or isinstance(classes, str)):
        return True
    return isinstance(classes, list) and len(classes) == 2


def _are_tokens(value: Json) -> bool:
    return isinstance(value, list) and all(map(_is_token, value))


def _are_added_tokens(value: Json) -> bool:
    return isinstance(value, Mapping) and all(
        key.isdecimal() and isinstance(token, Mapping) and _is_token(token) for key, token in value.items()
    )


def check_config_values(path: Path, place: str, config: Mapping[str, Json]) -> None:
    """Raise ModelError if a value in a config, or in a part of it, has a wrong type.

    Args:
        path: of config.json.
        place: of the part, for messages; empty for the whole.
        config: the config.
    """
    for key in CONFIG_NOT_NULL:
        if config.get(key, True) is None:
            raise ModelError(f"{path}: {place}{key} is null. Remove the key, or give it a value.")
    _check(path, place, config, CONFIG_RULES, "model.broken")
    for key in ROPE:
        value = config.get(key)
        if isinstance(value, Mapping) and (problem := _rope_problem(value)):
            raise ModelError(f"{path}: {place}{key} {problem}. {COPY}")
    layers, types = config.get("num_hidden_layers"), config.get("layer_types")
    if types is not None and not (isinstance(types, list) and (layers is None or len(types) == layers)):
        raise ModelError(f"{path}: {place}layer_types does not name one type for each layer. {COPY}")


def check_tokenizer_values(
    folder: Path,
    tokenizer_config: JsonObject | None,
    special_tokens: JsonObject | None,
    added_tokens: JsonObject | None,
) -> None:
    """Raise ModelError if a value in a tokenizer's small files has a wrong type.

    Args:
        folder: of the model.
        tokenizer_config, special_tokens, added_tokens: the contents of these files, if they exist.
    """
    id = "model.tokenizer"
    for key in NOT_NULL:
        if tokenizer_config and key in tokenizer_config and tokenizer_config[key] is None:
            path = folder / "tokenizer_config.json"
            raise ModelError(f"{path}: {key} is null. Remove the key, or give it a value.", id=id)
    _check(folder / "tokenizer_config.json", "", tokenizer_config or {}, TOKENIZER_RULES, id)
    _check(folder / "special_tokens_map.json", "", special_tokens or {}, TOKENIZER_RULES, id)
    path = folder / "added_tokens.json"
    _check(path, "", added_tokens or {}, dict.fromkeys(added_tokens or {}, WHOLE), id)
    _check_types_of_tokens(folder, tokenizer_config or {}, special_tokens or {})


def _check_types_of_tokens(folder: Path, config: JsonObject, special_tokens: JsonObject) -> None:
    """Raise ModelError if a token is a mapping that transformers does not take for a token."""
    has_decoder = "added_tokens_decoder" in config  # then transformers does not read special_tokens_map.json
    replaced = [] if has_decoder else [key for key in SPECIAL if key in special_tokens]
    wrong = [("tokenizer_config.json", key) for key in _untyped(config) if key not in replaced]
    if not has_decoder:
        lists = {key: value for key, value in special_tokens.items() if key not in SPECIAL}
        wrong += [("special_tokens_map.json", key) for key in _untyped(lists)]
    for file, key in wrong:
        raise ModelError(
            f'{folder / file}: {key} has no "__type": "AddedToken", and transformers does not load such a '
            "mapping. Add it, or write the text of the token alone.",
            id="model.tokenizer",
        )


def _untyped(values: Mapping[str, Json]) -> Iterator[str]:
    """Yield the keys of tokens that are mappings without the type that transformers requires."""
    for key in (*SPECIAL, *LISTS):
        value = values.get(key)
        tokens = [value] if key in SPECIAL else _parts(value)
        if any(isinstance(token, Mapping) and token.get("__type") != "AddedToken" for token in tokens):
            yield key


def _parts(value: Json) -> list[Json]:
    """Return the values in a list or a mapping; nothing for anything else."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check(path: Path, place: str, values: Mapping[str, Json], rules: Mapping[str, Rule], id: str) -> None:
    for key, (noun, is_right) in rules.items():
        value = values.get(key)
        if value is not None and not is_right(value):
            shown = str(value).lower() if isinstance(value, bool) else f"{value!r:.40}"
            raise ModelError(f"{path}: {place}{key} is {shown}, not {noun}. {COPY}", id=id)
