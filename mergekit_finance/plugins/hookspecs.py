"""The plugin API: five hooks. This package registers its built-in methods, tasks and datasets with them, too.

A third-party package declares a module under the entry-point group `mergekit_finance` and marks functions of
these names with `mergekit_finance.hookimpl`. The types that they return are in
`mergekit_finance.plugins.api`. Specifications are never called: their bodies only satisfy the type checker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from mergekit.merge_methods import MergeMethod

    from mergekit_finance.plugins.api import Dataset, Family, Section

PROJECT = "mergekit_finance"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def finance_merge_methods() -> "Sequence[MergeMethod]":
    """Return merge methods for mergekit's registry, created with `mergekit.merge_methods.merge_method`."""
    return []


@hookspec
def finance_task_folders() -> Sequence[Path]:
    """Return folders of lm-eval task YAMLs, each as `lm_eval --include_path` takes it."""
    return []


@hookspec
def finance_datasets() -> "Sequence[Dataset]":
    """Return datasets with their sources, license and citation; tasks refer to them by `fb_dataset`."""
    return []


@hookspec
def finance_families() -> "Sequence[Family]":
    """Return families of models: a base and the experts continually pre-trained from it."""
    return []


@hookspec
def finance_report_sections() -> "Sequence[Section]":
    """Return sections of the report that `mergekit-finance run` prints, in this order.

    Those with `render_study` are also added to the end of a study's report.html.
    """
    return []
