"""Tokenizers of the models merged in this process, for code that does not have the model.

`lm_eval --model mergekit` registers the tokenizer of its merge. lm-eval passes only the model arguments to
the loader of task rows, which finds the tokenizer here by their label (`recipe.merge_label.label`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_by_label: "dict[str, PreTrainedTokenizerBase]" = {}


def store_tokenizer(label: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Store the tokenizer of a merge under its label, replacing an earlier one."""
    _by_label[label] = tokenizer


def find_tokenizer(label: str) -> "PreTrainedTokenizerBase | None":
    """Return the tokenizer of a merge by its label, or None if this process has no such merge."""
    return _by_label.get(label)


def clear() -> None:
    """Remove all tokenizers."""
    _by_label.clear()
