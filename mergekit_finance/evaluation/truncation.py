"""Count the tokens of prompts. lm-eval cuts those that do not fit on the left and keeps the question."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergekit_finance.hosts.lm_eval_generation import GENERATED_BY_DEFAULT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mergekit_finance.hosts.lm_eval_models import RequestArguments


class PromptLengths:
    """The tokens of requests, counted once for all models with the same tokenizer."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def of_tokenizer(self, tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
        """Return the counts so far of a tokenizer, by key of the request; the caller adds to them."""
        return self._counts.setdefault(tokenizer_content(tokenizer), {})


def tokens_needed(arguments: "RequestArguments", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the tokens of a context that a request takes; more than the context holds are cut off.

    A choice takes its prompt and the option without its last token, which is only predicted. A generation
    takes its prompt and `max_gen_toks` tokens. A rolling log-likelihood is computed in windows: 0.

    Args:
        arguments: the arguments of the request.
        tokenizer: the model's.
    """
    if len(arguments) == 1:
        return 0
    prompt, continuation = str(arguments[0]), arguments[1]
    if isinstance(continuation, Mapping):
        return len(tokenizer(prompt)["input_ids"]) + tokens_generated_by(arguments)
    return len(tokenizer(f"{prompt}{continuation}")["input_ids"]) - 1


def tokens_generated_by(arguments: "RequestArguments") -> int:
    """Return the largest number of tokens of the answer to a request; 0 if it is no generation."""
    settings = arguments[-1]
    if not isinstance(settings, Mapping):
        return 0
    return int(str(settings.get("max_gen_toks", GENERATED_BY_DEFAULT)))


def tokenizer_content(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a hash of what determines a text's tokens; tokenizers of one name can differ in it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # of the tokenizers library
    content = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(f"{type(tokenizer)} {content}".encode()).hexdigest()
