"""Check what lm-eval needs of a model: room in its context for a task's answers, and a bos or eos token."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.errors import DataError
from mergekit_finance.hosts.lm_eval_generation import GENERATED_BY_DEFAULT

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from mergekit_finance.files import Json

KEYS = ("n_positions", "max_position_embeddings", "n_ctx")  # in lm-eval's order
# Keys for the length of an answer; the first one present counts.
LENGTH_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
CONTEXT_BY_DEFAULT = 2048  # lm-eval's, for a model that states none
NO_LIMIT = 10**12  # transformers writes a larger number where a tokenizer has no limit


def context_of(config: "PretrainedConfig") -> int | None:
    """Return the tokens that a model's context holds; None if its config has no such number."""
    text = getattr(config, "text_config", None) or config
    return context_in({key: getattr(text, key, None) for key in KEYS})


def context_in(settings: "Mapping[str, Json]") -> int | None:
    """Return the same from the settings of config.json, in which a class's default may be left out."""
    stated = [value for key in KEYS if isinstance(value := settings.get(key), int)]
    return stated[0] if stated else None


def tokenizer_context(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the context that lm-eval assumes for a model whose config has none."""
    limit = int(tokenizer.model_max_length)
    return limit if limit < NO_LIMIT else CONTEXT_BY_DEFAULT


def tokens_generated(task: str, settings: "Mapping[str, Json]") -> int:
    """Return the largest number of tokens that a task generates, from its `generation_kwargs`.

    Raises:
        DataError: it is not a whole number.
    """
    for key in LENGTH_KEYS:
        if (value := settings.get(key)) is not None:
            try:
                return int(value if isinstance(value, int | float) else str(value))
            except (TypeError, ValueError, OverflowError) as error:
                raise DataError(f"{task}: {key}: {value!r} is not a whole number.") from error
    return GENERATED_BY_DEFAULT


def with_limit(settings: "Mapping[str, Json]", max_gen_toks: int | None) -> "Mapping[str, Json]":
    """Return `generation_kwargs` with `max_gen_toks` lowered to a bound; None is no bound."""
    if max_gen_toks is None:
        return settings
    value = settings.get("max_gen_toks", max_gen_toks)
    return {**settings, "max_gen_toks": min(value, max_gen_toks) if isinstance(value, int) else value}


def check_context(
    reference: str, context: int, generated: Mapping[str, int], remedy: str | None = None
) -> Iterator[Finding]:
    """Yield a finding for each task whose answers fill a model's context.

    Args:
        reference: the model.
        context: the tokens that it holds.
        generated: the largest number of tokens that each task generates.
        remedy: what to do, if not what the catalog says.
    """
    for task, tokens in generated.items():
        if tokens >= context:
            yield finding(
                "task.context",
                f"{task} generates up to {tokens} tokens, and the context of {reference} has {context}",
                remedy,
            )


def check_special_tokens(reference: str, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Finding]:
    """Yield a finding if there is neither bos nor eos: lm-eval puts one before every log-likelihood."""
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        yield finding("model.no-special-tokens", f"the tokenizer of {reference} has no bos and no eos token")
