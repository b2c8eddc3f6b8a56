"""Adapters for open checkpoints, planned merges and random masks of mergekit, written for mergekit 0.1.5.

mergekit is imported inside the functions to keep --help fast: it takes 4.5 s.
"""

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import ModelError
from mergekit_finance.hosts.mergekit_configs import read_configs_once
from mergekit_finance.hosts.mergekit_recipes import keep_recipe_order
from mergekit_finance.hosts.names import MERGEKIT

if TYPE_CHECKING:
    import torch
    from mergekit.architecture import WeightInfo
    from mergekit.common import ModelReference
    from mergekit.config import MergeConfiguration
    from mergekit.graph import Task
    from mergekit.io.lazy_tensor_loader import LazyTensorLoader
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge_methods import MergeMethod
    from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
    from mergekit.tokenizer import BuildTokenizer


# ---- open checkpoints


def _cache_class() -> "type[LoaderCache]":
    with MERGEKIT.imports():
        from mergekit.io.tasks import LoaderCache

    MERGEKIT.get(LoaderCache, "loaders")
    MERGEKIT.get(LoaderCache, "get")
    return LoaderCache


@contextmanager
def fresh_loaders() -> Iterator[None]:
    """Replace mergekit's cache of open checkpoints by an empty one, and restore it on exit.

    mergekit keeps open checkpoints in a class attribute for the life of the process, so that a model whose
    files changed would silently be merged with its old weights. Clearing that attribute would close
    checkpoints that the caller has open. It is therefore replaced, and restored with the cache's settings.
    Written for mergekit 0.1.5 (`LoaderCache.loaders`).
    """
    cache = _cache_class()
    callers, settings = cache.loaders, dict(vars(cache()))
    cache.loaders = {}
    try:
        yield
    finally:
        cache.loaders = callers
        vars(cache()).clear()
        vars(cache()).update(settings)


def reopen(models: "Iterable[ModelReference]") -> None:
    """Open these checkpoints again, because their files may have changed; keep the others in the cache.

    For code that runs inside mergekit's own merge, which `fresh_loaders` cannot enclose. Call it on the
    main thread: mergekit's GPU threads lack the cache folder that `set_up_loaders` sets. Written for mergekit
    0.1.5 (`LoaderCache.loaders`, `.get`).
    """
    cache = _cache_class()
    for model in models:
        cache.loaders.pop(model, None)
        cache().get(model)


def set_up_loaders(options: "MergeOptions") -> None:
    """Set the options with which the cache opens checkpoints. Written for 0.1.5 (`LoaderCache.setup`)."""
    MERGEKIT.get(_cache_class()(), "setup")(options=options)


def adapter_folder() -> str | None:
    """Return the folder of `--lora-merge-cache` (models merged with their LoRA adapters), or None.

    Written for mergekit 0.1.5 (`LoaderCache.lora_cache_dir`).
    """
    folder: str | None = MERGEKIT.get(_cache_class()(), "lora_cache_dir")
    return folder


def merged_adapter(model: "ModelReference") -> Path | None:
    """Return the folder in which mergekit merges a model with its LoRA adapter; None without a folder for it.

    Written for mergekit 0.1.5 (`ModelReference.merged`, `ModelPath._unique_id`).
    """
    folder = adapter_folder()
    if model.lora is None or folder is None:
        return None
    names = [MERGEKIT.get(path, "_unique_id")() for path in (model.model, model.lora)]
    return Path(folder, "_".join(names))


def open_loader(model: "ModelReference") -> "LazyTensorLoader":
    """Return mergekit's loader of a checkpoint, opened if needed. Written for 0.1.5 (`LoaderCache.get`)."""
    return _cache_class()().get(model)


def stored_names(model: "ModelReference") -> Mapping[str, str]:
    """Return tensor name -> file of a checkpoint. Written for 0.1.5 (`index.tensor_paths`)."""
    return MERGEKIT.get(open_loader(model).index, "tensor_paths")


def opened_folder(model: "ModelReference") -> Path:
    """Return the folder that a model is read from, opened if needed; with an adapter, that of their merge.

    Written for mergekit 0.1.5 (`index.base_path`).
    """
    return Path(MERGEKIT.get(open_loader(model).index, "base_path"))


def stored_as_safetensors(model: "ModelReference") -> bool:
    """Return whether a checkpoint has safetensors files. Written for 0.1.5 (`index.is_safetensors`)."""
    return MERGEKIT.get(open_loader(model).index, "is_safetensors")


# ---- planning a merge


def module_names(config: "MergeConfiguration") -> list[str]:
    """Return the modules of the architecture that a recipe merges; empty if it is not known here.

    Written for mergekit 0.1.5 (`architecture.get_architecture_info`).
    """
    with MERGEKIT.imports():
        from mergekit.architecture import get_architecture_info
        from mergekit.options import MergeOptions

    try:
        return list(get_architecture_info(config, MergeOptions()).modules)
    except Exception:  # of many kinds: a check of the models reports what is wrong
        return []


def new_planner(config: "MergeConfiguration", options: "MergeOptions") -> "MergePlanner":
    """Return a planner for a merge, with the merged model's config in `out_model_config`.

    Written for mergekit 0.1.5 (`merge._model_out_config`).
    """
    with MERGEKIT.imports():
        from mergekit import merge
        from mergekit.architecture import get_architecture_info
        from mergekit.plan import MergePlanner

    architecture = get_architecture_info(config, options)
    output_config = MERGEKIT.get(merge, "_model_out_config")
    out_config = output_config(config, architecture, trust_remote_code=options.trust_remote_code)
    return MergePlanner(config, architecture, options=options, out_model_config=out_config)


def planner_method(planner: "MergePlanner") -> "MergeMethod":
    """Return the merge method of a planned merge. Written for mergekit 0.1.5 (`MergePlanner._method`)."""
    return MERGEKIT.get(planner, "_method")


def plan_merge(planner: "MergePlanner") -> None:
    """Plan a merge, with our checks if they are installed. Written for 0.1.5 (`MergePlanner._plan`)."""
    MERGEKIT.get(type(planner), "_plan")(planner)


def plan_without_hook(planner: "MergePlanner") -> None:
    """Plan a merge with mergekit's original code. Written for mergekit 0.1.5 (`MergePlanner._plan`)."""
    installed = MERGEKIT.get(type(planner), "_plan")
    getattr(installed, "__wrapped__", installed)(planner)


def planned_tensors(planner: "MergePlanner") -> "list[tuple[WeightInfo, ExecuteMergeMethodTask]]":
    """Return each output tensor of a planned merge, and the task that computes it.

    Written for mergekit 0.1.5 (`MergePlanner._tensors`).
    """
    return MERGEKIT.get(planner, "_tensors")


def set_planned_tensors(
    planner: "MergePlanner", tensors: "list[tuple[WeightInfo, ExecuteMergeMethodTask]]"
) -> None:
    """Replace the output tensors of a planned merge. Written for mergekit 0.1.5 (`MergePlanner._tensors`)."""
    planned_tensors(planner)
    planner._tensors = tensors


def tokenizer_task(planner: "MergePlanner") -> "BuildTokenizer | None":
    """Return the task that builds the merged tokenizer, or None if the recipe has no tokenizer block.

    Written for mergekit 0.1.5 (`MergePlanner._tokenizer_task`).
    """
    return MERGEKIT.get(planner, "_tokenizer_task")


def set_tokenizer_task(planner: "MergePlanner", task: "BuildTokenizer") -> None:
    """Replace the task that builds the tokenizer. Written for 0.1.5 (`MergePlanner._tokenizer_task`)."""
    tokenizer_task(planner)
    planner._tokenizer_task = task


@contextmanager
def merge_errors() -> Iterator[None]:
    """Raise ModelError for exceptions by which mergekit rejects a merge."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, OSError, AssertionError) as error:
        text = " ".join(str(error).split())
        raise ModelError(
            f"mergekit could not run this merge: {type(error).__name__}: {text}",
            id="merge.failed",
        ) from error


# ---- files that a merge writes beside the weights


def write_side_files(
    config: "MergeConfiguration",
    folder: Path,
    options: "MergeOptions",
    arrange: "Callable[[MergePlanner], None]",
) -> None:
    """Write everything that mergekit writes into a merge's folder, except the weights.

    Runs mergekit's own `run_merge` with a planner that plans only the tokenizer. config.json with the size of
    the merged vocabulary, the tokenizer with its chat template, generation_config.json and files of the
    architecture are therefore the same as for a merge on disk. Every checkpoint is opened, but no tensor is
    read. Written for mergekit 0.1.5 (`merge.run_merge`, `merge.MergePlanner`, `MergePlanner.plan_to_disk`).

    Args:
        config: the recipe. `arrange` may change it.
        folder: an existing folder.
        options: mergekit's options; no model card is written, whatever they say.
        arrange: called with the planner instead of its planning step; may reorder the models.
    """
    with MERGEKIT.imports():
        from mergekit import merge
        from mergekit.plan import MergePlanner

    MERGEKIT.get(MergePlanner, "plan_to_disk")
    planner_class, run_merge = MERGEKIT.get(merge, "MergePlanner"), MERGEKIT.get(merge, "run_merge")
    thread = threading.get_ident()

    class TokenizerPlanner(planner_class):  # type: ignore[misc, valid-type]
        def plan_to_disk(self, out_path: str) -> "list[Task]":
            if threading.get_ident() != thread:  # a merge of another thread
                return planner_class.plan_to_disk(self, out_path)
            arrange(self)
            task = tokenizer_task(self)
            return [task] if task else []

    overrides = {"write_model_card": False, "copy_tokenizer": True, "random_seed": None, "multi_gpu": False}
    overrides["quiet"] = True
    without_card = options.model_copy(update=overrides)
    merge.MergePlanner = TokenizerPlanner
    try:
        run_merge(config, str(folder), options=without_card)
    finally:
        merge.MergePlanner = planner_class


def log_missing_tokenizer_in_one_line() -> None:
    """Log without traceback that a merge is written without a tokenizer; a second call changes nothing.

    Written for mergekit 0.1.5 (`merge.LOG`, whose name is that of the module).
    """
    logging.getLogger("mergekit.merge").addFilter(_drop_tokenizer_traceback)


def _drop_tokenizer_traceback(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Failed to copy tokenizer"):
        record.exc_info = None
    return True


def install_planner_hooks(
    *,
    handles: "Callable[[MergeMethod], bool]",
    plan: "Callable[[MergePlanner, Callable[[MergePlanner], None]], None]",
    tasks_to_disk: "Callable[[MergePlanner, Path, Callable[[], list[Task]]], list[Task]]",
    opening: "Callable[[ModelReference], AbstractContextManager[None]]",
) -> None:
    """Install callbacks in every merge of this process; calling it again changes nothing.

    Also calls `keep_recipe_order` and `read_configs_once`. Written for mergekit 0.1.5
    (`MergePlanner._plan`, `.plan_to_disk`, `LoaderCache.get`).

    Args:
        handles: returns whether `plan` and `tasks_to_disk` are called for a merge with this method.
        plan: called instead of mergekit's `_plan` with the planner and the original `_plan`.
        tasks_to_disk: called instead of mergekit's `plan_to_disk`, before anything is written, with the
            planner, the output folder and a function that returns mergekit's own tasks.
        opening: returns a context manager that encloses the opening of a checkpoint, for every method.
    """
    with MERGEKIT.imports():
        from mergekit.plan import MergePlanner

    cache = _cache_class()
    keep_recipe_order()
    read_configs_once()
    original_plan = MERGEKIT.get(MergePlanner, "_plan")
    original_tasks = MERGEKIT.get(MergePlanner, "plan_to_disk")
    original_get = cache.get
    if getattr(original_plan, "is_mergekit_finance", False):
        return

    @functools.wraps(original_plan)
    def plan_with_callback(planner: "MergePlanner") -> None:
        if handles(planner_method(planner)):
            plan(planner, original_plan)
        else:
            original_plan(planner)

    @functools.wraps(original_tasks)
    def tasks_with_callback(planner: "MergePlanner", out_path: str) -> "list[Task]":
        if handles(planner_method(planner)):
            return tasks_to_disk(planner, Path(out_path), lambda: original_tasks(planner, out_path))
        return original_tasks(planner, out_path)

    @functools.wraps(original_get)
    def get_within_context(cache: "LoaderCache", model: "ModelReference") -> "LazyTensorLoader":
        with opening(model):
            return original_get(cache, model)

    vars(plan_with_callback)["is_mergekit_finance"] = True
    MergePlanner._plan, MergePlanner.plan_to_disk, cache.get = (
        plan_with_callback,
        tasks_with_callback,
        get_within_context,
    )


# ---- random masks


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators, which mergekit's methods use, and restore them on exit.

    With the same seed, a merge in memory draws the same masks as `mergekit-yaml --random-seed`.
    """
    import torch  # imported here to keep --help fast: it takes 1.4 s

    with torch.random.fork_rng():  # of the CPU and of every GPU
        torch.manual_seed(seed)
        yield


@contextmanager
def replaced_bernoulli(function: "Callable[..., torch.Tensor]") -> Iterator[None]:
    """Draw the masks of mergekit's DARE with `function`. Written for 0.1.5 (`sparsify.bernoulli`)."""
    with MERGEKIT.imports():
        from mergekit import sparsify

    original = MERGEKIT.get(sparsify, "bernoulli")
    sparsify.bernoulli = function
    try:
        yield
    finally:
        sparsify.bernoulli = original
