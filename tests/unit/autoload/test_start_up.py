"""The start-up file, in this process; tests/end_to_end/test_install.py starts interpreters that load it."""

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

import pytest

import mergekit_finance
from mergekit_finance import registration

FILE = Path(mergekit_finance.__file__).parent / "autoload" / "_mergekit_finance_autoload.py"
INSTALLED = Path(next(iter(sys.modules["site"].getsitepackages()))) / FILE.name
HOST = "mergekit.plan"


@pytest.fixture
def start_up(monkeypatch):
    """The module, freshly executed, with an empty `sys.meta_path`."""
    path = FILE if FILE.exists() else INSTALLED
    spec = importlib.util.spec_from_file_location("start_up_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delenv("MERGEKIT_FINANCE_AUTOLOAD", raising=False)
    return module


class OtherFinder:
    """A finder for one host module that records the requested names."""

    def __init__(self):
        self.requested = []

    def find_spec(self, name, path=None, target=None):
        self.requested.append(name)
        return importlib.machinery.ModuleSpec(name, self) if name == HOST else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.executed = True


@pytest.mark.parametrize("value", ["0", "off", "OFF", "no", "false", "False"])
def test_with_the_switch_off_no_finder_is_installed(start_up, monkeypatch, value):
    monkeypatch.setenv("MERGEKIT_FINANCE_AUTOLOAD", value)
    start_up.install()
    assert sys.meta_path == []


@pytest.mark.parametrize("value", ["", "1", "strict"])
def test_installing_twice_puts_one_finder_first(start_up, monkeypatch, value):
    monkeypatch.setenv("MERGEKIT_FINANCE_AUTOLOAD", value)
    other = OtherFinder()
    sys.meta_path.append(other)
    start_up.install()
    start_up.install()
    assert len(sys.meta_path) == 2 and sys.meta_path[1] is other


def test_only_the_hosts_modules_are_looked_for(start_up):
    other = OtherFinder()
    sys.meta_path.append(other)
    start_up.install()
    finder = sys.meta_path[0]
    assert finder.find_spec("json") is None and other.requested == []
    assert finder.find_spec("lm_eval.models") is None and other.requested == ["lm_eval.models"]


def loaded(start_up):
    """Import the host through the finder, as Python does; returns the module and its final spec."""
    spec = sys.meta_path[0].find_spec(HOST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, spec


def test_the_host_is_executed_first_and_keeps_its_own_loader(start_up, monkeypatch):
    calls = []
    monkeypatch.setattr(registration, "on_plan", lambda module: calls.append((module, module.executed)))
    other = OtherFinder()
    sys.meta_path.append(other)
    start_up.install()
    module, spec = loaded(start_up)
    assert calls == [(module, True)]
    assert module.__loader__ is other and spec.loader is other


def test_a_fault_of_ours_is_one_warning_and_the_host_is_loaded(start_up, monkeypatch):
    def fail(module):
        raise SystemExit("gone\nand more")

    monkeypatch.setattr(registration, "on_plan", fail)
    sys.meta_path.append(OtherFinder())
    start_up.install()
    with pytest.warns(
        RuntimeWarning, match=r"^mergekit-finance is not available in mergekit\.plan: SystemExit: gone$"
    ):
        module, _ = loaded(start_up)
    assert module.executed


@pytest.mark.parametrize(("switch", "error"), [("strict", ValueError), ("", KeyboardInterrupt)])
def test_strict_raises_the_fault_and_an_interrupt_is_always_raised(start_up, monkeypatch, switch, error):
    def fail(module):
        raise error

    monkeypatch.setenv("MERGEKIT_FINANCE_AUTOLOAD", switch)
    monkeypatch.setattr(registration, "on_plan", fail)
    sys.meta_path.append(OtherFinder())
    start_up.install()
    with pytest.raises(error):
        loaded(start_up)


def test_a_second_finder_of_this_kind_does_not_search_without_end(start_up):
    sys.meta_path.append(OtherFinder())
    start_up.install()
    finder = sys.meta_path[0]
    twin = types.SimpleNamespace(find_spec=lambda name, path=None, target=None: finder.find_spec(name))
    sys.meta_path.insert(1, twin)
    assert finder.find_spec(HOST) is not None
    assert finder.searching == set()


def test_every_host_module_has_its_function_in_registration(start_up):
    assert all(callable(getattr(registration, function)) for function in start_up.HOSTS.values())


def test_the_hook_is_there_before_lm_eval_checks_its_options(start_up):
    assert start_up.HOSTS["lm_eval.config.evaluate_config"] == "on_options"
