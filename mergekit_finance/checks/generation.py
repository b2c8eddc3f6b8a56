"""Checks of generation_config.json: what transformers refuses when it loads the file or generates with it.

Without them a wrong value is found after the merge, when the merged model is loaded, saved or evaluated.
Neither torch nor transformers nor mergekit is imported.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.files import Json
from mergekit_finance.hosts.transformers import cache_implementations

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts

FILE = "generation_config.json"
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id")
LISTED = ("eos_token_id", "forced_eos_token_id")  # may be lists
LISTS_OF_IDS = ("suppress_tokens", "begin_suppress_tokens")
SWITCHES = ("do_sample", "use_cache", "remove_invalid_values", "return_dict_in_generate")
WATERMARK_KEYS = frozenset(("greenlist_ratio", "bias", "hashing_key", "seeding_scheme", "context_width"))

Rule = tuple[str, Callable[[float], bool]]  # what a number must be, in words, and a function that checks it
# transformers refuses a whole number here, unless it is 1, which changes nothing.
DECIMAL: Rule = (
    "a number above 0 with a decimal point",
    lambda n: n > 0 and (isinstance(n, float) or n == 1),
)
WHOLE = ("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size")
# Whether sampled or not. No value (null) is allowed everywhere.
NUMBERS: dict[str, Rule] = {
    **dict.fromkeys(WHOLE, ("a whole number of at least 0", lambda n: n >= 0 and n == int(n))),
    **dict.fromkeys(
        ("max_length", "max_new_tokens", "num_beams", "num_return_sequences", "prefill_chunk_size"),
        ("a whole number of at least 1", lambda n: n >= 1 and n == int(n)),
    ),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty"), DECIMAL),
    "length_penalty": ("a number", lambda n: True),
}
# Used where do_sample is true, and ignored otherwise; the third part is the value that changes nothing.
SAMPLING: dict[str, tuple[str, Callable[[float], bool], float | None]] = {
    "temperature": (*DECIMAL, 1.0),
    "top_p": ("a number from 0 to 1", lambda n: 0 <= n <= 1, 1.0),
    "top_k": ("a whole number of at least 0", lambda n: n >= 0 and n == int(n), 50),
    "min_p": ("a number from 0 to 1", lambda n: 0 <= n <= 1, None),
    "typical_p": ("a number above 0 and up to 1", lambda n: 0 < n <= 1, 1.0),
    "epsilon_cutoff": ("a number from 0 to below 1", lambda n: 0 <= n < 1, 0.0),
    "eta_cutoff": ("a number from 0 to below 1", lambda n: 0 <= n < 1, 0.0),
}


def check_generation(merge: "MergeFacts") -> Iterator[Finding]:
    """Yield values with which transformers cannot load the file or generate."""
    for model in merge.models:
        yield from generation_findings(model.generation_config or {}, model.reference)


def generation_findings(config: Mapping[str, Json], model: str) -> Iterator[Finding]:
    """Yield what is wrong with a generation_config.json, and sampling settings that are not used.

    Args:
        config: its content.
        model: the model's reference, for messages.
    """
    for key, noun in _wrong_values(config):
        yield finding(
            "model.generation-config", f"model {model!r}: {key} {config[key]!r:.60} in {FILE} is not {noun}"
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
        return all(_is_token_id(part, several=False) and part is not None for part in value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_word(value: Json) -> bool:
    return isinstance(value, list) and _is_token_id(value, several=True)


def _is_number(value: Json, is_right: Callable[[float], bool]) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return is_right(value)
