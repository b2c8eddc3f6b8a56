"""Check that every token has an embedding, and the id that a file gives it.

Without the checks, a missing embedding fails during evaluation, and a token with another id is not noticed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.hosts.transformers import pads_embeddings

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.files import Json
    from mergekit_finance.models.facts import ModelFacts

ID = "model.token-outside"
SPECIAL = ("bos_token", "eos_token", "pad_token")
CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
MAP, ADDED = "special_tokens_map.json", "added_tokens.json"
# Ids in generation_config.json with which transformers fails as soon as it generates, and others.
FAILING = ("forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "sequence_bias")
OTHERS = ("suppress_tokens", "begin_suppress_tokens")


def check_token_rows(merge: "MergeFacts") -> Iterator[Finding]:
    """Yield token ids that are not below `vocab_size`, the number of embeddings."""
    for model in merge.models:
        rows = model.text.get("vocab_size")
        if isinstance(rows, int):
            yield from _ids_outside(model, rows)
            yield from _generated_ids_outside(model, rows, merge.is_answering(model))
            yield from _tokens_outside(model, rows, merge.is_answering(model))
        if model.tokenizer is not None and model.tokenizer.ids is not None:
            yield from _other_ids(model, model.tokenizer.ids)
            yield from _ignored_special_tokens(model)


def _ids_outside(model: "ModelFacts", rows: int) -> Iterator[Finding]:
    """Yield the special ids of config.json that have no row."""
    for name in SPECIAL:
        outside = _outside(model.text.get(f"{name}_id"), rows)
        if not outside:
            continue
        kind = model.text.get("model_type")
        cannot_load = name == "pad_token" and isinstance(kind, str) and pads_embeddings(kind)
        problem = _id_outside(model, f"{name}_id", outside[0], CONFIG, rows)
        # torch takes a negative id for one that is counted from the last row
        yield replace(problem, level="error") if cannot_load and not -rows <= outside[0] < rows else problem


def _generated_ids_outside(model: "ModelFacts", rows: int, is_answering: bool) -> Iterator[Finding]:
    """Yield the ids of generation_config.json that have no row; without it, config.json has these keys."""
    config, file = model.generation_config, GENERATION
    if config is None:
        config, file = model.text, CONFIG
    for key in (*(f"{name}_id" for name in SPECIAL), *FAILING, *OTHERS):
        if file == CONFIG and key.removesuffix("_id") in SPECIAL:
            continue
        if outside := _outside(config.get(key), rows):
            problem = _id_outside(model, key, outside[0], file, rows)
            yield replace(problem, level="error") if key in FAILING and is_answering else problem


def _id_outside(model: "ModelFacts", key: str, id: int, file: str, rows: int) -> Finding:
    text = f"{model.reference}: {key} {id} of {file} is not among the ids of the vocabulary, 0 to {rows - 1}"
    return finding(ID, text)


def _outside(value: "Json", rows: int) -> list[int]:
    """Return the ids without a row in a value: an id, or a list, also of lists, of ids and other numbers."""
    if isinstance(value, list):
        return [id for part in value for id in _outside(part, rows)]
    if not isinstance(value, int) or isinstance(value, bool) or 0 <= value < rows:
        return []
    return [value]


def _tokens_outside(model: "ModelFacts", rows: int, is_answering: bool) -> Iterator[Finding]:
    """Yield the tokens of a tokenizer that have no row, and those that transformers adds when it loads."""
    if model.tokenizer is None or model.tokenizer.ids is None:
        return
    ids, config = model.tokenizer.ids, model.tokenizer_config or {}
    outside: list[str] = []
    if max(ids.values(), default=-1) >= rows:  # rare, and faster to test than every token
        outside = [token for token, id in ids.items() if id >= rows]
    new = dict.fromkeys(token for token, _ in _added(model)[1] if token not in ids)
    for name in SPECIAL:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str) and text not in ids:
            new.setdefault(text)
    outside += list(new)[max(rows - len(ids), 0) :]  # appended to the vocabulary
    if outside:
        examples = ", ".join(f"{token!r:.40}" for token in outside[:2])
        count = "1 token has" if len(outside) == 1 else f"{len(outside)} tokens have"
        yield finding(ID, f"{model.reference}: {count} no embedding ({examples}), vocab_size is {rows}")
    for id in sorted({id for id in model.tokenizer.template_ids if not 0 <= id < rows})[:1]:
        text = f"{model.reference}: post_processor of tokenizer.json adds the id {id} to every text"
        problem = finding(ID, f"{text}, and the ids of the vocabulary are 0 to {rows - 1}")
        yield replace(problem, level="error") if is_answering else problem


def _other_ids(model: "ModelFacts", ids: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the first added token to which transformers gives another id than the file says.

    Args:
        model: the model.
        ids: of the tokens of its vocabulary; added tokens that are not among them are appended.
    """
    file, added = _added(model)
    next_ids = {len(ids), max(ids.values(), default=-1) + 1}
    for token, id in added:
        loaded = [ids[token]] if token in ids else next_ids
        if id not in loaded:
            yield finding(
                "model.token-ignored",
                f"{model.reference}: {token!r:.40} has the id {id} in {file}, and transformers gives it "
                f"{min(loaded)}",
                "Correct the id.",
            )
            return
        if token not in ids:
            next_ids = {id + 1}


def _ignored_special_tokens(model: "ModelFacts") -> Iterator[Finding]:
    """Yield the special tokens of special_tokens_map.json, where transformers does not read that file."""
    config = model.tokenizer_config or {}
    if "added_tokens_decoder" not in config:
        return
    for name in SPECIAL:
        if config.get(name) is None and (model.special_tokens or {}).get(name) is not None:
            yield finding(
                "model.token-ignored",
                f"{model.reference}: {name} is in {MAP} alone, which transformers does not read beside "
                f"added_tokens_decoder in {TOKENIZER}",
                f"Copy {name} into {TOKENIZER}.",
            )


def _added(model: "ModelFacts") -> tuple[str, list[tuple[str, int]]]:
    """Return the file whose added tokens transformers reads, and these with their ids, by id."""
    decoder = (model.tokenizer_config or {}).get("added_tokens_decoder")
    if isinstance(decoder, Mapping):
        contents = [(token.get("content"), id) for id, token in decoder.items() if isinstance(token, Mapping)]
        tokens = [(text, int(id)) for text, id in contents if isinstance(text, str) and id.isdecimal()]
        return TOKENIZER, sorted(tokens, key=lambda token: token[1])
    pairs = (model.added_tokens or {}).items()
    return ADDED, sorted(
        ((text, id) for text, id in pairs if isinstance(id, int)), key=lambda token: token[1]
    )
