"""Find where an answer ends: at a stop string, which may lie across the borders of tokens."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXTRA_TOKENS = 2  # as in lm-eval: a stop string may be written with more tokens than its encoding has


class StopStrings:
    """The stop strings of a request."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", strings: Sequence[str]) -> None:
        """Note the strings; empty ones end nothing, as in lm-eval.

        Args:
            tokenizer: the model's.
            strings: any of them ends an answer.
        """
        self.tokenizer = tokenizer
        self.strings = tuple(filter(None, strings))

    @cached_property
    def _window(self) -> int:
        """Number of tokens in which the longest stop string is searched."""
        encoded = (self.tokenizer.encode(text, add_special_tokens=False) for text in self.strings)
        return max(map(len, encoded), default=0) + EXTRA_TOKENS

    def end(self, tokens: Sequence[int], new: int) -> int | None:
        """Return after how many tokens an answer ends, or None if it goes on.

        Args:
            tokens: the answer.
            new: number of its last tokens that were not searched yet.
        """
        if not self._found(tokens[-(new + self._window) :]):
            return None
        ends = range(len(tokens) - new + 1, len(tokens) + 1)
        return next((end for end in ends if self._found(tokens[max(0, end - self._window) : end])), None)

    def _found(self, tokens: Sequence[int]) -> bool:
        text = self.tokenizer.decode([*tokens])
        return any(string in text for string in self.strings)
