"""The only module that touches the hosts: it adds our methods to mergekit and our tasks to lm-eval.

Called by the start-up hook when a host module has been executed, and by `register()`.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mergekit_finance.hosts.mergekit import register_methods
from mergekit_finance.hosts.programs import report_mistakes
from mergekit_finance.plugins.manager import merge_methods, task_folders


def register() -> None:
    """Make methods and tasks known to both hosts now; calling it again changes nothing.

    For programs where the start-up hook does not run: `python -S`, PYTHONPATH installs, or
    MERGEKIT_FINANCE_AUTOLOAD=0.
    """
    on_merge_methods(import_module("mergekit.merge_methods"))
    on_plan(import_module("mergekit.plan"))
    on_task_manager(import_module("lm_eval.tasks.manager"))
    on_models(import_module("lm_eval.models"))


def on_merge_methods(host: ModuleType) -> None:
    """Register every plugin's merge methods with mergekit's own registry."""
    report_mistakes()
    register_methods(merge_methods())


def on_plan(host: ModuleType) -> None:
    """Let our methods check a recipe and see the planned inputs before mergekit writes anything."""
    from mergekit_finance.merge_methods import planner_hook

    planner_hook.install()


def on_task_manager(host: ModuleType) -> None:
    """Add our task folders to every index that lm-eval builds.

    They come after lm-eval's own tasks and before the user's `--include_path`, so that a user's task
    of the same name wins. A folder that is in the list already (an lm-eval that honours the
    `lm_eval.tasks` entry point, or `--include_path "$(mergekit-finance tasks --path)"`) is not added.
    """
    report_mistakes()
    index = host.TaskIndex
    original = index.build
    if getattr(original, "adds_finance_tasks", False):
        return
    builtin_tasks = Path(host.__file__).resolve().parent
    ours = task_folders()  # now, not at the first build: a fault of ours must not come up inside the host

    def build(paths: Iterable[Path], **options: Any) -> dict[str, Any]:
        return original(_with_ours(list(paths), ours, builtin_tasks), **options)

    build.adds_finance_tasks = True  # type: ignore[attr-defined]
    index.build = staticmethod(build)


def on_models(host: ModuleType) -> None:
    """Let lm-eval know `--model mergekit`, by a string: nothing is imported until it is asked for.

    Only after `lm_eval.models` has been executed: its registry fills itself while it is empty, and one
    model of ours would keep out `hf` and all others.
    """
    registry = import_module("lm_eval.api.registry").model_registry
    if "mergekit" not in registry:
        registry.register("mergekit", target="mergekit_finance.evaluation.mergekit_lm:MergekitLM")


def _with_ours(paths: list[Path], ours: list[Path], builtin_tasks: Path) -> list[Path]:
    present = {Path(p).resolve() for p in paths}
    missing = [folder for folder in ours if folder.resolve() not in present]
    position = 1 if paths and Path(paths[0]).resolve() == builtin_tasks else 0
    return paths[:position] + missing + paths[position:]
