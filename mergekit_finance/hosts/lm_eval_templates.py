"""Adapter for templates of prompts, choices and targets. Written for lm-eval 0.4.13 and 0.5.0.dev1."""

import functools
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from mergekit_finance.hosts.names import LM_EVAL

if TYPE_CHECKING:
    from jinja2 import Template

COMPILED_ONCE = "lm_eval.config.templates"  # of lm-eval 0.5, with its Jinja environment
TEMPLATES = 512  # compiled templates that are kept: a task has up to four


def compile_templates_once(module: ModuleType) -> None:
    """Let lm-eval compile a template once instead of once an item; calling it again changes nothing.

    lm-eval 0.4.13 compiles the template of a prompt, a target or a choice for every item and every few-shot
    example, when it builds requests and again when it computes scores. It takes 20 to 50 times as long as
    filling in the template. lm-eval 0.5 compiles once by itself: nothing is replaced.

    Replaces the method `from_string` of the Jinja environment that `apply_template` uses.

    Args:
        module: `lm_eval.utils`.
    """
    if not hasattr(module, "env") and find_spec(COMPILED_ONCE):
        return
    environment = LM_EVAL.get(module, "env")
    original = LM_EVAL.get(environment, "from_string")
    if hasattr(original, "cache_info"):
        return

    @functools.lru_cache(TEMPLATES)
    def from_string(source: str) -> "Template":
        template: Template = original(source)
        return template

    environment.from_string = from_string
