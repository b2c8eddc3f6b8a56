"""Our own plugin: the package's merge methods, tasks, datasets, families and report sections.

The entry point `builtin` refers to this module. Imports stand inside functions, so that a program that uses
one of these parts does not load the others (torch alone takes 1.4 s).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.files import bundled
from mergekit_finance.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from mergekit.merge_methods import MergeMethod

    from mergekit_finance.plugins.api import Dataset, Family, Section


@hookimpl
def finance_merge_methods() -> "Sequence[MergeMethod]":
    """Return cpt_task_arithmetic, cpt_ties and cpt_dare_ties."""
    from mergekit_finance.merge_methods.all_methods import METHODS

    return METHODS


@hookimpl
def finance_task_folders() -> Sequence[Path]:
    """Return the folder of the finance_bench tasks."""
    return [bundled("lm_eval_tasks")]


@hookimpl
def finance_datasets() -> "Sequence[Dataset]":
    """Return the datasets in data/registry.yml."""
    from mergekit_finance.data.registry import builtin_datasets

    return builtin_datasets()


@hookimpl
def finance_families() -> "Sequence[Family]":
    """Return the families that the bundled recipes use."""
    from mergekit_finance.recipe.families import builtin_families

    return builtin_families()


@hookimpl
def finance_report_sections() -> "Sequence[Section]":
    """Return the sections that `mergekit-finance run` prints."""
    from mergekit_finance.report.console import builtin_sections

    return builtin_sections()
