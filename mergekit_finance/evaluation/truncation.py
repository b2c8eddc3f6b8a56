"""Prompts that do not fit: lm-eval cuts them from the left, so the question stays; here they are counted."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def truncated(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> dict[str, int]:
    """Items a task whose prompt is longer than the model's context leaves room for, where there are any.

    A choice needs room for its prompt and the option, less the last token, which is only predicted; a
    generation for its prompt and `max_gen_toks`.
    """
    counts = {task: sum(_cut(s, tokenizer, max_length) for s in items) for task, items in samples.items()}
    return {task: count for task, count in counts.items() if count}


def _cut(sample: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase", max_length: int) -> bool:
    return any(_tokens(tokenizer, request) > max_length for request in sample["arguments"])


def _tokens(tokenizer: "PreTrainedTokenizerBase", request: Sequence[Any]) -> int:
    prompt, rest = request[0], request[1]
    if isinstance(rest, str):
        return len(tokenizer(prompt + rest)["input_ids"]) - 1
    return len(tokenizer(prompt)["input_ids"]) + int(rest.get("max_gen_toks", 256))
