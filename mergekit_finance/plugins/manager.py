"""The plugin manager, and functions that return what the plugins provide together.

The built-in plugin is loaded first, through its entry point like any other. An error in a third-party plugin
becomes one warning, and the other plugins still work; an error in the built-in plugin is raised.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from mergekit_finance.errors import first_line
from mergekit_finance.plugins import hookspecs

if TYPE_CHECKING:
    from mergekit.merge_methods import MergeMethod

    from mergekit_finance.plugins.api import Dataset, Family, Section

BUILTIN = "builtin"
BUILTIN_MODULE = "mergekit_finance.builtin"
VERSION_MODULE = "mergekit_finance._version"


@dataclass(frozen=True)
class Loaded:
    """A plugin that was found; `fault` is the error if it failed to load, else empty."""

    name: str
    distribution: str
    hooks: tuple[str, ...]
    fault: str = ""


class Manager(pluggy.PluginManager):
    """A pluggy manager that records in `loaded` which plugins were found and which of them failed."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)
        self.loaded: list[Loaded] = []

    def collect(self, hook: str) -> list[Any]:
        """Return what all plugins return for one hook, in order of registration, as one list.

        A third-party plugin that raises is left out with a RuntimeWarning; errors of the built-in plugin are
        raised.
        """
        items: list[Any] = []
        for implementation in getattr(self.hook, hook).get_hookimpls():
            try:
                items.extend(implementation.function())
            except Exception as error:
                if implementation.plugin_name == BUILTIN:
                    raise
                _warn(implementation.plugin_name, error)
        return items

    def add(self, name: str, distribution: str, load: Callable[[], object]) -> None:
        """Load and register a plugin. Errors in third-party plugins are warned of and listed in `loaded`."""
        try:
            self.register(load(), name)
            self.check_pending()
        except (Exception, SystemExit) as error:  # SystemExit: a module that exits at import
            if name == BUILTIN:
                raise
            if self.has_plugin(name):
                self.unregister(name=name)
            _warn(name, error)
            self.loaded.append(Loaded(name, distribution, (), _error_text(error)))
            return
        hooks = tuple(caller.name for caller in self.get_hookcallers(self.get_plugin(name)) or ())
        self.loaded.append(Loaded(name, distribution, hooks))


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


def _warn(name: str, error: BaseException) -> None:
    text = f"mergekit-finance plugin {name!r} is left out: {_error_text(error)}"
    warnings.warn(text, RuntimeWarning, stacklevel=3)


def _is_builtin(entry: EntryPoint) -> bool:
    return entry.value == BUILTIN_MODULE


def _label(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"


@cache
def manager() -> Manager:
    """Return the manager of this process, with every installed plugin registered."""
    plugins = Manager()
    entries = entry_points(group=hookspecs.PROJECT)
    builtin = next(filter(_is_builtin, entries), None)
    if builtin:
        plugins.add(BUILTIN, _label(builtin), builtin.load)
    else:  # no metadata: the package is found through PYTHONPATH
        # Imported by name because keys of stored results hash the modules that are imported statically: a new
        # version number alone must not change them.
        version = import_module(VERSION_MODULE).__version__
        plugins.add(BUILTIN, f"mergekit-finance {version}", lambda: import_module(BUILTIN_MODULE))
    for entry in sorted(entries, key=lambda entry: entry.name):
        if not _is_builtin(entry):
            name = entry.name if entry.name != BUILTIN else f"{BUILTIN} of {_label(entry)}"
            plugins.add(name, _label(entry), entry.load)
    return plugins


def plugin_packages() -> set[str]:
    """Return the names of the top-level packages that contain third-party plugins."""
    loaded = manager()
    plugins = [plugin for name, plugin in loaded.list_name_plugin() if name != BUILTIN]
    modules = [getattr(plugin, "__module__", None) or getattr(plugin, "__name__", "") for plugin in plugins]
    return {module.split(".")[0] for module in modules if module}


# ---- lookups over all plugins


def merge_methods() -> "list[MergeMethod]":
    """Return every plugin's merge methods; ours first."""
    return manager().collect("finance_merge_methods")


def task_folders() -> list[Path]:
    """Return every plugin's folders of lm-eval tasks; ours first."""
    return [Path(folder) for folder in manager().collect("finance_task_folders")]


def datasets() -> "dict[str, Dataset]":
    """Return every plugin's datasets by name; ours come first. If names are equal, the first is used."""
    by_name: dict[str, Dataset] = {}
    for dataset in manager().collect("finance_datasets"):
        by_name.setdefault(dataset.name, dataset)
    return by_name


def families() -> "list[Family]":
    """Return every plugin's families of models; ours first."""
    return manager().collect("finance_families")


def report_sections() -> "list[Section]":
    """Return every plugin's report sections, in the order in which they are printed."""
    return manager().collect("finance_report_sections")
