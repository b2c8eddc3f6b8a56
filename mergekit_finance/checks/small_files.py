"""Checks of a model's small files: tokenizers and chat templates.

Without these checks, a broken file is noticed only when the merged model is loaded, after hours of merging.
Neither torch nor transformers nor mergekit is imported.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.errors import did_you_mean, first_line, printable
from mergekit_finance.files import Json
from mergekit_finance.models.chat_templates import TEMPLATES
from mergekit_finance.models.tokenizer_files import has_tokenizer

if TYPE_CHECKING:
    from jinja2.nodes import Node
    from jinja2.parser import Parser

    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.models.facts import ModelFacts

SHORTEST_TEMPLATE = 20  # mergekit refuses shorter ones


def check_templates(merge: "MergeFacts") -> Iterator[Finding]:
    """Chat templates must be valid Jinja."""
    for model in merge.models:
        config = (model.tokenizer_config or {}).get("chat_template")
        texts = list(_texts(config))
        named = {f"{TEMPLATES}/{name}.jinja": text for name, text in model.named_templates.items()}
        if model.chat_template is not None and model.chat_template not in texts:
            named["chat_template.jinja"] = model.chat_template
        yield from template_findings(texts, model.reference, "chat_template of tokenizer_config.json")
        for place, text in named.items():
            yield from template_findings(text, model.reference, place)


def check_chat_templates(merge: "MergeFacts") -> Iterator[Finding]:
    """Where prompts are in chat format, every evaluated model needs a template, and one format is better."""
    if not merge.chat:
        return
    sources = [m for m in merge.models if m.reference in merge.evaluated or _gives_its_template(m, merge)]
    for model in sources:
        if model.folder and has_tokenizer(model.folder) and not has_chat_template(model):
            yield finding("model.no-chat-template", f"model {model.reference!r} has no chat template")
    first, *others = sources or [merge.base]
    for model in others:
        texts = first.chat_template, model.chat_template
        if None not in texts and texts[0] != texts[1]:
            yield finding(
                "model.chat-templates-differ",
                f"{model.reference} and {first.reference} have different chat templates: prompts of each "
                "model are rendered by its own, and those of a merge by that of its recipe's base_model, or "
                "of its first model if it has none",
            )


def _gives_its_template(model: "ModelFacts", merge: "MergeFacts") -> bool:
    return model is merge.base and not merge.sets_template


def has_chat_template(model: "ModelFacts") -> bool:
    """Return whether a model has a chat template of any name."""
    names = (model.tokenizer_config or {}).get("chat_template")
    return bool(model.chat_template or names or model.named_templates)


def check_tokenizers(merge: "MergeFacts") -> Iterator[Finding]:
    """Models that are evaluated need a tokenizer; without the base's, the merged model has none."""
    for model in merge.models:
        merges_for_evaluation = model is merge.base and merge.method is not None and merge.in_memory
        is_evaluated = model.reference in merge.evaluated or merges_for_evaluation
        if model.folder is None or not model.tensors or not (is_evaluated or model is merge.base):
            continue
        if not has_tokenizer(model.folder):
            missing = finding("model.tokenizer", f"{model.reference} has no tokenizer")
            yield missing if is_evaluated else replace(missing, level="warning")


def template_findings(templates: Json, model: str, place: str = "its chat template") -> Iterator[Finding]:
    """Yield the chat templates of a model that are not valid Jinja.

    Args:
        templates: a template, or templates by name or in a list, as tokenizers have them.
        model: the model's reference, for messages.
        place: the file of the templates, for messages.
    """
    for template in dict.fromkeys(_texts(templates)):
        if not template.strip():
            yield finding("model.chat-template", f"model {model!r}: {place} is empty")
        elif error := template_error(template):
            yield finding("model.chat-template", f"model {model!r}: {place} is not valid Jinja ({error})")


def check_chat_template(value: str, names: Collection[str], where: str) -> None:
    """Check a recipe's `chat_template:`.

    Args:
        value: `auto`, the name of a template of mergekit's, or a Jinja template.
        names: of mergekit's templates.
        where: the key, for messages.

    Raises:
        RecipeError: it is none of these.
    """
    if value == "auto" or value in names:
        return
    if "{" not in value or len(value) < SHORTEST_TEMPLATE:
        message = (
            f"{where}: {value!r:.60} is neither auto, nor a template of mergekit's, nor Jinja of "
            f"{SHORTEST_TEMPLATE} characters or more"
        )
        raise finding("recipe.chat-template", message, did_you_mean(value[:100], ["auto", *names])).as_error()
    if error := template_error(value):
        raise finding("recipe.chat-template", f"{where}: not valid Jinja ({error})").as_error()


def template_error(template: str) -> str:
    """Return what is wrong with the syntax of a chat template, or "". The template is not run."""
    # Imported here to keep --help fast.
    from jinja2 import Environment, TemplateError
    from jinja2.ext import Extension
    from jinja2.nodes import Filter, Test

    class Generation(Extension):
        """The tag that transformers adds to Jinja: {% generation %}...{% endgeneration %}."""

        tags = {"generation"}

        def parse(self, parser: "Parser") -> "list[Node]":
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = Environment(extensions=[Generation, "jinja2.ext.loopcontrols"])
    try:
        tree = environment.parse(template)
        used = [(node.name, environment.filters, "filter") for node in tree.find_all(Filter)]
        used += [(node.name, environment.tests, "test") for node in tree.find_all(Test)]
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        return printable(f"{error!s:.200}{f', line {line}' if line else ''}")
    except RecursionError:
        return "nested too deep"
    except (ValueError, ArithmeticError) as error:  # jinja computes constants: 5,000 digits, 1 / 0
        return printable(f"{first_line(error):.200}")
    return next((f"no {kind} {name!r:.60}" for name, names, kind in used if name not in names), "")


def _texts(templates: Json) -> Iterator[str]:
    if isinstance(templates, str):
        yield templates
    elif isinstance(templates, list):
        for part in templates:  # in tokenizer_config.json: {"name": ..., "template": ...}
            yield from _texts(part.get("template") if isinstance(part, dict) else part)
    elif isinstance(templates, dict):
        yield from _texts(list(templates.values()))
