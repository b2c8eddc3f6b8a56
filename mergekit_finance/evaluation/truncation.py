"""Count prompts that do not fit a model's context; lm-eval cuts them on the left and keeps the question."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mergekit_finance.hosts.lm_eval import Sample


def truncated(
    samples: "Mapping[str, Sequence[Sample]]", tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> dict[str, int]:
    """Return the number of items per task whose prompt does not fit, for tasks that have any.

    A choice needs room for its prompt and the option without its last token, which is only predicted. A
    generation needs room for its prompt and `max_gen_toks` tokens.

    Args:
        samples: task -> lm-eval's samples, whose `arguments` hold the requests.
        tokenizer: the model's.
        max_length: the model's context in tokens.
    """
    counts = {task: sum(_is_cut(s, tokenizer, max_length) for s in items) for task, items in samples.items()}
    return {task: count for task, count in counts.items() if count}


def tokenizer_content(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a hash of what determines a text's tokens; tokenizers of one name can differ in it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # of the tokenizers library
    content = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(f"{type(tokenizer)} {content}".encode()).hexdigest()


def _is_cut(sample: "Sample", tokenizer: "PreTrainedTokenizerBase", max_length: int) -> bool:
    requests = sample["arguments"]
    assert isinstance(requests, Sequence)
    for request in requests:
        assert isinstance(request, Sequence)
        prompt, continuation = request[0], request[1]
        if isinstance(continuation, str):
            tokens = len(tokenizer(f"{prompt}{continuation}")["input_ids"]) - 1
        else:
            assert isinstance(continuation, Mapping)
            tokens = len(tokenizer(str(prompt))["input_ids"]) + int(
                str(continuation.get("max_gen_toks", 256))
            )
        if tokens > max_length:
            return True
    return False
