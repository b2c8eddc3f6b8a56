"""Checks of generation_config.json: what transformers refuses when it loads the file or generates with it.

Without them a wrong value is found after the merge, when the merged model is loaded, saved or evaluated.
Neither torch nor transformers nor mergekit is imported.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.files import Json
from mergekit_finance.hosts.transformers import cache_implementations, is_mentioned
from mergekit_finance.models.config_values import LARGEST_ID

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts

FILE = "generation_config.json"
TOKEN_IDS = (
    "bos_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "decoder_start_token_id",
)  # fmt: skip
LISTED = ("eos_token_id", "forced_eos_token_id", "decoder_start_token_id")  # may be lists
LISTS_OF_IDS = ("suppress_tokens", "begin_suppress_tokens")
SWITCHES = (
    "do_sample",
    "use_cache",
    "remove_invalid_values",
    "return_dict_in_generate",
    "output_hidden_states",
    "use_mtp",
)
# Keys with which a model alone does not generate, and why.
TOKENIZER, ASSISTANT, CODE = (
    f"transformers needs {noun} for it, and lm-eval passes none"
    for noun in ("a tokenizer", "an assistant model", "code of the Hub")
)
NEEDS_MORE = {
    "stop_strings": TOKENIZER,
    "token_healing": TOKENIZER,
    "is_assistant": "transformers needs the model that it assists, and lm-eval passes none",
    "assistant_early_exit": ASSISTANT,
    "assistant_ensemble_weight": ASSISTANT,
    "compile_config": "transformers needs an object of Python, which a JSON file cannot hold",
    "dola_layers": CODE,
    "constraints": CODE,
    "force_words_ids": CODE,
    "penalty_alpha": CODE,
    "use_mtp": "the model has no layers for multi-token prediction (num_mtp_layers in config.json)",
    "return_dict_in_generate": "transformers then returns a mapping, which lm-eval cannot read",
}
SWITCHES_THAT_NEED_MORE = (
    "token_healing",
    "is_assistant",
    "penalty_alpha",
    "use_mtp",
    "return_dict_in_generate",
)
# Settings that end an answer, whatever a task asks for.
ENDS = ("max_new_tokens", "max_time")
WATERMARK_KEYS = frozenset(("greenlist_ratio", "bias", "hashing_key", "seeding_scheme", "context_width"))

Rule = tuple[str, Callable[[float], bool]]  # what a number must be, in words, and a function that checks it
MOST = 10_000  # beams and sequences: transformers allocates memory for each
# transformers refuses a whole number here, unless it is 1, which changes nothing.
DECIMAL: Rule = (
    "a number above 0 with a decimal point",
    lambda n: n > 0 and (isinstance(n, float) or n == 1),
)
WHOLE = ("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size")
# Whether sampled or not. No value (null) is allowed everywhere.
NUMBERS: dict[str, Rule] = {
    **dict.fromkeys(WHOLE, ("a whole number of at least 0", lambda n: n >= 0 and isinstance(n, int))),
    **dict.fromkeys(
        ("max_length", "max_new_tokens", "prefill_chunk_size", "prompt_lookup_num_tokens"),
        ("a whole number of at least 1", lambda n: n >= 1 and isinstance(n, int)),
    ),
    **dict.fromkeys(
        ("num_beams", "num_return_sequences"),
        (f"a whole number from 1 to {MOST}", lambda n: 1 <= n <= MOST and isinstance(n, int)),
    ),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty"), DECIMAL),
    **dict.fromkeys(("length_penalty", "max_time", "guidance_scale"), ("a number", lambda n: True)),
    "penalty_alpha": ("a number of at least 0", lambda n: n >= 0),
}
# Used where do_sample is true, and ignored otherwise; the third part is the value that changes nothing.
SAMPLING: dict[str, tuple[str, Callable[[float], bool], float | None]] = {
    "temperature": (*DECIMAL, 1.0),
    "top_p": ("a number from 0 to 1", lambda n: 0 <= n <= 1, 1.0),
    "top_k": ("a whole number of at least 0", lambda n: n >= 0 and n == int(n), 50),
    "min_p": ("a number from 0 to 1", lambda n: 0 <= n <= 1, None),
    "top_h": ("a number above 0 and up to 1", lambda n: 0 < n <= 1, None),
    "typical_p": ("a number above 0 and up to 1", lambda n: 0 < n <= 1, 1.0),
    "epsilon_cutoff": ("a number from 0 to below 1", lambda n: 0 <= n < 1, 0.0),
    "eta_cutoff": ("a number from 0 to below 1", lambda n: 0 <= n < 1, 0.0),
}
# What transformers takes from config.json if there is no generation_config.json.
OF_CONFIG = (
    *(key for key in NEEDS_MORE if key != "is_assistant"), *ENDS, *LISTS_OF_IDS, "bad_words_ids",
    "sequence_bias", "early_stopping", "forced_bos_token_id", "forced_eos_token_id", "cache_implementation",
    "num_beams", "num_return_sequences", *WHOLE, "exponential_decay_length_penalty", "repetition_penalty",
    "encoder_repetition_penalty", "watermarking_config", "prefill_chunk_size", "prompt_lookup_num_tokens",
)  # fmt: skip


def check_generation(merge: "MergeFacts") -> Iterator[Finding]:
    """Yield values with which transformers cannot load the file or generate.

    What a model alone cannot generate with is an error if it is evaluated, or its config is that of a merge
    that is.
    """
    for model in merge.models:
        config, file = model.generation_config, FILE
        if config is None:  # transformers takes the settings of config.json then
            config, file = {key: model.text[key] for key in OF_CONFIG if key in model.text}, "config.json"
        kind = model.text.get("model_type")
        if isinstance(kind, str) and is_mentioned(kind, "num_mtp_layers"):
            config = {key: value for key, value in config.items() if key != "use_mtp"}
        for one in generation_findings(config, model.reference, file):
            is_error = one.id == "model.generation-unsupported" and merge.is_answering(model)
            yield replace(one, level="error") if is_error else one


def generation_findings(config: Mapping[str, Json], model: str, file: str = FILE) -> Iterator[Finding]:
    """Yield what is wrong with a generation_config.json, and sampling settings that are not used.

    Args:
        config: its content.
        model: the model's reference, for messages.
        file: from which it was read, for messages.
    """
    for key, noun in _wrong_values(config):
        yield finding(
            "model.generation-config", f"model {model!r}: {key} {config[key]!r:.60} in {file} is not {noun}"
        )
    for key in _needing_more(config):
        yield finding(
            "model.generation-unsupported",
            f"model {model!r}: {file} has {key}, but {NEEDS_MORE[key]}",
            f"Remove the key from {file}.",
        )
    for key in ENDS:
        if config.get(key) is not None and _is_number(config[key], lambda n: True):
            yield finding(
                "model.generation-length",
                f"model {model!r}: {file} has {key} {config[key]}, which ends every answer, whatever "
                "max_gen_toks a task has",
                f"Remove the key from {file}.",
            )
    if unused := [] if config.get("do_sample") is True else list(_unused(config)):
        yield finding(
            "model.generation-unused",
            f"model {model!r}: {FILE} has {', '.join(unused)} without do_sample: true",
        )


def _wrong_values(config: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yield each key with a wrong value, and what it must be."""
    for key in TOKEN_IDS:
        if not _is_token_id(config.get(key), several=key in LISTED):
            yield key, "a token id"
    for key in LISTS_OF_IDS:
        value = config.get(key)
        if value is not None and not (isinstance(value, list) and _is_token_id(value, several=True)):
            yield key, "a list of token ids"
    words = config.get("bad_words_ids")
    if words is not None and not (isinstance(words, list) and words and all(map(_is_word, words))):
        yield "bad_words_ids", "a list of lists of token ids"
    if not _is_bias(config.get("sequence_bias")):
        yield "sequence_bias", "a list of pairs, each a list of token ids and a number with a decimal point"
    if not _is_decay(config.get("exponential_decay_length_penalty")):
        yield "exponential_decay_length_penalty", "a pair of a whole number and a number"
    for key in SWITCHES:
        if not isinstance(config.get(key), bool | None):
            yield key, "true or false"
    for key, (noun, is_right) in NUMBERS.items():
        if not _is_number(config.get(key), is_right):
            yield key, noun
    for key, (noun, is_right, _) in SAMPLING.items():
        if not _is_number(config.get(key), is_right if config.get("do_sample") is True else lambda n: True):
            yield key, noun
    if config.get("early_stopping") not in (None, True, False, "never"):
        yield "early_stopping", "true, false or 'never'"
    cache = config.get("cache_implementation")
    names = cache_implementations() if cache is not None else ()
    if names and not (isinstance(cache, str) and cache in names):
        yield "cache_implementation", f"one of {', '.join(sorted(names))}"
    if not _is_watermark(config.get("watermarking_config")):
        yield "watermarking_config", "a mapping that transformers reads"
    sequences, beams = config.get("num_return_sequences"), config.get("num_beams") or 1
    if isinstance(sequences, int) and isinstance(beams, int) and sequences > beams:
        if beams > 1 or config.get("do_sample") is not True:
            yield "num_return_sequences", f"at most num_beams ({beams})"


def _needing_more(config: Mapping[str, Json]) -> Iterator[str]:
    """Yield the keys of NEEDS_MORE that have an effect."""
    for key in NEEDS_MORE:
        value = config.get(key)
        if key in SWITCHES_THAT_NEED_MORE and not value:
            continue
        if key == "penalty_alpha" and (config.get("do_sample") is True or config.get("top_k") in (0, 1)):
            continue
        if value is not None:
            yield key


def _is_bias(value: Json) -> bool:
    if value is None:
        return True
    pairs = value if isinstance(value, list) else [None]
    return bool(pairs) and all(
        isinstance(pair, list) and len(pair) == 2 and _is_word(pair[0]) and bool(pair[0])
        and isinstance(pair[1], float) for pair in pairs
    )  # fmt: skip


def _is_decay(value: Json) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or len(value) != 2 or None in value:
        return False
    return _is_token_id(value[0], several=False) and _is_number(value[1], lambda n: True)


def _is_watermark(value: Json) -> bool:
    """Return whether transformers reads a `watermarking_config`; it refuses keys that it does not have."""
    if value is None:
        return True
    if not isinstance(value, dict) or not WATERMARK_KEYS.issuperset(value):
        return False
    ratio, width = value.get("greenlist_ratio", 0.25), value.get("context_width", 1)
    return (
        value.get("seeding_scheme", "lefthash") in ("lefthash", "selfhash")
        and ratio is not None
        and _is_number(ratio, lambda n: 0 <= n <= 1)
        and width is not None
        and _is_number(width, lambda n: n >= 1)
    )


def _unused(config: Mapping[str, Json]) -> Iterator[str]:
    """Yield the sampling settings that change nothing, because the answers are not sampled."""
    for key, (_, _, neutral) in SAMPLING.items():
        if config.get(key) is not None and config[key] != neutral:
            yield key


def _is_token_id(value: Json, several: bool) -> bool:
    if several and isinstance(value, list):
        return bool(value) and all(_is_token_id(part, several=False) and part is not None for part in value)
    return value is None or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID
    )


def _is_word(value: Json) -> bool:
    return isinstance(value, list) and _is_token_id(value, several=True)


def _is_number(value: Json, is_right: Callable[[float], bool]) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return is_right(value)
