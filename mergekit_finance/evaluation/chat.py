"""Render prompts with each model's chat template, by the settings of lm-eval.

Every model gets its prompts by its own template. A merge has that of the model whose tokenizer it gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import finding
from mergekit_finance.errors import did_you_mean, first_line
from mergekit_finance.hosts.lm_eval_chat import Message, render_chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mergekit_finance.files import Json

DEFAULT = "default"  # the name of a tokenizer's template where it has several


@dataclass(frozen=True)
class ChatSettings:
    """How lm-eval formats prompts; the names and defaults are those of its command.

    Attributes:
        apply_chat_template: whether prompts are rendered by the chat template of the model's tokenizer, or
            the name of a template, for tokenizers that have several.
        system_instruction: the text of a system message; without a template it stands before the prompt.
        fewshot_as_multiturn: whether few-shot examples are turns of their own, which needs a template; None:
            with a template.
    """

    apply_chat_template: bool | str = False
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None

    @property
    def multiturn(self) -> bool:
        """Whether few-shot examples are turns of their own."""
        return bool(self.apply_chat_template) and self.fewshot_as_multiturn is not False

    @property
    def is_default(self) -> bool:
        """Whether prompts are as the tasks define them."""
        return not self.apply_chat_template and not self.system_instruction

    @property
    def words(self) -> str:
        """How prompts are rendered, after `Prompts were rendered`."""
        name = f" {self.apply_chat_template!r}" if isinstance(self.apply_chat_template, str) else ""
        turns = "turns of their own" if self.multiturn else "one turn with the question"
        template = f"by each model's chat template{name}, few-shot examples as {turns}"
        prompts = template if self.apply_chat_template else "as the tasks define them"
        instruction = " ".join((self.system_instruction or "").split())
        return prompts + (f', after the system instruction "{instruction}"' if instruction else "")

    def as_json(self) -> "dict[str, Json]":
        """Return the settings that change prompts, for keys and files; empty if there are none."""
        if self.is_default:
            return {}
        return {
            "apply_chat_template": self.apply_chat_template,
            "system_instruction": self.system_instruction or "",
            "fewshot_as_multiturn": self.multiturn,
        }


@dataclass(frozen=True)
class ChatTemplate:
    """A function that renders conversations; equal ones give equal texts.

    Attributes:
        template: the Jinja template. It comes with a model, so it is run in the sandbox of transformers only.
        special_tokens: texts that the template may insert.
        tokenizer: renders.
        model: the name of its model, for messages.
    """

    template: str
    special_tokens: str
    tokenizer: "PreTrainedTokenizerBase" = field(repr=False, compare=False)
    model: str = field(compare=False)

    def __call__(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text; the names of the arguments are those of lm-eval.

        Raises:
            ModelError: the template fails.
        """
        try:
            return render_chat(self.tokenizer, self.template, chat_history, add_generation_prompt)
        except Exception as error:  # the template is a program of the model's authors
            message = f"model {self.model!r}: its chat template fails ({first_line(error):.200})"
            raise finding("model.chat-template", message).as_error() from error


def chat_template_of(tokenizer: "PreTrainedTokenizerBase", choice: bool | str, model: str) -> ChatTemplate:
    """Return the template of a tokenizer that renders prompts.

    Args:
        tokenizer: the model's.
        choice: True, or the name of a template; as in lm-eval a tokenizer with a single one ignores the name.
        model: the name of the model, for messages.

    Raises:
        ModelError: the tokenizer has no template, or none of this name.
    """
    templates = tokenizer.chat_template
    if not templates:
        raise finding("model.no-chat-template", f"model {model!r} has no chat template").as_error()
    if isinstance(templates, dict):
        name = choice if isinstance(choice, str) else DEFAULT
        if name not in templates:
            message = f"model {model!r} has no chat template {name!r:.60}"
            hint = f"Set apply_chat_template to a name. {did_you_mean(name, sorted(templates))}"
            raise finding("model.no-chat-template", message, hint).as_error()
        templates = templates[name]
    return ChatTemplate(templates, str(sorted(tokenizer.special_tokens_map.items())), tokenizer, model)
