"""Tokenizers of the models that were merged in this process, for code that needs them and has no model.

`lm_eval --model mergekit` registers the tokenizer of its merge. lm-eval calls the tasks' loader with the
model's arguments only; the loader finds the tokenizer here by their label (`recipe.merge_label.label`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_by_label: "dict[str, PreTrainedTokenizerBase]" = {}


def register(label: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Store the tokenizer of a merge under its label; an earlier one of that label is replaced."""
    _by_label[label] = tokenizer


def find(label: str) -> "PreTrainedTokenizerBase | None":
    """Return the tokenizer of a merge by its label, or None if no such merge was made in this process."""
    return _by_label.get(label)


def clear() -> None:
    """Forget all tokenizers."""
    _by_label.clear()
