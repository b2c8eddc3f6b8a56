"""The plugin API: five hooks. Our own parts come through them like anybody else's.

A third party declares a module under the entry-point group `mergekit_finance` and marks functions of
these names with `mergekit_finance.hookimpl`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from mergekit.merge_methods import MergeMethod

    from mergekit_finance.data.registry import Dataset
    from mergekit_finance.recipe.families import Family
    from mergekit_finance.report.console import Section

PROJECT = "mergekit_finance"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def finance_merge_methods() -> "Sequence[MergeMethod]":
    """Merge methods for mergekit's registry, made with `mergekit.merge_methods.merge_method`."""


@hookspec
def finance_task_folders() -> Sequence[Path]:
    """Folders of lm-eval task YAMLs, each as `lm_eval --include_path` would take it."""


@hookspec
def finance_datasets() -> "Sequence[Dataset]":
    """Datasets with their sources, licence and citation, for tasks to name by `fb_dataset`."""


@hookspec
def finance_families() -> "Sequence[Family]":
    """Families of checkpoints: a base and the experts continually pre-trained from it."""


@hookspec
def finance_report_sections() -> "Sequence[Section]":
    """Sections of the report that `mergekit-finance run` prints, in this order; those with `render_study`
    also stand at the end of a study's report.html."""
