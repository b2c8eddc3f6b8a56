"""Make mergekit-finance available in plain `mergekit-yaml` and `lm_eval`.

This module stands alone at the root of site-packages and is run at Python's start by
`mergekit_finance_autoload.pth` (and `.start`, PEP 829). It puts one finder on `sys.meta_path`
and imports nothing else. After a host module in `HOSTS` has been executed, the function listed there
is called with that module; it is part of `mergekit_finance.registration`.

An error of this package does not stop Python's start or the host: it becomes one warning line.

    MERGEKIT_FINANCE_AUTOLOAD=0        no hook is installed (also: off, no, false)
    MERGEKIT_FINANCE_AUTOLOAD=strict   errors are raised when the host is imported
"""

import os
import sys

SWITCH = "MERGEKIT_FINANCE_AUTOLOAD"
HOSTS = {
    "mergekit.merge_methods": "on_merge_methods",
    "mergekit.plan": "on_plan",
    "lm_eval.config.evaluate_config": "on_options",
    "lm_eval.tasks.manager": "on_task_manager",
    "lm_eval.models": "on_models",
}


class _Finder:
    """Find the hosts' modules with the other finders, and wrap their loaders."""

    def __init__(self):
        self.searching = set()

    def find_spec(self, name, path=None, target=None):
        if name not in HOSTS or name in self.searching:
            return None
        self.searching.add(name)  # another finder of this kind may call this one again
        try:
            spec = _find_elsewhere(name, path, target, self)
        finally:
            self.searching.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader)
        return spec


def _find_elsewhere(name, path, target, this):
    for finder in sys.meta_path:
        if finder is this or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


class _Loader:
    """Replaces a host module's loader until the module has been executed."""

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader  # for inspect and reload
        self.loader.exec_module(module)
        _call(HOSTS[module.__name__], module)


def _call(function, module):
    try:
        from mergekit_finance import registration

        getattr(registration, function)(module)
    except BaseException as error:  # SystemExit too: a plugin must not end the host
        if isinstance(error, KeyboardInterrupt) or os.environ.get(SWITCH) == "strict":
            raise
        import warnings

        text = f"mergekit-finance is not available in {module.__name__}: {type(error).__name__}: {error}"
        warnings.warn(text.splitlines()[0], RuntimeWarning, stacklevel=2)


def install():
    """Put the finder first on sys.meta_path, once, unless the switch is off."""
    if os.environ.get(SWITCH, "").lower() in ("0", "off", "no", "false"):
        return
    if not any(type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
