"""Adapter for lm-eval's rendering of prompts in the chat format of a model. Written for lm-eval 0.4.13."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerBase

Message: TypeAlias = Mapping[str, str]  # `role` and `content`


def render_chat(
    tokenizer: "PreTrainedTokenizerBase",
    template: str,
    messages: Sequence[Message],
    add_generation_prompt: bool,
) -> str:
    """Return a conversation as text, as lm-eval's `hf` model renders it.

    A template that refuses system messages is applied to the conversation without them. transformers runs
    templates in a sandbox.

    Args:
        tokenizer: its special tokens may stand in the text.
        template: the Jinja template.
        messages: the conversation.
        add_generation_prompt: end with the start of an answer; False: continue the last message.
    """
    # Imported here to keep --help fast: lm-eval's models take seconds.
    from lm_eval.models.huggingface import HFLM

    model = SimpleNamespace(tokenizer=tokenizer, chat_template_args={"chat_template": template})
    return HFLM.apply_chat_template(
        cast("HFLM", model), [dict(one) for one in messages], add_generation_prompt
    )
