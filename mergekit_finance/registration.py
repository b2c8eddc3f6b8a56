"""Register plugins' merge methods with mergekit, and their task folders and our model class with lm-eval.

The start-up hook calls these functions when a host's module has been executed; `register()` calls them all.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from mergekit_finance.hosts.lm_eval import add_task_folders, register_model
from mergekit_finance.hosts.lm_eval_caches import build_requests_anew
from mergekit_finance.hosts.lm_eval_templates import compile_templates_once
from mergekit_finance.hosts.mergekit_recipes import install_recipe_hook, register_methods
from mergekit_finance.hosts.programs import report_mistakes
from mergekit_finance.plugins.manager import merge_methods, task_folders

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


def register() -> None:
    """Register merge methods with mergekit and tasks with lm-eval; calling it again changes nothing.

    For programs in which the start-up hook does not run: `python -S`, installs through PYTHONPATH, or
    MERGEKIT_FINANCE_AUTOLOAD=0.

    Raises:
        HostError: the installed mergekit or lm-eval lacks a name that this package uses.
    """
    on_merge_methods(import_module("mergekit.merge_methods"))
    on_plan(import_module("mergekit.plan"))
    on_task_manager(import_module("lm_eval.tasks.manager"))
    on_models(import_module("lm_eval.models"))


def on_merge_methods(host: ModuleType) -> None:
    """Add every plugin's merge methods to mergekit's registry, once `mergekit.merge_methods` was executed."""
    report_mistakes()
    register_methods(merge_methods())


def on_plan(host: ModuleType) -> None:
    """Install the checks that our methods make of a recipe and its inputs before mergekit writes anything."""
    # Imported here: a program that only evaluates should not load our merge methods.
    from mergekit_finance.merge_methods import to_disk
    from mergekit_finance.recipe.load import check_finance

    to_disk.install_disk_hooks()
    install_recipe_hook(check_finance)


def on_options(host: ModuleType) -> None:
    """Print lm-eval's refusals of options of `lm_eval --model mergekit` as one line.

    lm-eval checks options before it imports any other module of `HOSTS`.
    """
    report_mistakes()


def on_task_manager(host: ModuleType) -> None:
    """Add every plugin's task folders to lm-eval's index, once `lm_eval.tasks.manager` was executed.

    Prompts of tasks that read our rows are not stored by `--cache_requests`, and templates of prompts are
    compiled once.
    """
    report_mistakes()
    add_task_folders(host, task_folders())
    compile_templates_once(import_module("lm_eval.utils"))
    build_requests_anew(import_module("lm_eval.api.task"), _reads_our_rows)


def _reads_our_rows(task: "ConfigurableTask") -> bool:
    return "fb_dataset" in (getattr(task.config, "dataset_kwargs", None) or {})


def on_models(host: ModuleType) -> None:
    """Register `--model mergekit` with lm-eval, once `lm_eval.models` was executed."""
    register_model("mergekit", "mergekit_finance.evaluation.mergekit_lm:MergekitLM")
