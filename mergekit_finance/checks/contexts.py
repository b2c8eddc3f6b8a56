"""Check that a model's context has room for a task's answers: lm-eval stops with an AssertionError."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding

if TYPE_CHECKING:
    from transformers import PretrainedConfig

KEYS = ("n_positions", "max_position_embeddings", "n_ctx")  # in lm-eval's order


def check_context(
    reference: str, config: "PretrainedConfig", generated: Mapping[str, int]
) -> Iterator[Finding]:
    """Yield a finding for each task whose answers fill a model's context.

    Args:
        reference: the model.
        config: its config; one that states no context is not checked.
        generated: the largest number of tokens that each task generates.
    """
    text = getattr(config, "text_config", None) or config
    stated = [value for key in KEYS if isinstance(value := getattr(text, key, None), int)]
    for task, tokens in generated.items() if stated else ():
        context = stated[0]
        if tokens >= context:
            yield finding(
                "task.context",
                f"{task} generates up to {tokens} tokens, and the context of {reference} has {context}",
            )
