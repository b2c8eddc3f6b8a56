"""lm-eval's templates are compiled once, and filled in for every item."""

import importlib
from types import ModuleType, SimpleNamespace

import jinja2
import pytest
from helpers.tasks import run_silent
from lm_eval import utils
from lm_eval.tasks import TaskManager

from mergekit_finance import registration
from mergekit_finance.errors import HostError
from mergekit_finance.hosts import lm_eval_templates
from mergekit_finance.hosts.lm_eval_templates import TEMPLATES, compile_templates_once


@pytest.fixture
def compiled(monkeypatch):
    """The templates that Jinja compiles."""
    sources, compile_source = [], jinja2.Environment.compile

    def counted(self, source, *arguments, **named):
        sources.append(source)
        return compile_source(self, source, *arguments, **named)

    monkeypatch.setattr(jinja2.Environment, "compile", counted)
    return sources


@pytest.fixture
def module():
    """A module with the environment of `lm_eval.utils` and nothing compiled."""
    module = ModuleType("lm_eval.utils")
    settings = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    module.env = jinja2.Environment(loader=jinja2.BaseLoader, **settings)
    return module


def test_each_item_fills_in_the_one_compiled_template(module, compiled):
    compile_templates_once(module)
    texts = [module.env.from_string("{{ n }}: {{ text }}\n").render(n=n, text=n * "x") for n in (1, 2)]
    assert texts == ["1: x\n", "2: xx\n"] and compiled == ["{{ n }}: {{ text }}\n"]
    with pytest.raises(jinja2.UndefinedError, match="'text' is undefined"):
        module.env.from_string("{{ n }}: {{ text }}\n").render(n=1)


def test_a_damaged_template_is_the_same_error_every_time(module):
    compile_templates_once(module)
    for _ in range(2):
        with pytest.raises(jinja2.TemplateSyntaxError, match="unexpected end of template"):
            module.env.from_string("{{ n ")


def test_installing_it_again_changes_nothing_and_the_number_of_templates_is_limited(module):
    compile_templates_once(module)
    from_string = module.env.from_string
    compile_templates_once(module)
    assert module.env.from_string is from_string
    for number in range(TEMPLATES + 10):
        from_string(f"{number}")
    assert from_string.cache_info().currsize == TEMPLATES


@pytest.mark.parametrize(
    ("host", "name"),
    [(SimpleNamespace(), "env"), (SimpleNamespace(env=SimpleNamespace()), "from_string")],
)
def test_a_host_without_these_names_is_one_line(host, name, monkeypatch):
    monkeypatch.setattr(lm_eval_templates, "find_spec", lambda name: None)
    with pytest.raises(HostError, match=f"lm-eval.*{name}") as caught:
        compile_templates_once(host)
    assert "\n" not in str(caught.value)


def test_a_host_that_compiles_once_by_itself_is_left_alone(monkeypatch):
    """As lm-eval 0.5, whose environment is not in `lm_eval.utils`."""
    monkeypatch.setattr(lm_eval_templates, "find_spec", {"lm_eval.config.templates": object()}.get)
    compile_templates_once(SimpleNamespace())


def test_an_evaluation_compiles_no_template_twice(compiled):
    registration.register()
    if hasattr(utils, "env"):
        utils.env.from_string.cache_clear()
    else:
        importlib.import_module("lm_eval.config.templates")._compile_tpl.cache_clear()
    manager = TaskManager(include_defaults=False, metadata={"source": "sample"})
    prompts, results = run_silent(manager, "fpb", "fp2", limit=3)
    assert len(prompts) > len(compiled) > 0 and len(set(compiled)) == len(compiled)
    compiled.clear()
    assert run_silent(manager, "fpb", "fp2", limit=3) == (prompts, results) and not compiled
