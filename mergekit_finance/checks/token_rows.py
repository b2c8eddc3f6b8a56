"""Check that every token has an embedding. Without the check, a missing one fails during evaluation."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.hosts.transformers import pads_embeddings

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.models.facts import ModelFacts

ID = "model.token-outside"
SPECIAL = ("bos_token", "eos_token", "pad_token")


def check_token_rows(merge: "MergeFacts") -> Iterator[Finding]:
    """Yield token ids that are not below `vocab_size`, the number of embeddings."""
    for model in merge.models:
        rows = model.text.get("vocab_size")
        if isinstance(rows, int):
            yield from _ids_outside(model, rows)
            yield from _tokens_outside(model, rows)


def _ids_outside(model: "ModelFacts", rows: int) -> Iterator[Finding]:
    """Yield the special ids of config.json that have no row."""
    for name in SPECIAL:
        value = model.text.get(f"{name}_id")
        outside = [id for id in (value if isinstance(value, list) else [value]) if _is_outside(id, rows)]
        if not outside:
            continue
        kind = model.text.get("model_type")
        cannot_load = name == "pad_token" and isinstance(kind, str) and pads_embeddings(kind)
        problem = finding(
            ID, f"{model.reference}: {name}_id {outside[0]} of config.json is not below vocab_size {rows}"
        )
        yield replace(problem, level="error") if cannot_load else problem


def _tokens_outside(model: "ModelFacts", rows: int) -> Iterator[Finding]:
    """Yield the tokens of a tokenizer that have no row, and those that transformers adds when it loads."""
    if model.tokenizer is None or model.tokenizer.ids is None:
        return
    ids, config = model.tokenizer.ids, model.tokenizer_config or {}
    outside = [token for token, id in ids.items() if id >= rows]
    decoder = config.get("added_tokens_decoder")
    added = [str(token.get("content")) for token in _mappings(decoder)]
    new: set[str] = set()  # special tokens that transformers appends to the vocabulary
    for name in SPECIAL:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str) and text not in ids and text not in added and text not in new:
            new.add(text)
            if len(ids) + len(new) > rows:
                outside.append(text)
    if outside:
        examples = ", ".join(f"{token!r:.40}" for token in outside[:2])
        yield finding(
            ID,
            f"{model.reference}: {len(outside)} tokens have no embedding ({examples}), vocab_size is {rows}",
        )


def _mappings(value: object) -> Iterator[dict[str, object]]:
    for part in value.values() if isinstance(value, dict) else ():
        if isinstance(part, dict):
            yield part


def _is_outside(id: object, rows: int) -> bool:
    return isinstance(id, int) and not isinstance(id, bool) and id >= rows
