"""mergekit-finance: merge continually pre-trained language models and measure the effect of merging.

After `pip install`, our merge methods work in `mergekit-yaml` and our tasks in `lm_eval`; this package adds
the three-stage study. The public API is the list `__all__`. Names are loaded at first use, so that importing
the package imports neither torch nor a host (mergekit and lm-eval are the hosts).

Data flow one way through the subpackages:

    recipe      loads and checks a recipe.yml
    merging     merges into a live model (merge_methods and engine do the arithmetic)
    data        loads the rows of the datasets
    evaluation  gets the answers of a live model, with lm-eval
    scoring     marks answers right or wrong
    statistics  computes intervals and tests
    study       runs the stages, selects, concludes
    report      writes tables, figures and one page
    share       writes a model card, uploads to the Hub

These build on errors, interrupts, files, operators, hosts (adapters to mergekit and lm-eval), plugins,
models, checks and similarity. Imports between packages go in one direction only; `make lint` checks that.
"""

from mergekit_finance.interrupts import quiet_start

quiet_start()  # before anything else takes time

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from mergekit_finance._version import __version__  # noqa: E402

if TYPE_CHECKING:
    from mergekit_finance import errors
    from mergekit_finance.errors import (
        DataError,
        MergekitFinanceError,
        ModelError,
        PluginError,
        RecipeError,
    )
    from mergekit_finance.evaluation.evaluator import evaluate
    from mergekit_finance.merging.in_memory import merge
    from mergekit_finance.merging.session import MergeSession
    from mergekit_finance.plugins.hookspecs import hookimpl
    from mergekit_finance.registration import register
    from mergekit_finance.similarity.compute import compute_similarity
    from mergekit_finance.study.config import Study
    from mergekit_finance.study.results import load_results
    from mergekit_finance.study.run import run_study

__all__ = [
    "DataError",
    "MergeSession",
    "MergekitFinanceError",
    "ModelError",
    "PluginError",
    "RecipeError",
    "Study",
    "__version__",
    "compute_similarity",
    "errors",
    "evaluate",
    "hookimpl",
    "load_results",
    "merge",
    "register",
    "run_study",
]

_MODULES = {
    "DataError": "errors",
    "MergeSession": "merging.session",
    "MergekitFinanceError": "errors",
    "ModelError": "errors",
    "PluginError": "errors",
    "RecipeError": "errors",
    "Study": "study.config",
    "compute_similarity": "similarity.compute",
    "evaluate": "evaluation.evaluator",
    "hookimpl": "plugins.hookspecs",
    "load_results": "study.results",
    "merge": "merging.in_memory",
    "register": "registration",
    "run_study": "study.run",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module at first use."""
    if name == "errors":
        return import_module("mergekit_finance.errors")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mergekit_finance.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
