"""mergekit-finance: merge continually pre-trained language models and measure what merging did.

After `pip install`, `mergekit-yaml` knows our merge methods and `lm_eval` our tasks. This package
adds the study around them. Importing it imports neither torch nor a host.

Data flows one way, one module an arrow:

    recipe.yml -> recipe.py (check) -> merging.py (live model) -> evaluation.py (lm-eval)
               -> gain.py (Gain, Outperform Gap) -> report.py (tables)
"""

from importlib import import_module

from mergekit_finance._version import __version__

__all__ = ["MergekitFinanceError", "__version__", "hookimpl", "register"]

_HOME = {
    "MergekitFinanceError": "mergekit_finance.errors",
    "hookimpl": "mergekit_finance.plugins.hookspecs",
    "register": "mergekit_finance.registration",
}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
