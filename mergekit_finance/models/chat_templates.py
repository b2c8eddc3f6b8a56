"""The chat templates in a model's folder."""

import os
from pathlib import Path

from mergekit_finance.errors import ModelError
from mergekit_finance.files import JsonObject, read_text

TEMPLATES = "additional_chat_templates"  # the folder of all chat templates but the default one


def chat_template(folder: Path, tokenizer_config: JsonObject) -> str | None:
    """Return the default chat template: from its own file, or else from the tokenizer's config."""
    path = folder / "chat_template.jinja"
    if os.path.exists(path):
        return _template(path)
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):
        defaults = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
        template = defaults[0].get("template") if defaults else None
    return template if isinstance(template, str) else None


def named_templates(folder: Path) -> dict[str, str]:
    """Return the templates in additional_chat_templates/, which transformers reads with every tokenizer."""
    return {path.stem: _template(path) for path in sorted((folder / TEMPLATES).glob("*.jinja"))}


def _template(path: Path) -> str:
    try:
        return read_text(path, max_bytes=5_000_000, links=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error}). Copy or fetch it again.", id="model.broken"
        ) from error
