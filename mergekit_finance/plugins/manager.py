"""The plugin manager: built-ins first, then third parties, each isolated from the others' faults."""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from mergekit_finance.plugins import hookspecs


@dataclass(frozen=True)
class Loaded:
    """One plugin as `mergekit-finance plugins` lists it."""

    name: str
    distribution: str
    hooks: tuple[str, ...]
    fault: str = ""


class Manager(pluggy.PluginManager):
    """pluggy's manager, and what became of each plugin."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)
        self.loaded: list[Loaded] = []

    def collect(self, hook: str) -> list[Any]:
        """What the plugins return for one hook, in order of registration, flattened.

        A plugin that raises is left out with one warning; the others still count.
        """
        found: list[Any] = []
        for impl in getattr(self.hook, hook).get_hookimpls():
            try:
                found.extend(impl.function())
            except Exception as fault:
                if impl.plugin_name == "builtin":
                    raise
                _warn(impl.plugin_name, fault)
        return found

    def add(self, name: str, distribution: str, load: Any) -> None:
        """Load and register one plugin; a fault becomes one warning and a line in `loaded`."""
        try:
            self.register(load(), name)
            self.check_pending()
        except (Exception, SystemExit) as fault:  # SystemExit: a module that exits at import
            if self.has_plugin(name):
                self.unregister(name=name)
            _warn(name, fault)
            self.loaded.append(Loaded(name, distribution, (), _one_line(fault)))
            return
        hooks = tuple(h.name for h in self.get_hookcallers(self.get_plugin(name)) or ())
        self.loaded.append(Loaded(name, distribution, hooks))


def _one_line(fault: BaseException) -> str:
    return f"{type(fault).__name__}: {fault}".splitlines()[0]


def _warn(name: str, fault: BaseException) -> None:
    warnings.warn(
        f"mergekit-finance plugin {name!r} is left out: {_one_line(fault)}", RuntimeWarning, stacklevel=3
    )


def _third_parties() -> list[EntryPoint]:
    entries = (entry for entry in entry_points(group=hookspecs.PROJECT) if entry.name != "builtin")
    return sorted(entries, key=lambda entry: entry.name)


@cache
def manager() -> Manager:
    """The one manager of this process, with every installed plugin registered."""
    from mergekit_finance import builtin
    from mergekit_finance._version import __version__

    pm = Manager()
    pm.add("builtin", f"mergekit-finance {__version__}", lambda: builtin)
    for entry in _third_parties():
        dist = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        pm.add(entry.name, dist, entry.load)
    return pm
