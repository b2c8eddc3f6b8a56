"""The plugin manager; and two tests that keep the API honest: every hook is documented and used."""

import types

import pytest

from mergekit_finance.plugins import hookspecs
from mergekit_finance.plugins import manager as plugins
from mergekit_finance.plugins.hookspecs import hookimpl

HOOKS = sorted(n for n in vars(hookspecs) if n.startswith("finance_"))


@pytest.fixture
def manager():
    return plugins.Manager()


def plugin(**functions):
    module = types.SimpleNamespace()
    for name, function in functions.items():
        setattr(module, name, hookimpl(function))
    return module


@pytest.mark.parametrize("hook", HOOKS)
def test_the_builtin_plugin_uses_every_hook(hook):
    assert plugins.manager().collect(hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading_in_the_readme(hook):
    from conftest import ROOT

    assert f"`{hook}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_plugin_that_fails_to_import_is_left_out_alone(manager):
    def broken():
        raise ImportError("no module named quux")

    with pytest.warns(RuntimeWarning, match="plugin 'bad' is left out: ImportError: no module named quux"):
        manager.add("bad", "bad 1.0", broken)
    manager.add("good", "good 1.0", lambda: plugin(finance_task_folders=lambda: ["x"]))
    assert manager.collect("finance_task_folders") == ["x"]
    assert [(p.name, bool(p.fault)) for p in manager.loaded] == [("bad", True), ("good", False)]


def test_a_misspelt_hook_is_a_fault_with_its_name(manager):
    with pytest.warns(RuntimeWarning, match="finance_task_folder"):
        manager.add("typo", "typo 1.0", lambda: plugin(finance_task_folder=lambda: ["x"]))
    assert "finance_task_folder" in manager.loaded[0].fault


def test_a_hook_that_raises_does_not_take_the_others_down(manager):
    def fails():
        raise KeyError("oops")

    manager.add("a", "a", lambda: plugin(finance_task_folders=fails))
    manager.add("b", "b", lambda: plugin(finance_task_folders=lambda: ["b"]))
    with pytest.warns(RuntimeWarning, match="plugin 'a' is left out: KeyError"):
        assert manager.collect("finance_task_folders") == ["b"]


def test_plugins_answer_in_order_of_registration(manager):
    for name in "cab":
        manager.add(name, name, lambda name=name: plugin(finance_task_folders=lambda: [name]))
    assert manager.collect("finance_task_folders") == ["c", "a", "b"]
