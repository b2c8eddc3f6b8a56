"""The plugin manager; and two tests of the API: every hook is documented and used."""

import subprocess
import sys
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
def test_every_hook_is_documented(hook):
    from conftest import ROOT

    assert f"`{hook}`" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


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


def test_a_hook_that_raises_does_not_stop_the_other_hooks(manager):
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


def test_our_own_plugin_is_declared_as_an_entry_point():
    from conftest import ROOT

    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["mergekit_finance"] == {plugins.BUILTIN: plugins.BUILTIN_MODULE}


def test_our_own_plugin_is_loaded_first_by_its_entry_point(monkeypatch):
    from importlib.metadata import EntryPoint

    values = {"a_third_party": "json", plugins.BUILTIN: plugins.BUILTIN_MODULE}
    entries = [EntryPoint(name, value, "mergekit_finance") for name, value in values.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    manager = plugins.manager.__wrapped__()
    assert [(p.name, p.distribution) for p in manager.loaded] == [
        ("builtin", "unknown"),  # an entry point made by hand has no distribution
        ("a_third_party", "unknown"),
    ]


def test_our_own_plugin_is_loaded_without_metadata(monkeypatch):
    """As with PYTHONPATH, where no entry point is installed."""
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    manager = plugins.manager.__wrapped__()
    assert [p.name for p in manager.loaded] == ["builtin"]
    assert manager.collect("finance_task_folders")


def test_a_third_party_may_name_its_plugin_like_ours(monkeypatch):
    from importlib.metadata import EntryPoint

    other = EntryPoint("builtin", "json", "mergekit_finance")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [other])
    manager = plugins.manager.__wrapped__()
    assert [p.name for p in manager.loaded] == ["builtin", "builtin of unknown"]
    assert manager.collect("finance_task_folders")


def test_a_fault_of_our_own_plugin_is_raised(manager):
    def broken():
        raise ImportError("no module named quux")

    with pytest.raises(ImportError, match="quux"):
        manager.add("builtin", "mergekit-finance 0.1", broken)

    def fails():
        raise KeyError("oops")

    manager.add("builtin", "mergekit-finance 0.1", lambda: plugin(finance_task_folders=fails))
    with pytest.raises(KeyError, match="oops"):
        manager.collect("finance_task_folders")


def test_the_plugin_manager_imports_neither_torch_nor_a_host():
    code = (
        "import sys, mergekit_finance.plugins.manager as m; m.manager(); m.task_folders()\n"
        "print(*[n for n in ('torch', 'mergekit', 'lm_eval', 'transformers') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
